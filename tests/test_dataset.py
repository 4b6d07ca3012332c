"""Clips and whole videos: their frames, random choices that depend on the seed only, and broken frames."""
import os
import resource
import shutil
import zipfile
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from tests.numbered import is_flipped, numbers, write_videos
from tests.tiny import make_frames, resized
from tests.whole_videos import whole_video
from utils.data.clip_starts import clip_starts, spaced_starts, training_starts
from utils.data.clips import Clip, ClipDataset, VideoDataset, read_frames
from utils.data.colour import FINETUNING, PRETRAINING
from utils.data.crops import Box, views_of
from utils.data.lists import VideoList
from utils.random_streams import stream
from utils.video import sources
from utils.video.frames import MAX_PIXELS, FrameError, frame_name


def clips_of(videos, crop='resized', **options):
    """Clips of 3 blocks of 2 frames, every 4th: 24 frames of video."""
    return ClipDataset(videos, Clip(3, 2, 4, 16), crop=crop, **options)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('videos'), [23, 24, 25, 60, 60, 1])


def test_a_sample(videos):
    sample = clips_of(videos, colour=PRETRAINING, labels=np.array([0, 1, 0, 1, 0, 1]))[0, 3]
    assert sample['frames'].shape == (6, 16, 16, 3) and sample['frames'].dtype == torch.uint8
    assert {name: (value.shape, value.dtype) for name, value in sample['colour'].items()} == {
        'grey': ((6,), torch.int8), 'factors': ((6, 4), torch.float32), 'order': ((6, 4), torch.int8)}
    assert sample['label'] == 1 and sample['index'] == 3 and sample['broken'] == []
    plain = clips_of(videos)[0, 3]
    assert plain['colour'] is None and plain['label'] == -1


def test_starts_are_uniform_over_all_windows_that_fit(videos):
    dataset = clips_of(videos)
    for index, windows in ((1, 1), (2, 2), (3, 37)):
        drawn = [numbers(dataset[epoch, index]['frames']) for epoch in range(400 if index == 3 else 40)]
        assert all((clip == clip[0] + 4 * np.arange(6)).all() for clip in drawn)
        starts = np.array([clip[0] for clip in drawn])
        assert set(starts) == set(range(1, windows + 1))
        assert abs(starts.mean() - (windows + 1) / 2) < 0.05 * windows + 0.2


def test_one_clip_of_a_video_is_drawn_as_ever(videos):
    """The first random number of a sample is its start, out of all windows of the whole video."""
    for index, n_frames in enumerate(videos.n_frames):
        for epoch in range(5):
            start = stream('clip', 7, epoch, index).integers(max(1, n_frames - 23))
            drawn = numbers(clips_of(videos, seed=7)[epoch, index]['frames'])
            assert drawn.tolist() == np.minimum(1 + start + 4 * np.arange(6), n_frames).tolist()


def test_clips_of_a_video_do_not_overlap(videos):
    """Two clips of 24 frames of a video of 60: each is drawn from its half, 7 starts, independently."""
    dataset = clips_of(videos, clips_per_video=2)
    assert len(dataset) == 12
    drawn = [[numbers(dataset[epoch, 2 * 3 + clip]['frames'])[0] for clip in (0, 1)] for epoch in range(200)]
    first, second = np.array(drawn).T
    assert set(first) == set(range(1, 8)) and set(second) == set(range(31, 38))
    assert len(set(zip(first, second))) > 40  # of 49 pairs
    centre = clips_of(videos, crop='centre', clips_per_video=2)
    assert [numbers(centre[0, 6 + clip]['frames'])[0] for clip in (0, 1)] == [4, 34]  # the middle of each half


@pytest.mark.parametrize('clips', [1, 2, 3, 5])
def test_where_clips_may_start(clips):
    """For all short lengths: inside the video; no overlap where there is room; if not, every place for a clip is in the
    range of one clip, so that clips differ from epoch to epoch."""
    span = 6
    for n_frames in range(1, 45):
        ranges = [training_starts(n_frames, span, clip, clips) for clip in range(clips)]
        latest = max(0, n_frames - span)
        assert all(0 <= first <= first + choices - 1 <= latest for first, choices in ranges)
        gaps = [later - (first + choices - 1) for (first, choices), (later, _) in zip(ranges, ranges[1:])]
        if n_frames >= clips * span:
            assert all(gap >= span for gap in gaps)
        else:
            drawn = sorted(place for first, choices in ranges for place in range(first, first + choices))
            assert set(drawn) == set(range(latest + 1)) and len(drawn) == max(clips, latest + 1)
            assert max(choices for _, choices in ranges) - min(choices for _, choices in ranges) <= 1


