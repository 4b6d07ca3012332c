"""Random streams of one seed are independent of each other, whatever the lengths of their keys."""
import itertools

from utils.random_streams import PURPOSES, sequence, stream


def test_streams_of_different_purposes_differ():
    keys = [key for length in (1, 2, 3) for key in itertools.product((0, 1), repeat=length)]
    first = {purpose: {stream(purpose, *key).integers(2 ** 63) for key in keys} for purpose in PURPOSES}
    assert all(len(values) > 1 for values in first.values())
    assert all(first[one].isdisjoint(first[other]) for one, other in itertools.combinations(PURPOSES, 2))


def test_a_stream_is_the_same_again():
    assert stream('clip', 3, 1, 2).random() == stream('clip', 3, 1, 2).random()
    assert sequence('step', 1, 2).generate_state(1) != sequence('order', 1, 2).generate_state(1)
