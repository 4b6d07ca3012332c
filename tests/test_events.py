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
from experiments.event_files import files_of_videos, read_events
from experiments.surprise_study import auc, parts_of
from utils.cli import UserError, run_cli


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
        about = {'video': f'/videos/v{number}.avi', 'rows': 12, 'sha256': '', 'settings': {}, 'seconds': middle.tolist()}
        (tmp_path / f'v{number}.json').write_text(json.dumps(about))
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


def write_summary(folder, csv_of):
    """surprise.json, as far as the study reads it."""
    videos = [{'video': video, 'csv': f'elsewhere/{name}'} for video, name in csv_of.items()]
    (folder / 'surprise.json').write_text(json.dumps({'videos': videos}))


def test_a_table_of_what_surprise_wrote(tmp_path, capsys):
    for i in range(12):
        bits = np.ones(8)
        bits[3] = 2 if i % 4 else 0
        table(bits).to_csv(tmp_path / f'v{i}.csv')
    write_summary(tmp_path, {f'videos/c/v{i}.avi': f'v{i}.csv' for i in range(12)})
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
    assert 'gone.avi is not among the videos in ' in capsys.readouterr().err
    (tmp_path / 'events.csv').write_text('path,time\na,1\n')
    with pytest.raises(SystemExit):
        run_cli(surprise_study.main, surprise_study.parse_args(argv))
    assert 'it has no columns video and seconds' in capsys.readouterr().err


def test_videos_of_the_same_name_are_told_apart_by_their_paths(tmp_path):
    files = [('/x/a/run.avi', 'run'), ('/x/b/run.avi', 'run_2'), ('/x/b/walk.mp4', 'walk'), ('c/long', 'long')]

    def found(*names):
        return [file for _, file in files_of_videos(names, files, 'out', 'eval/surprise.py').values()]

    assert found('b/run.avi', 'a/run', '/x/b/walk.mp4', 'd/c/long') == ['run_2', 'run', 'walk', 'long']
    assert found('../b/run.avi', 'walk') == ['run_2', 'walk']
    for names, why in ((['run.avi'], r'may be /x/a/run.avi \(run\) or /x/b/run.avi \(run_2\)'),
                       (['y/a/run.avi'], 'is not among'), (['un.avi'], 'is not among'), ([''], 'is not among'),
                       (['d/c/long', 'e/c/long'], 'both fit c/long'), (['walk', 'b/walk'], 'both fit')):
        with pytest.raises(UserError, match=why) as error:
            found(*names)
        assert len(str(error.value).splitlines()) == 1

    for number, name in enumerate(['run', 'run_2']):
        np.save(tmp_path / f'{name}.npy', np.full((1, 2), number))
        about = {'video': f'/x/{"ab"[number]}/run.avi', 'rows': 1, 'sha256': '', 'settings': {}, 'seconds': [0.5]}
        (tmp_path / f'{name}.json').write_text(json.dumps(about))
    events = pd.DataFrame({'video': ['b/run.avi', 'a/run.avi'], 'seconds': 1, 'before': 'up', 'after': 'down'})
    assert localisation_study.read_rows(tmp_path, events)[1][:, 0].tolist() == [1, 0]


def test_groups_of_videos_with_events(tmp_path):
    """And the table of each of two videos called v0: only in one of them the event is marked."""
    names = [f'Surf/v_Surf_g0{i // 2}_c0{i}.avi' for i in range(4)] + ['a/v0.avi', 'b/v0.avi']
    for i in range(6):
        bits = np.ones(8)
        bits[3] = 0 if i == 5 else 2
        table(bits).to_csv(tmp_path / f'{i}.csv')
    write_summary(tmp_path, {name: f'{i}.csv' for i, name in enumerate(names)})

    def auc_and_group(**columns):
        pd.DataFrame({'video': names, 'seconds': 4.2, **columns}).to_csv(tmp_path / 'events.csv', index=False)
        events = read_events(tmp_path / 'events.csv', ['video', 'seconds'])
        values, group = surprise_study.auc_of_videos(tmp_path, events.assign(kind='event'), 'event')
        return values.bits.tolist(), group.tolist()

    assert auc_and_group() == ([1, 1, 1, 1, 1, 0], ['v_Surf_g00', 'v_Surf_g00', 'v_Surf_g01', 'v_Surf_g01', *names[4:]])
    assert auc_and_group(group=['', '', 'x', 'NA', 'x', ''])[1] == [*names[:2], 'x', 'NA', 'x', names[5]]


def test_the_first_block_has_no_change_to_compare(tmp_path):
    """Where one block is seen, it would be one of the rest."""
    each = table(np.ones(8)).assign(frame_difference=[0, 1, 2, 3, 9, 10, 11, 12], seen=1)
    each.to_csv(tmp_path / 'v.csv')
    write_summary(tmp_path, {'v.avi': 'v.csv'})
    events = pd.DataFrame({'video': ['v.avi', 'v.avi'], 'seconds': [5.2, 1.2], 'kind': ['late', 'first']})
    values, _ = surprise_study.auc_of_videos(tmp_path, events[:1], 'late')
    assert values['change of frame_difference'].tolist() == [1]
    with pytest.raises(UserError, match='no video has both'):
        surprise_study.auc_of_videos(tmp_path, events, 'first')