def test_short_videos_repeat_their_last_frame(videos):
    dataset = clips_of(videos, crop='centre')
    assert numbers(dataset[0, 0]['frames']).tolist() == [1, 5, 9, 13, 17, 21]  # 23 frames: one less than a clip spans
    assert numbers(dataset[0, 5]['frames']).tolist() == [1] * 6
    long = ClipDataset(videos, Clip(3, 2, 5, 16), crop='resized')
    assert numbers(long[0, 1]['frames']).tolist() == [1, 6, 11, 16, 21, 24]


def test_centre_is_the_middle_and_never_changes(videos):
    dataset = clips_of(videos, crop='centre', flip=1)
    first, second = dataset[0, 3]['frames'], dataset[7, 3]['frames']
    assert torch.equal(first, second)
    assert numbers(first).tolist() == (19 + 4 * np.arange(6)).tolist()  # 18 frames before the window, 18 after
    assert not is_flipped(first).any()


@pytest.mark.parametrize('flip', [0, 0.5, 1])
def test_one_flip_for_all_frames(videos, flip):
    flipped = [is_flipped(clips_of(videos, flip=flip)[epoch, 3]['frames']) for epoch in range(200)]
    assert all(clip.all() or not clip.any() for clip in flipped)
    assert abs(np.mean(flipped) - flip) <= (0.12 if flip == 0.5 else 0)


def test_random_choices_depend_on_seed_epoch_and_index_only(videos):
    def drawn(seed, keys):
        dataset = clips_of(videos, colour=PRETRAINING, seed=seed)
        samples = {key: dataset[key] for key in keys}
        return {key: torch.cat([sample['frames'].flatten().float(), sample['colour']['factors'].flatten()])
                for key, sample in samples.items()}

    keys = [(epoch, index) for epoch in (0, 1) for index in (2, 3, 4)]
    forward, backward, other = drawn(5, keys), drawn(5, keys[::-1]), drawn(6, keys)
    for i, key in enumerate(keys):
        assert torch.equal(forward[key], backward[key])
        assert not torch.equal(forward[key], other[key])
        assert not any(torch.equal(forward[key], forward[later]) for later in keys[i + 1:])


def test_a_batch_is_its_samples(videos):
    dataset = clips_of(videos, colour=FINETUNING, labels=np.arange(6))
    keys = [(2, 4), (2, 0), (2, 3)]
    batch = dataset.__getitems__(keys)
    assert dataset.progress.value > 0
    for i, key in enumerate(keys):
        sample = dataset[key]
        assert torch.equal(batch['frames'][i], sample['frames'])
        assert all(torch.equal(batch['colour'][name][i], value) for name, value in sample['colour'].items())
        assert batch['label'][i] == sample['label'] and batch['index'][i] == sample['index']


def test_packed_videos_give_identical_clips(tmp_path):
    videos = write_videos(tmp_path / 'loose', [40, 40])
    paths = [path.replace('/loose/', '/packed/') for path in videos.paths()]
    for source, path in zip(videos.paths(), paths):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with zipfile.ZipFile(path + '.zip', 'w', zipfile.ZIP_STORED) as archive:
            for name in os.listdir(source):
                archive.write(f'{source}/{name}', name)
    packed = VideoList.from_rows(paths, videos.n_frames)
    for key in ((0, 0), (3, 1)):
        assert torch.equal(clips_of(videos)[key]['frames'], clips_of(packed)[key]['frames'])


def test_a_broken_video_is_replaced_and_named(tmp_path):
    videos = write_videos(tmp_path, [30, 30, 30])
    broken = f'{videos.path(1)}/{frame_name(3)}'
    with open(broken, 'wb') as file:
        file.write(b'\xff\xd8 not a JPEG')
    dataset = clips_of(videos.select(np.array([0, 1])), crop='centre', labels=np.array([7, 8]))
    # The middle window of 30 frames starts at frame 4: the broken frame is not in the clip.
    assert dataset[0, 1]['broken'] == []
    os.remove(f'{videos.path(1)}/{frame_name(8)}')
    sample = dataset[0, 1]
    assert set(sample['broken']) == {f'{videos.path(1)}/{frame_name(8)}: No such file or directory'}
    assert sample['index'] == 0 and sample['label'] == 7
    assert torch.equal(sample['frames'], dataset[0, 0]['frames'])
    batch = dataset.__getitems__([(0, 0), (0, 1)])
    assert batch['index'].tolist() == [0, 0] and len(batch['broken']) >= 1


