"""Tiny data sets laid out as UCF101, HMDB51 and Kinetics, flags for small runs over them, and runs in this process."""
import csv
import json
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dpc import main as pretraining
from eval import test as classifier
from tests import forked
from utils.data.crops import Box, cut
from utils.data.splits import videos_below
from utils.parallel.launch import launch

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ('ApplyEyeMakeup', 'Archery', 'YoYo')

# clips of 3 blocks of 5 frames: 15 frames
CLIP = ['--img_dim', '32', '--num_seq', '3', '--ds', '1']
RUN = [*CLIP, '--batch_size', '4', '--epochs', '1', '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off',
       '--val_fraction', '0.25']
PRETRAINING = [*RUN, '--pred_step', '1']
CLASSIFIER = [*RUN, '--pretrain', 'random']


def resized(frame, size):
    """A whole frame [H, W, 3] as [size, size, 3]; tests/test_crops.py compares `cut` with Pillow."""
    out = np.empty((size, size, 3), np.uint8)
    cut(frame, Box(0, 0, *frame.shape[:2]), False, out)
    return out


def make_frames(folder, count, seed, size=(34, 44)):
    """Frames image_00001.jpg … of height × width px, smooth noise that drifts."""
    rng = np.random.default_rng(seed)
    height, width = size
    noise = rng.integers(0, 256, (8, 8, 3), np.uint8)
    canvas = cv2.resize(noise, (width + count, height), interpolation=cv2.INTER_CUBIC)
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f'image_{i + 1:05d}.jpg'), canvas[:, i:i + width])


def make_videos(frame_root, names, counts, seed):
    """Frame folders {frame_root}/{class}/{video}; returns csv rows (path, frames). `names`: function of (class, i)."""
    rows = []
    for label, name in enumerate(CLASSES):
        for i, count in enumerate(counts):
            folder = frame_root / name / names(name, i)
            make_frames(folder, count, seed=(seed, label, i))
            rows.append((str(folder), count))
    return rows


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='') as file:
        csv.writer(file).writerows(rows)


def make_data_sets(root):
    """UCF101, HMDB51 and Kinetics in small below `root`; returns csv_root. 3 classes of 4 training videos.

    UCF101's test videos have 12 frames (less than a clip), 15 (just a clip), 16 and 34.
    """
    frames, csv_root = root / 'frames', root / 'csv'

    train = make_videos(frames / 'ucf101', lambda name, i: f'v_{name}_g{i + 8:02d}_c01', (20, 24, 22, 20), seed=1)
    test = make_videos(frames / 'ucf101', lambda name, i: f'v_{name}_g{i + 1:02d}_c02', (12, 15, 16, 34), seed=2)
    for split in (1, 2, 3):
        write_rows(csv_root / 'ucf101' / f'train_split{split:02d}.csv', train)
        write_rows(csv_root / 'ucf101' / f'test_split{split:02d}.csv', test)
    lines = [f'{i} {name}\n' for i, name in enumerate(ucf101_classes(), 1)]
    (csv_root / 'ucf101' / 'classInd.txt').write_text(''.join(lines))

    rows = make_videos(frames / 'hmdb51', lambda name, i: f'{name}_clip [{i}]', (18, 24, 22, 20, 16, 12), seed=3)
    write_rows(csv_root / 'hmdb51' / 'train_split01.csv', [row for i, row in enumerate(rows) if i % 6 < 4])
    write_rows(csv_root / 'hmdb51' / 'test_split01.csv', [row for i, row in enumerate(rows) if i % 6 >= 4])
    (csv_root / 'hmdb51' / 'classInd.txt').write_text(''.join(f'{i} {name}\n' for i, name in enumerate(CLASSES, 1)))

    for folder in ('k400_150', 'k400_256'):
        rows = make_videos(frames / folder, lambda name, i: f'abcdEFGH_0{i}_000010_000020',
                           (20, 24, 22, 20, 16, 12), seed=4)
        write_rows(csv_root / folder / 'train_split.csv', [row for i, row in enumerate(rows) if i % 6 < 4])
        write_rows(csv_root / folder / 'val_split.csv', [row for i, row in enumerate(rows) if i % 6 >= 4])
        lines = [f'{i},{name}\n' for i, name in enumerate(CLASSES)]
        (csv_root / folder / 'classInd.txt').write_text(''.join(lines))
    return csv_root


def ucf101_classes():
    """101 names of which three have videos, so that published classifiers fit."""
    others = [f'Class{i:03d}' for i in range(101 - len(CLASSES))]
    return sorted([*CLASSES, *others])


def run(script, argv):
    """Runs a command line of dpc/main.py or eval/test.py, in this process if one is enough; returns its exit status."""
    argv = [str(word) for word in argv]
    videos_below.cache_clear()  # as in a new process
    if '--num_procs' in argv and argv[argv.index('--num_procs') + 1] != '1':
        done = forked.run(['-m', script.__name__, *argv], cwd=ROOT)
        print(done.stdout, end='')
        print(done.stderr, end='', file=sys.stderr)
        return done.returncode
    with pytest.raises(SystemExit) as end:
        launch(script.main, script.parse_args(argv))
    return end.value.code


def pretrain(csv_root, log_dir, *flags):
    """A pretraining run that succeeds; returns its new run folder."""
    return run_folder(pretraining, [*PRETRAINING, '--csv_root', csv_root, *flags], log_dir)


def classify(csv_root, log_dir, *flags):
    """A run of eval/test.py that succeeds; returns its new run folder."""
    return run_folder(classifier, [*CLASSIFIER, '--csv_root', csv_root, *flags], log_dir)


def run_folder(script, argv, log_dir):
    before = set(Path(log_dir).glob('log_*/*'))
    assert run(script, [*argv, '--log_dir', log_dir]) == 0
    made = set(Path(log_dir).glob('log_*/*')) - before
    return made.pop() if made else None


def next_lines(said):
    """Words of the commands that a command's output ends with."""
    lines = said.splitlines()
    first = len(lines) - next(i for i, line in enumerate([*reversed(lines), '']) if not line.startswith('next: '))
    return [shlex.split(line.removeprefix('next: ')) for line in lines[first:]]


def read_log(folder, kind):
    """The records of one kind in a run's log.jsonl."""
    records = [json.loads(line) for line in open(folder / 'log.jsonl')]
    return [record for record in records if record['kind'] == kind]


def checkpoint(folder, name='epoch1'):
    return torch.load(folder / 'model' / f'{name}.pth.tar', weights_only=True)


def without_the_small_validation(err):
    """What a command wrote to stderr but for a line that every run on these data has."""
    return ''.join(line for line in err.splitlines(keepends=True) if 'too few to check the health' not in line)


def equal(a, b):
    """Whether two checkpoints, or parts of them, hold the same values to the last bit."""
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


if __name__ == '__main__':  # pretraining by an interpreter of its own, as torchrun starts it
    forked.cheap_settings()
    launch(pretraining.main, pretraining.parse_args())
