"""The hash of a protocol changes with all that makes numbers incomparable, and with nothing else."""
import numpy as np

from eval.extract.setup import labelled_videos
from eval.metrics import protocol_hash as module
from eval.metrics.protocol_hash import mean_hash, protocol_hash
from utils.data.lists import VideoList


def drawn(rng, count):
    """Rows (path, frames, label, group)."""
    return [(f'/frames/{rng.choice(["run", "jump"])}/v{i}', int(rng.integers(50, 90)), f'class {rng.integers(3)}',
             rng.choice(['', 'ann', 'bob'])) for i in range(count)]


def listed(rows):
    paths, n_frames, labels, groups = zip(*rows) if rows else ([],) * 4
    return VideoList.from_rows(paths, n_frames, label=labels, group=groups)


def test_the_hash_changes_when_a_result_could(monkeypatch):
    """For random lists: a video more or less, another video, label or group, another choice, the lists exchanged, other
    frames of a test video, a new rule. Not for another order, place, form, spelling or order of the choices."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        train, test = drawn(rng, rng.integers(2, 9)), drawn(rng, rng.integers(1, 9))
        choices = {'protocol': 'probe', 'decay': [1., 0.1], 'num_seq': 8, 'ds': 3}

        def of(train, test, **changed):
            return protocol_hash(listed(train), listed(test), **{**choices, **changed})

        def moved(rows):
            return [(f'/mnt/other{path}.avi', count, label.replace(' ', '_'), group) for path, count, label, group in
                    [rows[i] for i in rng.permutation(len(rows))]]

        first = of(train, test)
        assert len(first) == 8
        assert protocol_hash(listed(moved(train)), listed(moved(test)), **dict(reversed(choices.items()))) == first
        (path, count, label, group), *rest = train
        for changed in (rest, [*train, ('/frames/run/more', count, label, group)], [(f'{path}x', count, label, group), *rest],
                        [(path, count, 'another', group), *rest], [(path, count, f'{label};second', group), *rest],
                        [(path, count, label, 'carl'), *rest]):
            assert of(changed, test) != first
        assert of(train, [*test, train[0]]) != first
        assert of(train, test[1:]) != first
        assert of(test, train) != first
        (path, count, *more), *rest = test
        assert of(train, [(path, count + 1, *more), *rest]) != first
        for change in ({'protocol': 'knn'}, {'decay': [1.]}, {'ds': 5}, {'clips': 10}):
            assert of(train, test, **change) != first
        monkeypatch.setattr(module, 'RULE', module.RULE + 1)
        assert of(train, test) != first
        monkeypatch.undo()


def test_takes_of_two_people_differ():
    """{person}/{class}/{take}: the tail is as long as telling them apart needs."""
    ann, bob = (listed([(f'/d/{name}/run/{i}', 9, 'run', '') for i in range(3)]) for name in ('ann', 'bob'))
    assert protocol_hash(ann, bob) != protocol_hash(bob, ann)


def test_videos_without_class_folders_may_move():
    there, moved = ([(f'/{folder}/{i}.mp4', 9, ('run', 'jump')[i % 2], '') for i in range(6)] for folder in ('a/ssv2', 'b'))
    assert protocol_hash(listed(there[:4]), listed(there[4:])) == protocol_hash(listed(moved[:4]), listed(moved[4:]))


def test_lists_of_a_data_set_that_has_moved(tmp_path):
    """Of videos that are their own groups the path is no part of the protocol."""
    found = []
    for root, end in (('a/frames', ''), ('b/moved', ''), ('a/files', '.mp4')):
        folder = tmp_path / root
        folder.mkdir(parents=True)
        for part in ('train', 'test'):
            (folder / f'{part}_split01.csv').write_text(''.join(f'/{root}/{name}/{part}{i}{end},90\n' for i in range(3)
                                                                for name in ('run', 'jump')))
        listed = labelled_videos(folder, 1, None, ['jump', 'run'])
        found.append(protocol_hash(*(listed.videos.select(listed.rows_of(part)) for part in ('train', 'test'))))
    assert len(set(found)) == 1


def test_a_mean_over_splits_has_the_hash_of_its_splits():
    assert mean_hash(['a', 'b', 'c']) == mean_hash(('a', 'b', 'c')) != mean_hash(['a', 'b', 'd'])
