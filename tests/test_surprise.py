"""eval/surprise.py as a user runs it, and its bits against slow loops."""
import csv
import functools
import json
import math

import av
import cv2
import numpy as np
import pytest
import torch

from dpc.model import DPC
from eval import report, surprise
from eval.forecast import next_block, video_maps
from eval.forecast.course import Course, block_times
from eval.forecast.next_block import bits_of, own_candidates, surprise_along
from eval.forecast.pairs import accuracy_of, cell_of, lines_of_pairs, read_pairs
from eval.forecast.surprise_pictures import Source, write_surprise_film
from tests.films import film, write_film
from tests.test_horizon import save
from tests.test_report import Page
from tests.test_report import report as write_report
from tests.tiny import make_frames, next_lines, run, write_rows
from utils.data.clips import VideoDataset
from utils.data.lists import VideoList
from utils.data.seen import train_list
from utils.model_folder import packed, write_model_folder

FLAGS = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']
SEEN = 2     # of the three blocks of five frames of the checkpoint of test_horizon


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return DPC('resnet18', pred_step=1).eval().requires_grad_(False)


def maps(model, blocks, locations=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(blocks, locations, model.backbone.feature_size, generator=random)


# ---- the score

def loop_over_candidates(prediction, target, candidates):
    """−log2 of the softmax, from the definition. prediction, target [D], candidates [K, D]."""
    scores = [float(prediction.double() @ each.double()) for each in (target, *candidates)]
    most = max(scores)
    return math.log2(sum(math.exp(score - most) for score in scores)) - (scores[0] - most) / math.log(2)


@pytest.mark.parametrize('with_bank', [True, False])
def test_bits_equal_a_loop_over_blocks_locations_and_candidates(model, with_bank):
    feature = maps(model, 9)
    bank = 3 * maps(model, 5, seed=1) if with_bank else None
    bits, copy_bits, seen, count = surprise_along(model, feature, SEEN, bank)
    assert bits.shape == copy_bits.shape == (8, 2) and seen.tolist() == [1, 2, 2, 2, 2, 2, 2, 2]
    for block in range(1, 9):
        window = range(max(0, block - SEEN), block + 1)
        prediction = model.predict(feature[None, list(window)], steps=1)[0][0, 0]
        others = bank if with_bank else torch.stack([feature[i] for i in range(9) if i not in window])
        if not with_bank and block == 1:
            continue     # one more is left than the others have: which are taken is drawn
        assert len(others) == count
        for s in range(2):
            assert bits[block - 1, s] == pytest.approx(
                loop_over_candidates(prediction[s], feature[block, s], others[:, s]), abs=1e-3)
            assert copy_bits[block - 1, s] == pytest.approx(
                loop_over_candidates(feature[block - 1, s], feature[block, s], others[:, s]), abs=1e-3)


def test_bits_do_not_depend_on_what_is_in_the_batch(model, monkeypatch):
    feature = maps(model, 40)
    whole = surprise_along(model, feature, SEEN)
    monkeypatch.setattr(next_block, 'AT_ONCE', 3)
    for ours, theirs in zip(surprise_along(model, feature, SEEN), whole):
        assert np.allclose(ours, theirs, atol=1e-4)
    bank = maps(model, 6, seed=1)
    alone = surprise_along(model, feature[:10], SEEN, bank)[0]
    assert np.allclose(alone, surprise_along(model, feature, SEEN, bank)[0][:9], atol=1e-4)


@pytest.mark.parametrize('most, blocks', [(1000, 9), (5, 40), (5, 4)])
def test_candidates_are_as_many_for_each_block_and_never_of_its_window(most, blocks, monkeypatch):
    monkeypatch.setattr(next_block, 'CANDIDATES', most)
    feature = torch.arange(blocks).float().view(-1, 1, 1)
    candidates, allowed = own_candidates(feature, SEEN)
    expected = min(most, blocks - SEEN - 1)
    assert len(candidates) <= most + SEEN + 1
    for block, mask in enumerate(allowed):
        numbers = candidates[mask].flatten().tolist()
        assert len(numbers) == len(set(numbers)) == expected and not set(numbers) & set(range(block - SEEN, block + 1))


def test_nothing_to_tell_apart_is_log2_of_the_candidates(model):
    """Where all blocks are equal, and where a prediction says nothing."""
    constant = maps(model, 1).expand(9, -1, -1)
    bits, copy_bits, _, count = surprise_along(model, constant, SEEN)
    assert count == 6 and bits == pytest.approx(math.log2(7), abs=1e-4)
    assert copy_bits == pytest.approx(math.log2(7), abs=1e-4)
    target, bank = maps(model, 3), maps(model, 10, seed=1)
    assert bits_of(torch.zeros_like(target), target, bank) == pytest.approx(math.log2(11))


def test_the_similarity_of_the_loss_is_followed(model, monkeypatch):
    target, bank = maps(model, 3), maps(model, 10, seed=1)
    monkeypatch.setattr('dpc.loss.similarity', lambda rows, columns: 0 * rows @ columns.t())
    assert bits_of(target, target, bank) == pytest.approx(math.log2(11))


# ---- the course of a video

def course(bits, seen=None):
    bits = np.array(bits, np.float32)[:, None]
    time = np.arange(len(bits), dtype=float)
    return Course('a.mp4', time, time + 0.5, bits, bits, time, np.full(len(bits), SEEN) if seen is None else seen, 7,
                  (1, 1), SEEN)


def test_top_moments_are_apart_and_predicted_from_enough():
    assert course([1, 5, 6, 2, 3, 4]).top() == [2, 5, 0]
    assert course([9, 5, 6, 2, 3, 4], seen=np.array([1, 2, 2, 2, 2, 2])).top() == [2, 5]
    assert course([9, 8], seen=np.array([1, 1])).top() == []
    assert course([9]).top() == [0] and course([9]).uninformed == 3
    summary = course([9, 5, 6], seen=np.array([1, 2, 2])).summary()
    assert (summary['blocks'], summary['bits'], summary['top'][0]['seconds']) == (3, 5.5, 2.25)


def test_times_of_blocks():
    start, end = block_times(np.arange(20) / 10, 3, seq_len=3, ds=2)
    assert start.tolist() == pytest.approx([0, .6, 1.2]) and end.tolist() == pytest.approx([.4, 1, 1.6])


def test_accuracy_counts_ties_half():
    found = accuracy_of(np.array([1., 2, 3]), np.array([2., 2, 1]), np.array(['a', 'b', 'b']))
    assert found == {'value': 0.5, 'low': None, 'high': None, 'by_group': {'a': 1, 'b': 0.25}}
    low, high = (accuracy_of(np.zeros(24), np.arange(24) % 2, np.arange(24).astype(str))[name] for name in ('low', 'high'))
    assert low < 0.75 < high
    said = lines_of_pairs({'pairs': 9, 'given': 9, 'left_out': [], 'groups': 12, 'accuracy': {'mean': {'bits': {
        'value': 0.75, 'low': 0.5, 'high': 0.9, 'by_group': None}}}})
    assert said[1] == 'mean of its blocks: bits 75.0% [50.0%, 90.0%]' and '[95% interval over the 12 groups]' in said[0]


def test_paths_of_pairs_are_found_beside_the_csv_too(tmp_path, monkeypatch):
    (tmp_path / 'data').mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ('data/a.mp4', 'data/b.mp4', 'b.mp4'):
        (tmp_path / name).touch()
    (tmp_path / 'data/pairs.csv').write_text('a.mp4,b.mp4\ngone.mp4,data/a.mp4\n')
    assert [pair[1:3] for pair in read_pairs('data/pairs.csv')] == [('data/a.mp4', 'b.mp4'), ('gone.mp4', 'data/a.mp4')]


# ---- the command

@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save(tmp_path_factory.mktemp('weights') / 'model.pth.tar')


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Three video files of 45, 52 and 50 frames at 25 a second, the last still."""
    root = tmp_path_factory.mktemp('videos')
    return [write_film(root / name, pictures, options={'qp': '0'}) for name, pictures in (
        ('a.mp4', film(45)), ('b.mp4', film(52, seed=1)), ('still.mp4', film(1) * 50))]


def answers(capsys, *words, status=0):
    capsys.readouterr()
    assert run(surprise, [*words, '--json', *FLAGS]) == status
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def rows_of(path):
    return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(open(path, newline=''))]


def test_files_of_videos(weights, videos, tmp_path, capsys):
    assert run(surprise, [*videos[1:], '--weights', weights, '--out', tmp_path, '--picture', '--film', *FLAGS]) == 0
    said = capsys.readouterr().out
    assert 'comparable within a video only' in said and said.count(' bits at ') == 6
    report.parse_args(next_lines(said)[0][2:])
    assert 'surprise.json, b.csv, b.png, b.mp4; the same of 1 more' in said and said.count('single location (1×1)') == 1
    assert {path.name for path in tmp_path.iterdir()} == {'surprise.json', *(
        f'{stem}.{ending}' for stem in ('b', 'still') for ending in ('csv', 'png', 'mp4'))}
    rows = rows_of(tmp_path / 'b.csv')
    assert list(rows[0])[:3] == ['seconds', 'bits', 'copy_bits'] and list(rows[0])[-1] == 'bits_row1_column1'
    assert [row['start'] for row in rows] == pytest.approx([0.2 * block for block in range(1, 10)])
    assert all(row['seconds'] == pytest.approx(row['start'] + 0.08) and row['end'] == pytest.approx(row['start'] + 0.16)
               and row['bits'] == pytest.approx(row['bits_row1_column1']) for row in rows)
    assert [row['seen'] for row in rows] == [1, *[2] * 8]
    for row in rows_of(tmp_path / 'still.csv'):
        assert row['frame_difference'] == 0 and row['bits'] == row['copy_bits'] == pytest.approx(3, abs=1e-3)
    for stem in ('b', 'still'):
        assert cv2.imread(str(tmp_path / f'{stem}.png')).std() > 10
        made = cv2.VideoCapture(str(tmp_path / f'{stem}.mp4'))
        assert made.get(cv2.CAP_PROP_FRAME_COUNT) == 5 * (1 + len(rows_of(tmp_path / f'{stem}.csv')))
        assert made.get(cv2.CAP_PROP_FPS) == pytest.approx(25, rel=0.1)


def test_bits_do_not_depend_on_the_other_videos_nor_on_their_order(weights, videos, tmp_path, monkeypatch, capsys):
    """And not on the number of blocks that are read or encoded at a time."""
    together = answers(capsys, *videos, '--weights', weights, '--out', tmp_path / '1')
    monkeypatch.setattr(video_maps, 'VideoDataset', functools.partial(VideoDataset, most=2))
    reversed_ = answers(capsys, *videos[::-1], '--weights', weights, '--out', tmp_path / '2', '--batch_size', '1')
    alone = answers(capsys, videos[1], '--weights', weights, '--out', tmp_path / '3')
    assert [each['video'] for each in together] == [each['video'] for each in reversed_][::-1] == videos
    for ours, theirs in [*zip(together, reversed_[::-1]), (together[1], alone[0])]:
        for one, other in zip(rows_of(ours['csv']), rows_of(theirs['csv']), strict=True):
            assert one == pytest.approx(other, abs=2e-3)


@pytest.fixture(scope='module')
def lists(tmp_path_factory):
    """csv_root of a data set 'mine' of four training videos, frame folders of 25 frames."""
    root = tmp_path_factory.mktemp('lists')
    for i in range(4):
        make_frames(root / 'frames' / 'c' / f'v{i}', 25, seed=i)
    write_rows(root / 'mine' / 'train_split01.csv', [(root / 'frames' / 'c' / f'v{i}', 25) for i in range(4)])
    return root


def test_a_model_folder_takes_the_bank_of_its_checkpoint(weights, videos, lists, tmp_path, capsys, monkeypatch):
    pytest.importorskip('safetensors')
    monkeypatch.setattr('eval.forecast.bank.CANDIDATES', 12)
    checkpoint = torch.load(weights, weights_only=True)
    config, tensors = packed(checkpoint, checkpoint['state_dict'], {})
    write_model_folder(tmp_path / 'folder', config, tensors, '')
    answers(capsys, videos[0], '--weights', weights, '--csv_root', lists, '--bank', 'mine', '--out', tmp_path / '1')
    bank = ['--bank', tmp_path / '1/bank.npz']
    assert len(answers(capsys, videos[0], *bank, '--weights', tmp_path / 'folder', '--out', tmp_path / '2')) == 1


def test_a_bank_makes_videos_comparable_and_is_read_again(weights, videos, lists, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('eval.forecast.bank.CANDIDATES', 12)
    flags = ['--weights', weights, '--csv_root', lists]
    made = answers(capsys, *videos, *flags, '--bank', 'mine', '--out', tmp_path / '1')
    again = answers(capsys, *videos[:1], *flags, '--bank', tmp_path / '1/bank.npz', '--out', tmp_path / '2')
    assert {each['candidates'] for each in made} == {12}
    assert again[0]['bits'] == pytest.approx(made[0]['bits'], abs=1e-4)
    banks = [json.loads((tmp_path / out / 'surprise.json').read_text())['bank'] for out in '12']
    assert banks[0] == banks[1] and banks[0]['blocks'] == 12 and len(banks[0]['hash']) == 8
    answers(capsys, videos[0], *flags, '--bank', 'mine', '--seed', '1', '--out', tmp_path / '3')
    assert json.loads((tmp_path / '3/surprise.json').read_text())['bank']['hash'] != banks[0]['hash']

    def error(*words, weights=weights):
        capsys.readouterr()
        assert run(surprise, [videos[0], '--weights', weights, *FLAGS, *words, '--out', tmp_path / '4']) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1, said
        return said[0]

    torch.manual_seed(1)
    other = torch.load(weights, weights_only=True)
    torch.save({**other, 'state_dict': DPC('resnet18', pred_step=1).state_dict()}, tmp_path / 'other.pth.tar')
    bank = ['--bank', tmp_path / '1/bank.npz']
    training = lists / 'frames' / 'c' / 'v0'
    assert run(surprise, [training, *bank, '--weights', weights, '--frame_rate', 25, '--out', tmp_path / '6', *FLAGS]) == 0
    assert 'of the 1 video the bank has blocks of 1: ' in capsys.readouterr().err
    hashes = [json.loads((tmp_path / out / 'surprise.json').read_text())['hash'] for out in '12']
    answers(capsys, videos[0], *flags, *bank, '--num_seq', '4', '--allow_other_settings', '--out', tmp_path / '7')
    hashes.append(json.loads((tmp_path / '7/surprise.json').read_text())['hash'])
    assert hashes[0] == hashes[1] != hashes[2], 'predicted from more blocks'
    assert 'was made with other weights' in error(*bank, '--img_dim', '32', '--num_seq', '3', '--ds', '1', '--pred_step',
                                                  '1', weights='random'), 'not that BN statistics are lacking'
    assert 'third-party models have no predictor' in error(weights='torchvision:s3d')
    assert 'was made with other weights' in error(*bank, weights=tmp_path / 'other.pth.tar')
    assert 'was made with other ds (1, now 2)' in error(*bank, '--ds', '2', '--allow_other_settings')
    assert 'was made with other amp (off, now bf16)' in error(*bank, '--amp', 'bf16')
    assert 'is no bank' in error('--bank', weights)
    assert 'nowhere' in error('--bank', 'nowhere', '--csv_root', lists)


def test_which_of_a_pair_is_odd(weights, videos, lists, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('eval.forecast.bank.CANDIDATES', 12)
    a, b, still = videos
    short = write_film(tmp_path / 'short.mp4', film(14))    # a block less than two seen ones and the next
    (tmp_path / 'pairs.csv').write_text(f'path_a,path_b\n{a},{b}\n{still},{a}\n{a},{a}\n{a},{tmp_path}/gone.mp4\n{short},{a}\n')
    flags = ['--pairs', tmp_path / 'pairs.csv', '--weights', weights, '--csv_root', lists]
    found = answers(capsys, *flags, '--bank', 'mine', '--out', tmp_path / 'out', status=1)
    errors = {each['video']: each['error'] for each in found if 'error' in each}
    assert errors.pop(short) == 'too short: 2 seen blocks and the next are 15 frames with --ds 1, and it has 14'
    assert set(errors) == {'pair 4', f'{tmp_path}/gone.mp4'} and 'twice the same file' in errors['pair 4']
    bits = {each['video']: each['bits'] for each in found if 'bits' in each}
    result = found[-1]
    assert result['pairs'] == 2 and set(bits) == set(videos)
    assert result['accuracy']['mean']['bits']['value'] == ((bits[b] > bits[a]) + (bits[a] > bits[still])) / 2
    assert result['accuracy']['highest']['frame_difference']['value'] >= 0.5, 'a still video moves less'
    assert run(surprise, [*flags, '--bank', 'mine', '--out', tmp_path / 'out', *FLAGS]) == 1
    said = capsys.readouterr().out
    assert '2 of the 5 pairs could be compared. In how many of them the odd video has the higher value {lowest to ' in said
    assert f'pair of line 5 left out: {tmp_path}/gone.mp4: is not there' in said
    assert f'pair of line 6 left out: {short}: too short' in said
    assert 'pair of line 4 left out: twice the same file' in said and '3 of 3 videos' not in said
    assert write_report(tmp_path / 'out', '--out', tmp_path / 'page.html') == 0
    assert f'{tmp_path}/gone.mp4: is not there' in (tmp_path / 'page.html').read_text()
    assert 'blocks (of 1,000: there are no more that can be read)' in said
    assert Page(tmp_path / 'page.html').table('Pairs of out')[1][1:] == ['bits', cell_of(result['accuracy']['mean']['bits'])]
    assert 'frame_difference 50.0% {0.0% to 100.0%}' in said
    (tmp_path / 'pairs.csv').write_text(f'{a},{b}\n/.{a},{still}\n')
    assert answers(capsys, *flags, '--bank', 'mine', '--out', tmp_path / 'out')[-1]['pairs'] == 2, 'two names of a video'
    (tmp_path / 'pairs.csv').write_text('just one\n')
    assert run(surprise, [*flags, '--bank', 'mine', '--out', tmp_path / 'out', *FLAGS]) == 2
    assert 'pairs.csv:1: expected path_a,path_b' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        surprise.parse_args(['--weights', 'f', '--out', 'o', '--pairs', 'p'])
    assert '--pairs compares videos' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        surprise.parse_args(['v.mp4', '--weights', 'f', '--out', 'o', '--bank', 'ucf101', '--dataset', 'hmdb51'])
    assert 'leave that out' in capsys.readouterr().err


def test_one_line_for_each_bad_video_and_the_others_go_on(weights, videos, tmp_path, capsys):
    write_film(tmp_path / 'untimed.h264', film(45))
    write_film(tmp_path / 'jump.mp4', film(45), times=[40 * i + 20000 * (i > 20) for i in range(45)])
    write_film(tmp_path / 'short.mp4', film(19))
    (tmp_path / 'text.mp4').write_text('no video')
    make_frames(tmp_path / 'frames', 45, seed=0)
    given = [tmp_path / name for name in ('untimed.h264', 'jump.mp4', 'short.mp4', 'text.mp4', 'frames')]
    found = answers(capsys, *given, videos[0], '--weights', weights, '--out', tmp_path / 'out', status=1)
    errors = {each['video'].rsplit('/')[-1]: each['error'] for each in found if 'error' in each}
    assert 'no time stamps: say how many there are a second with --frame_rate' in errors['untimed.h264']
    assert 'jump by 20.0 s at frame 22' in errors['jump.mp4']
    assert errors['short.mp4'] == ('too short: 2 seen blocks, the next, and another to compare it with are 20 frames '
                                   'with --ds 1, and it has 19; with --bank a block less is enough')
    assert 'no video that the decoder can read' in errors['text.mp4'] and '--frame_rate F' in errors['frames']
    assert len(errors) == 5 and found[-1]['video'] == videos[0] and found[-1]['blocks'] == 8
    make_frames(tmp_path / 'damaged', 45, seed=0)
    (tmp_path / 'damaged' / 'image_00030.jpg').write_bytes(b'no picture')
    *found, damaged = answers(capsys, *given[:2], given[4], tmp_path / 'damaged', '--frame_rate', '25', '--weights',
                              weights, '--out', tmp_path / 'out', status=1)
    assert len(found) == 3 and 'image_00030.jpg' in damaged['error']
    assert len(answers(capsys, given[3], '--weights', weights, '--out', tmp_path / 'out', status=1)) == 1, 'of none'


def test_weights_that_predict_nothing_or_lack_statistics(weights, videos, lists, classifier, tmp_path, capsys):
    out = ['--out', tmp_path / 'out', *FLAGS]
    other = classifier / 'model' / 'epoch1.pth.tar'
    assert run(surprise, [videos[0], '--weights', other, '--pred_step', '1', *out]) == 2
    assert 'a classifier\'s has no predictor' in capsys.readouterr().err
    checkpoint = torch.load(weights, weights_only=True)
    torch.save(checkpoint['state_dict'], tmp_path / 'bare.pth')
    settings = '--img_dim', '32', '--num_seq', '3', '--ds', '1', '--pred_step', '1'
    assert run(surprise, [videos[0], '--weights', tmp_path / 'bare.pth', *settings, *out]) == 0, 'a state dict by itself'
    checkpoint['state_dict'] = {name: value for name, value in checkpoint['state_dict'].items() if 'running' not in name}
    torch.save(checkpoint, tmp_path / 'without.pth.tar')
    flags = [videos[0], '--weights', tmp_path / 'without.pth.tar', *out]
    assert run(surprise, flags) == 2
    assert 'has no BN statistics: say with --dataset from whose training videos' in capsys.readouterr().err
    assert run(surprise, [*flags, '--dataset', 'mine', '--csv_root', lists]) == 0
    assert 'estimating BN statistics' in capsys.readouterr().out


def test_no_file_of_a_user_is_replaced(weights, videos, tmp_path, capsys):
    own = write_film(tmp_path / 'own' / 'ball.mp4', film(45))
    (tmp_path / 'link').symlink_to(tmp_path / 'own')
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'ball.png').write_text('mine')
    before = {path: path.read_bytes() for path in tmp_path.rglob('*.*')}
    for given, out, said in ((own, 'own', f'{own}, which is one of the videos'), (tmp_path / 'own', 'own', own),
                             (own, 'link', 'is one of the videos'), (own, 'notes', 'ball.png is there already')):
        capsys.readouterr()
        flags = ['--film', '--picture', '--out', tmp_path / out, *FLAGS]
        assert run(surprise, [given, '--weights', weights, *flags]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1 and said in errors[0]
    assert {path: path.read_bytes() for path in tmp_path.rglob('*.*')} == before
    for _ in range(2):
        assert len(answers(capsys, own, '--weights', weights, '--out', tmp_path / 'own')) == 1, 'its own are replaced'
    assert {path.name for path in (tmp_path / 'own').iterdir()} == {'ball.csv', 'ball.mp4', 'surprise.json'}
    assert run(surprise, [own, '--weights', weights, '--film', '--out', tmp_path / 'own', *FLAGS]) == 2
    assert open(own, 'rb').read() == before[tmp_path / 'own' / 'ball.mp4']


def test_a_film_keeps_the_times_of_its_video(tmp_path):
    """Of a variable rate, and with every second frame."""
    times = np.cumsum(np.random.default_rng(0).integers(20, 90, 40))
    path = write_film(tmp_path / 'a.mp4', film(40), times=times.tolist())
    seconds = (times - times[0]) / 1000
    start, end = block_times(seconds, 4, 5, 2)
    bits = np.ones((3, 4), np.float32)
    found = Course('a', start[1:], end[1:], bits, bits, np.ones(3), np.full(3, 1), 7, (2, 2), 1)
    write_surprise_film(tmp_path / 'out.mp4', found, Source(path, None, 5, 2, seconds))
    with av.open(str(tmp_path / 'out.mp4')) as made:
        frames = [*made.decode(video=0)]
    assert [frame.time for frame in frames] == pytest.approx(seconds[:40:2].tolist())
    first, last = (frame.to_ndarray(format='rgb24')[:320].astype(int) for frame in (frames[0], frames[-1]))
    assert (last[..., 0] - last[..., 2]).mean() > 40 > (first[..., 0] - first[..., 2]).mean(), 'heat, but at the start'


def test_names_of_files_and_the_report(weights, videos, tmp_path, capsys):
    other = write_film(tmp_path / 'other' / 'a.mkv', film(45))
    checkpoint = torch.load(weights, weights_only=True)
    checkpoint['settings'].update(model='dpc-rnn', dataset='mine', split=1, train_list=train_list(
        VideoList.from_rows([videos[0]], [45]), [videos[0], '/else/b.mp4']))
    torch.save(checkpoint, tmp_path / 'model.pth.tar')
    flags = ['--weights', tmp_path / 'model.pth.tar', '--out', tmp_path / 'out', '--json', *FLAGS]
    assert run(surprise, [videos[0], other, *flags]) == 0
    said = capsys.readouterr()
    found, seen = [*map(json.loads, said.out.splitlines())], 'retraining saw 1 of these 2 videos (without labels)'
    assert f'p{seen}\n' in said.err
    assert json.loads((tmp_path / 'out/surprise.json').read_text())['pretraining'] == f'p{seen}'
    assert [each['csv'].rsplit('/')[-1] for each in found] == ['a.csv', 'a_2.csv']
    cv2.imwrite(str(tmp_path / 'out' / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    assert write_report(tmp_path / 'out', '--out', tmp_path / 'page.html') == 0
    page = Page(tmp_path / 'page.html')
    assert f'P{seen}.' in (tmp_path / 'page.html').read_text()
    rows = page.table('Surprise of out')
    assert [row[0].strip() for row in rows[1:]] == [videos[0], other] and len(page.all('img')) == 1