def test_nothing_but_broken_videos_is_an_error(tmp_path):
    videos = VideoList.from_rows([str(tmp_path / 'a' / 'gone')], [40])
    with pytest.raises(FrameError, match=r'gone/image_00\d\d\d.jpg: .*10 broken videos in a row.*check_frames\.py'):
        clips_of(videos)[0, 0]
    assert clips_of(videos).__getitems__([(0, 0)]).keys() == {'error'}


def test_frames_of_another_size_are_broken(tmp_path):
    write_videos(tmp_path, [3], height=24)
    write_videos(tmp_path / 'small', [3], height=20)
    path = str(tmp_path / 'a' / 'video00')
    os.replace(f'{tmp_path}/small/a/video00/{frame_name(2)}', f'{path}/{frame_name(2)}')
    with pytest.raises(FrameError, match=f'{frame_name(2)}: its size differs'):
        read_frames(path, np.array([1, 2, 3]), lambda h, w: Box(0, 0, h, w), False, np.empty((3, 8, 8, 3), np.uint8),
                    SimpleNamespace(value=0))


def test_reduced_decoding_shows_the_same_picture(tmp_path):
    path = write_videos(tmp_path, [2], height=64, width=96).path(0)
    boxes = {'whole': Box(0, 0, 64, 96), 'right': Box(0, 48, 64, 48)}
    for box in boxes.values():
        out = np.empty((2, 16, 16, 3), np.uint8)
        progress = SimpleNamespace(value=0)
        read_frames(path, np.array([1, 2]), lambda h, w, box=box: box, False, out, progress)
        assert progress.value == 2
        assert numbers(out).tolist() == [1, 2]
        ramp = np.linspace(40, 200, 96)[box.left:box.left + box.width].reshape(16, -1).mean(1)
        assert np.abs(out[..., 1].mean((0, 1)) - ramp).max() < 4


def slow_blocks(n_frames, ds, seq_len, num_seq):
    """Frame numbers of each block of a video, as lists."""
    sampled = list(range(1, n_frames + 1, ds))
    if len(sampled) < num_seq * seq_len:
        sampled += [n_frames] * (num_seq * seq_len - len(sampled))
    return [sampled[i:i + seq_len] for i in range(0, len(sampled) - seq_len + 1, seq_len)]


@pytest.mark.parametrize('n_frames', [1, 11, 12, 13, 17, 18, 24, 31, 60])
def test_whole_videos(tmp_path, n_frames):
    videos = write_videos(tmp_path, [n_frames])
    num_seq, seq_len, ds = 3, 2, 2
    item = whole_video(VideoDataset(videos, Clip(num_seq, seq_len, ds, 16), labels=np.array([4])), 0)
    blocks = slow_blocks(n_frames, ds, seq_len, num_seq)
    clips = numbers(item['frames']).tolist()  # [K][N·T]
    as_blocks = [[clip[i:i + seq_len] for i in range(0, len(clip), seq_len)] for clip in clips]
    firsts = [next(i for i in range(len(blocks)) if blocks[i:i + num_seq] == clip) for clip in as_blocks]
    stride = num_seq // 2
    assert all(0 < later - first <= stride for first, later in zip(firsts, firsts[1:]))
    assert {first + i for first in firsts for i in range(num_seq)} == set(range(len(blocks)))  # every block is used
    assert item['start'].tolist() == firsts and item['n_frames'] == n_frames
    assert item['label'] == 4 and item['index'] == 0


def test_whole_videos_with_chosen_clips(tmp_path):
    videos = write_videos(tmp_path, [24, 12])
    dataset = VideoDataset(videos, Clip(2, 3, 2, 16), starts_of=lambda n: np.array([0, 2] if n == 24 else [0]))
    assert [whole_video(dataset, i)['start'].tolist() for i in range(2)] == [[0, 2], [0]]
    assert numbers(whole_video(dataset, 0)['frames']).tolist() == [[1, 3, 5, 7, 9, 11], [13, 15, 17, 19, 21, 23]]
    assert numbers(whole_video(dataset, 1)['frames']).tolist() == [[1, 3, 5, 7, 9, 11]]


