"""Mutated files at every reader: each case ends in a result or in a UserError of one line, in bounded time and memory.

Cases are run in a child process, so that a crash, a hang or a warning printed from C code is noticed, too. A case is
its number: `python -m tests.test_fuzz TARGET FIRST COUNT` runs some again.
"""
import contextlib
import copy
import faulthandler
import io
import re
import resource
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import forked
from tests.tiny import ROOT
from utils.cli import UserError
from utils.data.classes import labels_of, read_class_list
from utils.data.held_out import hold_out
from utils.data.lists import VideoList, check_on_disk
from utils.video.frames import MAX_PIXELS, decode, frame_name, read_jpegs
from utils.video.sources import has_frame

# what libjpeg remarks on stderr
LIBJPEG = ('Corrupt JPEG data|Premature end of JPEG|Invalid SOS parameters|Inconsistent progression|'
           'Warning: unknown JFIF|Unsupported marker')
SECONDS = 10       # for one case
MEMORY = 2 ** 31   # bytes of address space beyond what the child starts with
RESIDENT = 6e8     # bytes of memory that it may have touched at the end
NUMBERS = [b'\0', b'\0\0\0\0', b'\xff', b'\xff\xff', b'\xff\xff\xff\xff', b'\xff\xff\xff\x7f', b'\0\0\0\x80', b'\xff' * 8]
TOKENS = [b'"', b',', b'\n', b'\r', b'\0', b'/', b'..', b'-1', b'0', b'9' * 30, b'1e9', b' ', b'\xe9', b'x' * 20_000,
          b'"' * 9, '\u0663'.encode(), b'\xef\xbb\xbf', b'_', '\u2028'.encode()]


# ---- mutations

def mutate(rng, data, tokens=NUMBERS):
    """One to four changes: a bit, a byte, a token in or over, a cut, a block twice, moved or removed."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        size = len(data)
        if size < 2:
            break
        at, other = (int(place) for place in rng.integers(size, size=2))
        length = int(rng.integers(1, 1 + min(64, size)))
        token = tokens[rng.integers(len(tokens))]
        kind = rng.integers(8)
        if kind == 0:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 1:
            data[at] = rng.integers(256)
        elif kind == 2:
            data[at:at + len(token)] = token
        elif kind == 3:
            data[at:at] = token
        elif kind == 4:
            del data[at:at + length]
        elif kind == 5:
            data[at:at] = data[other:other + length]
        elif kind == 6:
            data[at:at + length] = data[other:other + length]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def places(value, path=()):
    """Paths of all that is in nested dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield (*path, key)
        yield from places(item, (*path, key))


def mutate_object(rng, value, pool):
    """One or two entries of a nested dict replaced by something of another kind, swapped, removed or renamed."""
    for _ in range(rng.integers(1, 3)):
        found = list(places(value))
        *parents, key = found[rng.integers(len(found))]
        parent = value
        for step in parents:
            parent = parent[step]
        kind = rng.integers(4)
        if kind == 0:
            parent[key] = copy.deepcopy(pool[rng.integers(len(pool))])
        elif kind == 1:
            *others, last = found[rng.integers(len(found))]
            other = value
            for step in others:
                other = other[step]
            parent[key] = copy.deepcopy(other[last])
        elif kind == 2:
            del parent[key]
        elif isinstance(parent, dict):
            parent[[0, 1, 'x', '', 'two\nlines', None, (1, 2), 1.5][rng.integers(8)]] = parent.pop(key)
        if not value:
            break
    return value


# ---- targets: each makes, from the folder of its files, a function of (rng) that mutates and reads one

