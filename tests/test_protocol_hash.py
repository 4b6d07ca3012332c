"""The hash of a protocol changes with all that makes numbers incomparable, and with nothing else."""
import numpy as np

from eval.metrics import protocol_hash as module
from eval.metrics.protocol_hash import protocol_hash


def listed(rng, count):
    return [(f'/frames/{rng.choice(["run", "jump"])}/v{i}', [f'class {rng.integers(3)}']) for i in range(count)]


def test_the_hash_changes_when_a_result_could(monkeypatch):
    """For random lists: a video more or less, another video, another label, another choice, the lists exchanged, a new
    rule. Not for another order, place, form, spelling or order of the choices."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        train, test = listed(rng, rng.integers(2, 9)), listed(rng, rng.integers(1, 9))
        choices = {'protocol': 'probe', 'decay': [1., 0.1], 'num_seq': 8, 'ds': 3}
        first = protocol_hash(train, test, **choices)
        assert len(first) == 8

        def moved(videos):
            return [(f'/mnt/other{path}.avi', [name.replace(' ', '_') for name in names]) for path, names in
                    [videos[i] for i in rng.permutation(len(videos))]]

        assert protocol_hash(moved(train), moved(test), **dict(reversed(choices.items()))) == first
        (path, names), *rest = train
        for changed in (rest, [*train, ('/frames/run/more', names)], [(f'{path}x', names), *rest],
                        [(path, ['another']), *rest], [(path, [*names, 'second']), *rest]):
            assert protocol_hash(changed, test, **choices) != first
        assert protocol_hash(train, [*test, (path, names)], **choices) != first
        assert protocol_hash(train, test[1:], **choices) != first
        assert protocol_hash(test, train, **choices) != first
        for change in ({'protocol': 'knn'}, {'decay': [1.]}, {'ds': 5}, {'clips': 10}):
            assert protocol_hash(train, test, **{**choices, **change}) != first
        monkeypatch.setattr(module, 'RULE', module.RULE + 1)
        assert protocol_hash(train, test, **choices) != first
        monkeypatch.undo()


def test_takes_of_two_people_differ():
    """{person}/{class}/{take}: the tail is as long as telling them apart needs."""
    ann, bob = ([(f'/d/{name}/run/{i}', ['run']) for i in range(3)] for name in ('ann', 'bob'))
    assert protocol_hash(ann, bob) != protocol_hash(bob, ann)


def test_videos_without_class_folders_may_move():
    there, moved = ([(f'/{folder}/{i}.mp4', ['run', 'jump'][i % 2:]) for i in range(6)] for folder in ('a/ssv2', 'b'))
    assert protocol_hash(there[:4], there[4:]) == protocol_hash(moved[:4], moved[4:])
