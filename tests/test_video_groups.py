"""Videos that belong together: what names tell, what lists carry, and that no split tears a group apart."""
import contextlib

import numpy as np
import pytest

from eval.classify.outputs import write_list
from process_data import check_frames, write_csv
from tests.process_data.tiny_videos import write_video
from utils.data.groups import group_of
from utils.data.held_out import NothingHeldOut, fold_of, hold_out
from utils.data.label_subsets import label_subset
from utils.data.lists import VideoList
from utils.data.random_split import random_split


@pytest.mark.parametrize('path, group', [
    ('/f/Surfing/v_Surfing_g03_c01', 'v_Surfing_g03'), ('v_Surfing_g03_c11.avi', 'v_Surfing_g03'),
    ('/f/Surfing/v_Surfing_g03', ''), ('/f/v_Surfing_g03_c01/take', ''),
    ('draw_sword/Two_Towers_4_draw_sword_f_cm_np1_ri_med_11.avi', 'Two_Towers'),
    ('draw_sword/Two_Towers_5_draw_sword_f_cm_np1_ri_med_3.avi', 'Two_Towers'),
    ('cartwheel/Bodenturnen_2004_cartwheel_f_cm_np1_le_med_0', 'Bodenturnen_2004'),
    ('elsewhere/Bodenturnen_2004_cartwheel_f_cm_np1_le_med_0', 'Bodenturnen_2004_cartwheel'),
    ('/k/yoga/-3B32lodo2M_000059_000069', '-3B32lodo2M'), ('/k/yoga/-3B32lodo2M', ''), ('/mine/run/ann_take2', '')])
def test_what_names_tell(path, group):
    assert group_of(path) == group


def test_a_regex_comes_first():
    assert group_of('a/ann_take2', r'^(\w+?)_take') == 'ann' and group_of('a/ann_take2', 'ann|bob') == 'ann'
    assert group_of('a/v_a_g01_c01', '^(ann)_') == 'v_a_g01' and group_of('a/take2', '^(ann)?_?take') == ''


# ---- lists

def test_lists_carry_groups(tmp_path):
    """Every kind of row; empty cells; lists written before there were groups; relative and selected videos."""
    path = tmp_path / 'list.csv'
    path.write_text('a/v_a_g01_c01,9,,ann\na/two,9,,\nb/three,9,,ann\n')
    videos = VideoList.read_csv(str(path), '/videos')
    assert videos.groups() == ['ann', '/videos/a/two', 'ann'] and videos.label is None
    assert videos.classes() == [('a',), ('a',), ('b',)] and videos.select([2, 1]).groups() == ['ann', '/videos/a/two']
    path.write_text('/a/x,9,run;jump,ann\n/a/y,9,run,\n')
    videos = VideoList.read_csv(str(path))
    assert videos.groups() == ['ann', '/a/y'] and videos.classes() == [('run', 'jump'), ('run',)]
    write_list(tmp_path / 'again.csv', videos)
    again = VideoList.read_csv(str(tmp_path / 'again.csv'))
    assert again.groups() == videos.groups() and again.classes() == videos.classes()
    path.write_text('/a/v_a_g01_c01,9\n/a/v_a_g01_c02,9\n/a/other,9\n')
    assert VideoList.read_csv(str(path)).groups() == ['v_a_g01', 'v_a_g01', '/a/other']


def test_every_list_written_has_the_groups(tmp_path, monkeypatch):
    """Of --group_regex and of a column; a repaired list keeps them; without any group there is no column."""
    for name in ('run/ann_1', 'run/ann_2', 'jump/ann_3', 'run/bob_1', 'jump/bob_2'):
        write_video(tmp_path / f'videos/{name}.mp4', n_frames=3)

    def rows(*flags):
        write_csv.main(write_csv.parse_args([*flags, '--videos', str(tmp_path / 'videos'), '--csv_root', str(tmp_path),
                                             '--jobs', '1', '--relative', '--name', 'mine']))
        return [(tmp_path / f'mine/{part}_split01.csv').read_text().splitlines() for part in ('train', 'test')]

    assert not any(',' in row.replace(',3', '') for part in rows('--dataset', 'folder') for row in part)
    parts = rows('--dataset', 'folder', '--group_regex', r'^(\w+)_')
    assert sorted(map(sorted, parts)) == [['jump/ann_3.mp4,3,,ann', 'run/ann_1.mp4,3,,ann', 'run/ann_2.mp4,3,,ann'],
                                          ['jump/bob_2.mp4,3,,bob', 'run/bob_1.mp4,3,,bob']]
    (tmp_path / 'labels.csv').write_text('path,label,group\nrun/ann_1,x,A\nrun/ann_2,x,\njump/ann_3,y;x,A\n'
                                         'run/bob_1,y,B\njump/bob_2,x,B\n')
    parts = rows('--dataset', 'csv', '--annotations', str(tmp_path / 'labels.csv'))
    assert sorted(parts[0] + parts[1])[:2] == ['jump/ann_3.mp4,3,y;x,A', 'jump/bob_2.mp4,3,x,B']
    assert {row[-1] for row in parts[0]} & {row[-1] for row in parts[1]} <= {','}
    path = tmp_path / 'mine/train_split01.csv'
    path.write_text(path.read_text() + 'gone/x.mp4,3,x,A\n')
    monkeypatch.chdir(tmp_path)
    check_frames.main(check_frames.parse_args(['--csv', str(path), '--frame_root', str(tmp_path / 'videos'), '--repair',
                                               '--jobs', '1']))
    assert (tmp_path / 'mine/train_split01.repaired.csv').read_text().splitlines() == parts[0]