def checkpoint_cases(folder):
    import torch
    from torch import nn

    from utils.checkpoint import load_weights, read_checkpoint
    from utils.run.optimisation import load_optimizer, make_optimizer, make_schedule

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Conv3d(2, 3, 1, bias=False), nn.BatchNorm3d(3))
            self.final_fc = nn.Linear(3, 2)

        def forward(self):
            return self.final_fc(self.backbone(torch.ones(2, 2, 1, 2, 2)).mean((2, 3, 4))).square().sum()

    def build(name='adam'):
        model = Model()
        optimizer = make_optimizer(name, model.parameters(), lr=1e-3, wd=0)
        return model, optimizer, make_schedule('step', optimizer, epochs=3, milestones=[2])

    def step(model, optimizer):
        model().backward()
        optimizer.step()

    def checkpoint(name):
        model, optimizer, schedule = build(name)
        step(model, optimizer)
        return {'epoch': 1, 'step': 2, 'iteration': 5, 'net': 'resnet18', 'best_acc': 0.5, 'replaced': 0, 'skipped': 0,
                'state_dict': dict(model.state_dict()), 'optimizer': optimizer.state_dict(), 'log_size': 12,
                'schedule': schedule.state_dict(), 'scaler': {}, 'averages': {'sums': {'loss': 3.5}, 'weight': 8.},
                'settings': {'model': 'lc', 'net': 'resnet18', 'img_dim': 128, 'num_seq': 8, 'seq_len': 5, 'ds': 3,
                             'class_names': ['a', 'b']}}

    torch.manual_seed(0)
    whole = {name: checkpoint(name) for name in ('adam', 'sgd')}
    pool = [None, True, -1, 0, 3, 2 ** 70, 10 ** 400, 0.5, float('nan'), float('inf'), '', 'text', 'two\nlines', [], [1],
            (1, 2), {}, {1: 2}, {'a': {}}, torch.zeros(3), torch.zeros(3, 2), torch.tensor(1.), torch.zeros(0),
            torch.empty(3, device='meta'), torch.zeros(3, 2).to_sparse(), torch.full((3, 2), float('nan')),
            torch.ones(3, 2, dtype=torch.complex64), torch.ones(3, 2, dtype=torch.int64),
            torch.ones(1).expand(3, 2), torch.ones(1).expand(2 ** 40), torch.zeros(2, 3).t(), torch.zeros(3, 2).half(),
            nn.Parameter(torch.zeros(3, 2)),
            torch.zeros(3, 2, dtype=torch.float8_e4m3fn)]

    def saved(value, legacy):
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=not legacy)
        return file.getvalue()

    def with_other_pickle(rng, data):
        """Its pickle mutated under a checksum that is right."""
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, 'w') as new:
            for name in old.namelist():
                record = old.read(name)
                new.writestr(name, mutate(rng, record) if name.endswith('data.pkl') else record)
        return out.getvalue()

    files = {(name, legacy): saved(whole[name], legacy) for name in whole for legacy in (True, False)}

    def case(rng):
        name = ('adam', 'sgd')[rng.integers(2)]
        kind = rng.integers(4)
        if kind == 0:
            data = saved(mutate_object(rng, copy.deepcopy(whole[name]), pool), legacy=False)
        elif kind == 1:
            data = with_other_pickle(rng, files[name, False])
        else:
            data = mutate(rng, files[name, bool(kind == 2)])
        path = f'{folder}/epoch1.pth.tar'
        write(path, data)
        model, optimizer, schedule = build(name)
        with contextlib.suppress(UserError):
            load_weights(model, read_checkpoint(path))
        loaded = read_checkpoint(path, resumable=True)
        load_weights(model, loaded, strict=True, origin=path)
        try:
            load_optimizer(optimizer, loaded['optimizer'])
            schedule.load_state_dict(loaded['schedule'])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:  # as a resumed run does
            raise UserError(str(error)) from error

    return case