def test_views_of_whole_videos(tmp_path, monkeypatch):
    """Each view against OpenCV alone, on a video of odd size shorter than two clips; every frame is decoded once."""
    make_frames(tmp_path / 'a' / 'v', 7, seed=0, size=(35, 46))
    videos = VideoList.from_rows([str(tmp_path / 'a' / 'v')], [7])
    decoded = []
    decode = sources.decode
    monkeypatch.setattr(sources, 'decode', lambda jpeg, factor: decoded.append(len(jpeg)) or decode(jpeg, factor))
    dataset = VideoDataset(videos, Clip(2, 2, 1, 32), starts_of=lambda n: np.array([0, 1]), views=views_of(10))
    item = whole_video(dataset, 0)
    assert len(decoded) == 6  # three blocks of two
    assert item['start'].tolist() == [0, 1] * 10 and item['frames'].shape == (20, 4, 32, 32, 3)
    frames = [cv2.imread(f'{tmp_path}/a/v/{frame_name(number)}')[:, :, ::-1] for number in range(1, 7)]
    expected = []
    for mirrored in (False, True):
        for top, left in ((0, 0), (0, 11), (0, 0), (0, 11), (0, 5)):
            for start in (0, 2):
                for frame in frames[start:start + 4]:
                    frame = frame[:, ::-1] if mirrored else frame
                    square = np.ascontiguousarray(frame[top:top + 35, left:left + 35])
                    expected.append(resized(square, 32))
    assert np.array_equal(item['frames'].flatten(0, 1).numpy(), np.array(expected))


@pytest.mark.parametrize('crops', [1, 3, 5])
@pytest.mark.parametrize('size', [(35, 46), (70, 141)], ids=['whole', 'decoded at half size'])
def test_a_mirrored_video_has_the_same_views(tmp_path, monkeypatch, crops, size):
    """With the mirror image of each, as a set, to the last bit: the decoder's output is mirrored here."""
    make_frames(tmp_path / 'a' / 'v', 4, seed=0, size=size)
    videos = VideoList.from_rows([str(tmp_path / 'a' / 'v')], [4])

    def views_seen(flip):
        frames = whole_video(VideoDataset(videos, Clip(2, 2, 1, 32), views=views_of(crops, flip)), 0)['frames']
        return {view.numpy().tobytes() for view in frames}

    seen, plain = views_seen(flip=True), views_seen(flip=False)
    decode = sources.decode
    monkeypatch.setattr(sources, 'decode', lambda jpeg, factor: np.ascontiguousarray(decode(jpeg, factor)[:, ::-1]))
    assert views_seen(flip=True) == seen and views_seen(flip=False) != plain


def test_a_broken_whole_video_says_why(tmp_path):
    """Truncated, missing frame, no such folder, and frames listed that do not exist; the others stay readable."""
    videos = write_videos(tmp_path, [20] * 5)
    with open(f'{videos.path(0)}/{frame_name(5)}', 'r+b') as file:
        file.truncate(200)
    os.remove(f'{videos.path(1)}/{frame_name(7)}')
    shutil.rmtree(videos.path(2))
    videos = VideoList.from_rows(videos.paths(), [20, 20, 20, 2 ** 31 - 1, 20])
    dataset = VideoDataset(videos, Clip(2, 3, 2, 16))
    broken = [whole_video(dataset, i).get('broken', '') for i in range(5)]
    assert broken[0] == f'{videos.path(0)}/{frame_name(5)}: not a whole JPEG of at most {MAX_PIXELS} pixels'
    assert broken[1] == f'{videos.path(1)}/{frame_name(7)}: No such file or directory'
    assert videos.path(2) in broken[2]
    assert broken[3].startswith(videos.path(3)) and '2147483647' in broken[3]
    assert broken[4] == '' and whole_video(dataset, 3)['index'] == 3


def test_a_count_that_is_far_too_large_allocates_nothing(tmp_path):
    """2^31 − 1 frames of 16×16 px would be 800 GB."""
    videos = VideoList.from_rows(write_videos(tmp_path, [20]).paths(), [2 ** 31 - 1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 'broken' in whole_video(VideoDataset(videos, Clip(2, 3, 2, 16)), 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_clip_starts():
    assert clip_starts(8, 8).tolist() == [0]
    assert clip_starts(17, 8).tolist() == [0, 4, 8, 9]
    assert clip_starts(16, 8).tolist() == [0, 4, 8]
    assert clip_starts(3, 1).tolist() == [0, 1, 2]


def test_spaced_starts():
    assert spaced_starts(8, 8, 1).tolist() == spaced_starts(8, 8, 5).tolist() == [0]
    assert spaced_starts(17, 8, 1).tolist() == [4]
    assert spaced_starts(18, 8, 3).tolist() == [0, 5, 10] and spaced_starts(18, 8, 2).tolist() == [0, 10]
    assert spaced_starts(10, 8, 10).tolist() == [0, 1, 2] and spaced_starts(10, 8, 2 ** 31 - 1).tolist() == [0, 1, 2]
    for blocks in range(8, 60):
        for count in range(2, 20):
            starts = spaced_starts(blocks, 8, count)
            assert len(starts) == min(count, blocks - 7) and starts[0] == 0 and starts[-1] == blocks - 8
            steps = set(np.diff(starts).tolist())
            assert not steps or (min(steps) > 0 and max(steps) - min(steps) <= 1)