# ---- what no split may do

def random_list(rng):
    """A list whose groups may have videos of several classes."""
    count = rng.integers(2, 40)
    classes, groups = rng.integers(1, 6), rng.integers(1, 12)
    paths = [f'/f/c{rng.integers(classes)}/v{i}' for i in range(count)]
    return VideoList.from_rows(paths, [9] * count, group=[f'p{rng.integers(groups)}' if rng.random() < 0.8 else ''
                                                          for _ in paths])


def groups_of_classes(videos, rows):
    found = {}
    for row in rows:
        found.setdefault(videos.classes()[row][0], set()).add(videos.groups()[row])
    return found


def test_no_group_is_torn_apart():
    """By a hold-out, by folds and by a random split: every class that can keep a group for training keeps one."""
    held_out = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        videos = random_list(rng)
        everything = groups_of_classes(videos, range(len(videos)))
        group = np.array(videos.groups())
        try:
            train, held = hold_out(videos, rng.choice([0.1, 0.3, 0.6]), seed)
        except NothingHeldOut:
            continue
        held_out += 1
        assert sorted([*train, *held]) == list(range(len(videos))) and not set(group[train]) & set(group[held])
        assert groups_of_classes(videos, train).keys() == everything.keys()
        fold = fold_of(videos, 5, seed)
        assert all(len(set(fold[group == name])) == 1 for name in group) and fold.max() < 5
        folders = dict(zip(videos.paths(), (name.decode() for name in videos.group.tolist())))
        lists, _ = random_split(folders, 0.4, seed)
        parts = [{folders[folder] or folder for folder in lists[name]} for name in sorted(lists)]
        assert not parts[0] & parts[1]
        assert {folder.split('/')[2] for folder in lists['train_split01']} == everything.keys()
    assert held_out > 40


def test_the_order_of_the_list_does_not_matter():
    """The same videos are held out, and in the same folds, however a list is ordered, and from files as from frames."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        videos = random_list(rng)
        order = rng.permutation(len(videos))
        assert np.array_equal(fold_of(videos, 5, seed)[order], fold_of(videos.select(order), 5, seed))
        with contextlib.suppress(NothingHeldOut):
            train, _ = hold_out(videos, 0.3, seed)
            assert {*order[hold_out(videos.select(order), 0.3, seed)[0]]} == {*train}
    names = [f'/f/run/clip{end}' for end in ('', ' (2)', '-b', '1', '_x', '.y')]
    frames, files = (VideoList.from_rows([name + end for name in names], [9] * 6) for end in ('', '.mp4'))
    for seed in range(9):
        assert np.array_equal(hold_out(frames, 0.5, seed)[0], hold_out(files, 0.5, seed)[0])
        assert np.array_equal(*(label_subset(videos.paths(), [0] * 6, 0.5, seed=seed) for videos in (frames, files)))
    twins = [f'/f/run/clip{i}{end}' for i in range(4) for end in ('.avi', '.mp4')]
    folds = [tuple(fold_of(VideoList.from_rows(paths, [9] * 8), 2, seed=0)) for paths in (twins, twins[::-1])]
    assert folds[0] == folds[1][::-1], 'two forms of a video have one name'
    fold_of(VideoList.from_rows(twins, [9] * 8, group=['/', '.zip', 'a', 'a.avi'] * 2), 2, seed=0)  # no paths


def test_folds_of_ucf101_names():
    """Each group number is in one fold, the same in all classes, and folds are equally large; two groups make two."""
    paths = [f'/f/c{c}/v_c{c}_g{g:02d}_c{i:02d}' for c in range(4) for g in range(1, 11) for i in range(1, 4)]
    fold = fold_of(VideoList.from_rows(paths, [9] * len(paths)), 5, seed=0)
    assert np.bincount(fold).tolist() == [len(paths) / 5] * 5
    assert len({(path.split('_')[-2], k) for path, k in zip(paths, fold)}) == 10
    few = [path for path in paths if '_g01_' in path or '_g02_' in path]
    assert set(fold_of(VideoList.from_rows(few, [9] * len(few)), 5, seed=0)) == {0, 1}


def test_takes_of_a_person_are_held_out_together():
    """HMDB51's cuts of a film, and takes of people by a column: none is on both sides."""
    films = [f'/f/{c}/Film{film}_{part}_{c}_f_cm_np1_ri_med_{cut}' for c in ('hit', 'run') for film in 'ABCD'
             for part in (1, 2) for cut in range(2)]
    videos = VideoList.from_rows(films, [9] * len(films))
    train, held = hold_out(videos, 0.25, seed=0)
    films_of = [{films[row].split('/')[3][:5] for row in rows} for rows in (train, held)]
    assert len(films_of[1]) == 1 and not films_of[0] & films_of[1]


def test_one_group_is_not_held_out():
    videos = VideoList.from_rows(['/f/a/1', '/f/a/2', '/f/b/1'], [9] * 3, group=['ann'] * 3)
    with pytest.raises(NothingHeldOut, match='all of one group'):
        hold_out(videos, 0.5, 0)