def csv_cases(folder):
    rows = [f'/d/{name}/v_{name}_g{group:02d}_c01,{40 + group}' for name in ('Archery', 'Swim') for group in range(1, 9)]
    whole = '\n'.join(rows).encode() + b'\n'

    def case(rng):
        path = f'{folder}/train_split01.csv'
        write(path, mutate(rng, whole, TOKENS))
        videos = VideoList.read_csv(path, frame_root=folder if rng.random() < 0.5 else None)
        assert videos.paths() == [videos.path(i) for i in range(len(videos))]
        with contextlib.suppress(UserError):
            train, held = hold_out(videos, 0.25, seed=0)
            assert len(train) + len(held) == len(videos)
        with contextlib.suppress(UserError):
            labels_of(videos, ['Archery', 'Swim'])
        with pytest.raises(UserError) as missing:  # there are no frames
            check_on_disk(videos)
        assert len(str(missing.value).splitlines()) == 1 and len(str(missing.value)) < 10_000

    return case


def class_list_cases(folder):
    whole = [''.join(f'{i}{separator}{name}\n' for i, name in enumerate(('Archery', 'riding a bike', 'Swim'), 1)).encode()
             for separator in ' ,']

    def case(rng):
        write(f'{folder}/classInd.txt', mutate(rng, whole[rng.integers(2)], TOKENS))
        names = read_class_list(folder)
        assert names and all(names) and len(set(names)) == len(names)

    return case


def jpegs():
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8), (48, 32))
    return [cv2.imencode('.jpg', image, flags)[1].tobytes()
            for flags in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])]


def zip_cases(folder):
    whole = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, 'w', method) as archive:
            for number, jpeg in enumerate(jpegs(), 1):
                archive.writestr(frame_name(number), jpeg)
        whole.append(file.getvalue())

    def case(rng):
        write(f'{folder}/video.zip', mutate(rng, whole[rng.integers(2)]))
        has_frame(f'{folder}/video', 3)
        for jpeg in read_jpegs(f'{folder}/video', [1, 3]):
            decode(jpeg)

    return case


def jpeg_cases(folder):
    whole = jpegs()

    def case(rng):
        frame = decode(mutate(rng, whole[rng.integers(3)]), int(2 ** rng.integers(3)))
        if frame is None:
            raise UserError('not a JPEG')
        assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.size <= 3 * MAX_PIXELS

    return case


TARGETS = {'checkpoint': checkpoint_cases, 'csv': csv_cases, 'class_list': class_list_cases, 'zip': zip_cases,
           'jpeg': jpeg_cases}


def write(path, data):
    with open(path, 'wb') as file:
        file.write(data)


def run_cases(target, first, count):
    """Runs in the child: prints how many cases were read and how many refused, or the first that ended in anything
    else, with status 1."""
    faulthandler.enable()
    warnings.simplefilter('error')
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        case = TARGETS[target](folder)
        used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        refused = 0
        for number in range(first, first + count):
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    case(np.random.default_rng((sorted(TARGETS).index(target), number)))
            except UserError as error:
                message = str(error)
                assert len(message.splitlines()) == 1 and len(message) < 1000, (number, message)
                refused += 1
            except BaseException:
                print(f'case {number} of {target}:', file=sys.stderr)
                raise
        faulthandler.cancel_dump_traceback_later()
        touched = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident
        assert touched < RESIDENT, f'{touched / 1e6:.0f} MB in use'
        print(f'{count - refused} read, {refused} refused')


def fuzz(target, first, count):
    done = forked.run(['-m', 'tests.test_fuzz', target, first, count], cwd=ROOT, timeout=3600)
    said = [line for line in done.stderr.splitlines() if not re.match(LIBJPEG, line)]
    assert done.returncode == 0 and not said, done.stderr[-4000:]
    read, refused = (int(word) for word in done.stdout.split() if word.isdecimal())
    assert read + refused == count and read > 0 and refused > count / 20, done.stdout
    return done.stdout


@pytest.mark.parametrize('target', TARGETS)
def test_some_mutations(target):
    fuzz(target, 0, 150)


@pytest.mark.soak
@pytest.mark.parametrize('target', TARGETS)
def test_many_mutations(target):
    print(target, fuzz(target, 1000, 20_000))


if __name__ == '__main__':
    run_cases(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
