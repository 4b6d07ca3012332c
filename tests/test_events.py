"""Videos with an event at a known time, and how well surprise marks it."""
import csv
import itertools
import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest

from experiments import localisation_study, surprise_study
from experiments.data import events, make_events
from experiments.surprise_study import auc, parts_of
from utils.cli import run_cli


def frames_of(kind, number, count=20):
    return np.stack(list(events.render(0, kind, number, count, 32)))


def test_only_one_thing_changes_and_only_at_the_event(monkeypatch):
    for kind, number in itertools.product(events.KINDS, range(4)):
        event = events.draw_event(0, kind, number, 20)
        frame, frames = event['frame'], frames_of(kind, number)
        assert 0.35 * 20 - 1 < frame < 0.75 * 20 and (event['before'] == event['after']) == (kind == 'brightness')
        with monkeypatch.context() as patch:        # the same without the event
            patch.setattr(events, 'draw_event', lambda *about: {**event, 'after': event['before'], 'gain': 1.0,
                                                                'rng': drawn(*about)})
            without = frames_of(kind, number)
        assert np.array_equal(frames[:frame], without[:frame])
        assert not np.array_equal(frames[frame], without[frame])
        if kind == 'motion':
            steps = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
            assert steps[frame - 1] < 3 * np.median(steps), 'no jump at the event'
        else:
            assert abs(float(frames[frame].mean()) - without[frame].mean()) > 3


def drawn(seed, kind, number, frames, draw=events.draw_event):
    return draw(seed, kind, number, frames)['rng']


def test_files_are_those_of_the_list_and_always_the_same(tmp_path):
    for out in ('a', 'b'):
        argv = ['--out', str(tmp_path / out), '--videos', '2', '--frames', '20', '--size', '32', '--jobs', '1']
        with pytest.raises(SystemExit) as end:
            run_cli(make_events.main, make_events.parse_args(argv))
        assert not end.value.code
    rows = list(csv.DictReader(open(tmp_path / 'a/events.csv', newline='')))
    assert [row['kind'] for row in rows] == ['motion'] * 2 + ['brightness'] * 2
    for row in rows:
        assert (tmp_path / 'a' / row['video']).read_bytes() == (tmp_path / 'b' / row['video']).read_bytes()
        frame = events.draw_event(0, row['kind'], int(row['video'][-5]) - 1, 20)['frame']
        assert float(row['seconds']) == pytest.approx(frame / 25, abs=0.01)
        assert {row['before'], row['after']} <= set(events.MOTIONS)


def table(bits):
    """Blocks 1, 2, … of one second each, predicted from two blocks, the first from one."""
    start = np.arange(1, len(bits) + 1)
    return pd.DataFrame({'seconds': start + 0.5, 'start': start, 'end': start + 0.9, 'bits': bits, 'copy_bits': 0.0,
                         'frame_difference': start, 'seen': np.minimum(start, 2)})


def test_which_blocks_are_the_event_and_which_the_rest():
    def rows(seconds, others=()):
        masks = parts_of(table(np.zeros(8)), np.array(seconds), np.array([*seconds, *others]))
        return [np.flatnonzero(mask).tolist() for mask in masks]

    assert rows([4.2]) == [[3], [1, 2, 6, 7]]       # it is in block 4, row 3; rows 4 and 5 have seen it
    assert rows([4.7]) == [[4], [1, 2, 6, 7]]       # most of its block is before it
    assert rows([4.2, 7.1]) == [[3, 6], [1, 2]] and rows([4.2], [7.1]) == [[3], [1, 2]]
    assert rows([1.2]) == [[], [3, 4, 5, 6, 7]]        # that block is predicted from fewer
    assert rows([30.]) == [[], [1, 2, 3, 4, 5, 6, 7]]


def test_auc_equals_a_loop():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 5, 6), rng.integers(0, 5, 9)
    wins = sum((p > n) + (p == n) / 2 for p in positive for n in negative)
    assert auc(positive, negative) == pytest.approx(wins / 54)


def test_a_classifier_of_rows_over_time(tmp_path, capsys):
    """On rows that say which motion it is, but for those near the change."""
    rng, motions, rows = np.random.default_rng(0), ['left', 'right', 'up'], []
    middle = np.arange(12) / 5 + 0.1
    for number in range(24):
        before, after = rng.choice(3, 2, replace=False)
        label = np.where(middle < 1.2, before, after)
        vectors = np.eye(3)[label] * 9 + rng.standard_normal((12, 3))
        vectors[np.abs(middle - 1.2) < 0.5] = 0
        np.save(tmp_path / f'v{number}.npy', vectors.astype(np.float32))
        (tmp_path / f'v{number}.json').write_text(json.dumps({'seconds': middle.tolist()}))
        rows += [{'video': f'v{number}.avi', 'kind': 'motion', 'seconds': 1.2, 'before': motions[before],
                  'after': motions[after]}, {'video': 'none.avi', 'kind': 'brightness', 'seconds': 1}]
    pd.DataFrame(rows).to_csv(tmp_path / 'events.csv')
    argv = ['--events', str(tmp_path / 'events.csv'), str(tmp_path), '--picture', str(tmp_path / 'said.png')]
    with pytest.raises(SystemExit) as end:
        run_cli(localisation_study.main, localisation_study.parse_args(argv))
    said = capsys.readouterr().out
    assert cv2.imread(str(tmp_path / 'said.png')).shape[1] == 900
    assert not end.value.code and '144 rows of 12 videos to train on, 144 of 12 to test on' in said
    assert re.search(r'others +100\.0% \[100\.0%, 100\.0%\]', said) and re.search(r'within 0\.5 s of the change +[1-6]', said)
    pd.DataFrame(rows).drop(columns='after').to_csv(tmp_path / 'events.csv')
    with pytest.raises(SystemExit):
        run_cli(localisation_study.main, localisation_study.parse_args(argv))
    assert 'it has no columns after' in capsys.readouterr().err


def test_a_table_of_what_surprise_wrote(tmp_path, capsys):
    for i in range(12):
        bits = np.ones(8)
        bits[3] = 2 if i % 4 else 0
        table(bits).to_csv(tmp_path / f'v{i}.csv')
    rows = [{'video': f'c/v{i}.avi', 'seconds': 4.2, 'kind': 'ab'[i % 2]} for i in range(12)]
    pd.DataFrame(rows).to_csv(tmp_path / 'events.csv')
    argv = ['--events', str(tmp_path / 'events.csv'), str(tmp_path)]
    with pytest.raises(SystemExit):
        run_cli(surprise_study.main, surprise_study.parse_args(argv))
    said = capsys.readouterr().out
    assert ', a: 6 videos' in said and ', b: 6 videos' in said and 'fewer than 10 groups' in said
    assert ' 0.500 (' in said and ' 1.000 (' in said    # of a, half are missed; of b, none
    pd.DataFrame(rows + [{'video': 'gone.avi', 'seconds': 1, 'kind': 'a'}]).to_csv(tmp_path / 'events.csv')
    with pytest.raises(SystemExit):
        run_cli(surprise_study.main, surprise_study.parse_args(argv))
    assert 'gone.csv is not there: give all videos' in capsys.readouterr().err
    (tmp_path / 'events.csv').write_text('path,time\na,1\n')
    with pytest.raises(SystemExit):
        run_cli(surprise_study.main, surprise_study.parse_args(argv))
    assert 'it has no columns video and seconds' in capsys.readouterr().err
