"""Recognition before the end: parts and completed sequences against loops, planted contexts, eval/anticipate.py as a
user runs it."""
import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from backbone.convgru import ConvGRU
from backbone.predictor import make_predictor
from dpc.model import DPC
from eval import anticipate, report
from eval.forecast.completed import RIDGE, LinearMaps, completed_parts, mean_contexts, roll_out, seen_parts
from eval.forecast.contexts import Contexts
from eval.forecast.observed import ObservedBlocks, Parts, parts_of
from eval.page.model_card import evaluation_parts
from eval.page.pictures import PictureStore
from eval.page.run_facts import FrozenResults
from eval.page.sources import find_sources
from eval.protocols.anticipation import (
    GAINS,
    anticipation,
    curve_facts,
    difference_cell,
    gain_rows,
    prediction_facts,
    result_tables,
)
from eval.protocols.linear_probe import probe
from eval.protocols.pictures import draw_anticipation
from eval.protocols.protocol import Outcome, Task, make_task
from eval.protocols.results import cell_of, row_of
from tests.groups import in_group
from tests.test_features import CLIP, extract, rows_of, with_a_broken_video, with_lists
from tests.tiny import next_lines, run
from tests.whole_videos import whole_video
from utils.cli import UserError
from utils.data.clip_starts import clip_starts
from utils.data.clips import Clip, VideoDataset
from utils.data.lists import VideoList
from utils.parallel.distributed import rank

FEATURES = ['context', 'context, predicted', 'context, mapped', 'context, repeated', 'context, own probe']


# ---- which blocks are seen

def obvious_blocks(n_frames, clip, fraction):
    """Frames of each block of a part, from 1."""
    seen = max(1, int(round(n_frames * fraction * 1e6) // 1e6))
    frames, blocks = list(range(1, seen + 1, clip.ds)), []
    while frames:
        blocks.append((frames[:clip.seq_len] + [seen] * clip.seq_len)[:clip.seq_len])
        frames = frames[clip.seq_len:]
    whole = [block for block in blocks if n_frames not in block[1:] or len(set(block)) == clip.seq_len]
    if seen < n_frames:
        return blocks
    if len(whole) >= clip.num_seq:
        return whole  # the tail of a long video is left out, as in a test
    return (blocks + [[n_frames] * clip.seq_len] * clip.num_seq)[:clip.num_seq]


def test_parts_equal_a_loop():
    rng = np.random.default_rng(0)
    for _ in range(300):
        clip = Clip(*(int(rng.integers(1, most)) for most in (5, 6, 4)), 32)
        n_frames, observe = int(rng.integers(1, 90)), sorted(rng.choice([0.1, 0.25, 0.29, 0.5, 0.75, 0.99, 1], 3, False))
        parts = parts_of(n_frames, clip, observe)
        whole = parts_of(n_frames, clip, [1])
        assert len(whole.numbers[whole.rows[0]]) == parts.blocks
        assert len(np.unique(parts.numbers, axis=0)) == len(parts.numbers), 'each is encoded once'
        for fraction, rows in zip(observe, parts.rows):
            assert parts.numbers[rows].tolist() == obvious_blocks(n_frames, clip, fraction)[:parts.blocks], (
                n_frames, clip, fraction)


def test_the_whole_video_has_the_blocks_of_a_test(csv_root):
    videos = VideoList.from_rows(*zip(*((path, int(count)) for path, count in rows_of(csv_root, 'test')[:4])))
    for clip in (Clip(3, 5, 1, 32), Clip(2, 4, 3, 32)):
        whole, parts = VideoDataset(videos, clip), ObservedBlocks(videos, clip, [0.5, 1])
        parts.most = 2
        for index in range(len(videos)):
            blocks = whole_video(parts, index)['frames'][parts.parts(index).rows[1]]        # [U, T, H, W, 3]
            plan, found = whole.plan(index), whole_video(whole, index)['frames']
            assert len(blocks) == len(plan.first)
            assert torch.equal(blocks[plan.rows].flatten(1, 2), found)


def test_a_count_that_is_far_too_large_takes_no_memory(csv_root):
    (path, _), *_ = rows_of(csv_root, 'test')
    parts = ObservedBlocks(VideoList.from_rows([path], [2 * 10 ** 9]), Clip(3, 5, 1, 32), [0.5])
    assert f'but frame {10 ** 9} is not there' in whole_video(parts, 0)['broken']


# ---- contexts

def obvious_contexts(agg, predictor, num_seq, maps, parts, weight):
    """{input: [context of each part]} by one step at a time. weight [F, D + 1, D]: of the linear maps."""
    def state_after(blocks):
        state = torch.zeros_like(blocks[0])
        for block in blocks:
            _, state = agg(block[None, None], state[None])
            state = state[0]
        return state

    def context(blocks):
        starts = clip_starts(len(blocks), num_seq) if len(blocks) >= num_seq else [0]
        return torch.stack([state_after(blocks[start:start + num_seq]).mean(dim=0) for start in starts]).mean(dim=0)

    found = {'seen': [], 'predicted': [], 'mapped': [], 'repeated': []}
    for rows, (*matrix, offset) in zip(parts.rows, weight):
        seen = [maps[row, 0] for row in rows]
        state = state_after([F.relu(maps[row, 1]) for row in rows[-num_seq:]])
        predicted, mapped = list(seen), list(seen)
        while len(predicted) < parts.blocks:
            prediction = predictor(state)
            predicted.append(F.relu(prediction))
            mapped.append(F.relu(torch.stack([torch.stack(matrix).T @ each + offset for each in prediction])))
            _, state = agg(predicted[-1][None, None], state[None])
            state = state[0]
        found['seen'].append(context(seen))
        found['predicted'].append(context(predicted))
        found['mapped'].append(context(mapped))
        found['repeated'].append(context(seen + [seen[-1]] * (parts.blocks - len(seen))))
    return found


@pytest.mark.parametrize('n_frames', [12, 31, 90, 200])
@torch.no_grad()
def test_completed_contexts_equal_a_loop(n_frames):
    """Of videos shorter than a clip and longer ones. The whole video is completed by nothing."""
    torch.manual_seed(n_frames)
    agg, predictor = ConvGRU(6).eval(), make_predictor(6)
    parts = parts_of(n_frames, Clip(num_seq=4, seq_len=5, ds=2, img_dim=32), [0.1, 0.3, 0.6, 1])
    maps = torch.randn(len(parts.numbers), 2, 3, 6)
    maps[:, 0].relu_()
    to_features = LinearMaps(4, 6, maps.device)
    to_features.weight = torch.randn(4, 7, 6)
    expected = obvious_contexts(agg, predictor, 4, maps, parts, to_features.weight)
    seen, prediction = seen_parts(maps, parts), roll_out(agg, predictor, 4, maps, parts)
    completed = completed_parts(seen, [F.relu(prediction), F.relu(to_features(prediction))], parts.blocks)
    for part, sequences in enumerate(completed):
        assert torch.equal(sequences[0], seen[part])
        for name, context in zip(expected, mean_contexts(agg, sequences, 4), strict=True):
            assert context.numpy() == pytest.approx(expected[name][part].numpy(), abs=1e-5), (name, part)
    assert all(torch.equal(completed[-1][0], each) for each in completed[-1])


@torch.no_grad()
def test_the_linear_maps_are_ridge_regressions_on_all_true_blocks():
    """Of all steps ahead and locations of two videos, for each part, against the normal equations of pairs in a loop.
    Nothing is predicted of the third part, the whole video."""
    torch.manual_seed(0)
    to_features, pairs = LinearMaps(3, 4, torch.device('cpu')), {0: [], 1: []}
    for blocks in (5, 7):
        rows = [np.arange(1), np.arange(3), np.arange(blocks), np.arange(blocks)]
        maps, prediction = torch.randn(blocks, 2, 2, 4), torch.randn(4, blocks - 1, 2, 4)
        to_features.add(prediction, maps, Parts(np.zeros((blocks, 1), int), rows, blocks))
        for f, seen in enumerate((1, 3)):
            for step in range(blocks - seen):
                for location in range(2):
                    pairs[f].append([*prediction[f, step, location].tolist(), 1, *maps[seen + step, 0, location].tolist()])
    to_features.fit()
    for f, found in pairs.items():
        x, y = np.split(np.array(found), [5], axis=1)
        penalty = RIDGE * np.mean(np.diag(x.T @ x)) * np.eye(5)
        assert to_features.weight[f].numpy() == pytest.approx(np.linalg.solve(x.T @ x + penalty, x.T @ y), abs=1e-5)
    assert not to_features.weight[2].any()


@torch.no_grad()
def test_the_prediction_is_that_of_pretraining():
    torch.manual_seed(0)
    model = DPC('resnet18', pred_step=2).eval()
    signed = torch.randn(1, 5, 4, model.backbone.feature_size)
    expected, _ = model.predict(signed)
    parts = Parts(np.zeros((5, 1), int), [np.arange(3)], 5)
    maps = torch.stack([F.relu(signed[0]), signed[0]], dim=1)
    found = roll_out(model.agg, model.network_pred, 5, maps, parts)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def maps_of_share(world):
    """The linear maps of three videos, of which each process adds its share."""
    found = LinearMaps(1, 4, torch.device('cpu'))
    for video in range(rank(), 3, world):
        random = torch.Generator().manual_seed(video)
        maps, prediction = (torch.randn(5, 2, 2, 4, generator=random) for _ in range(2))
        found.add(prediction[:4, 0][None], maps, Parts(np.zeros((5, 1), int), [np.arange(2), np.arange(5)], 5))
    found.fit()
    return found.weight.numpy()


def test_the_linear_maps_are_the_same_on_two_processes():
    alone = maps_of_share(1)
    for each in in_group(maps_of_share, 2):
        assert each == pytest.approx(alone, abs=1e-6)


# ---- the protocol

OBSERVE = [0.25, 0.5, 1]


def planted(test=80, seed=0):
    """Contexts of four classes that show from half of the video on, where those of a part are mirrored; the prediction
    is the whole video's context; at a quarter nothing shows, but in the prediction."""
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.tile(np.arange(4), 30), rng.integers(4, size=test)])
    whole = np.eye(8)[label] * 6 + rng.standard_normal((len(label), 8))
    noise = rng.standard_normal(whole.shape)
    by_part = np.stack([noise, -whole, whole], axis=1)                          # [V, F, D]
    train, test = by_part[:120], by_part[120:]
    nothing = np.stack([noise[120:], noise[120:], whole[120:]], axis=1)
    inputs = np.stack([test, np.repeat(whole[120:, None], 3, axis=1), nothing, nothing], axis=2)
    path = np.array([f'/f/c{c}/v_c{c}_g{i // 4 if i < 120 else 30 + i:03d}_c01' for i, c in enumerate(label)])
    return Contexts(np.concatenate([train, train[:, -1:]], axis=1).astype(np.float32), inputs.astype(np.float32),
                    ['seen', 'predicted', 'mapped', 'repeated'], path, label, np.array(['train'] * 120 + ['test'] * len(test)), [])


def test_planted_contexts():
    contexts = planted()
    task = make_task(contexts, 'video')
    found = anticipation(task, contexts, OBSERVE)
    assert list(found) == FEATURES
    assert {tuple((each.protocol, each.setting, each.metric) for each in outcomes) for outcomes in found.values()} == {
        tuple(('anticipation', setting, 'top1') for setting in ('25% observed', '50% observed', '100% observed'))}
    value = {name: [each.hits.mean() for each in outcomes] for name, outcomes in found.items()}
    context, predicted, mapped, repeated, own = value.values()
    assert context[0] < 0.45 and context[1] < 0.2 and context[2] > 0.95, 'a probe of whole videos'
    assert min(predicted) > 0.95 and mapped == repeated and max(repeated[:2]) < 0.45
    assert own[0] < 0.45 and own[1] > 0.95 and own[2] == context[2]

    # the same as the ordinary probe, on the same vectors
    ordinary = Task(contexts.train[:, -1][task.train], task.train_label, task.train_path,
                    contexts.test[:, -1, 0][task.test], task.test_label, task.test_path)
    outcome = probe(ordinary)[0]
    assert outcome.hits.tolist() == found['context'][2].hits.tolist() and outcome.chosen == found['context'][2].chosen

    outcomes = {('a.pth.tar', name): each for name, each in found.items()}
    rows = [row_of(*key, outcome) for key, each in outcomes.items() for outcome in each]
    gains = gain_rows(outcomes, OBSERVE)
    assert len({(row['feature'], row['setting']) for row in rows}) == len(rows) == 15
    assert [(row['than'], row['setting']) for row in gains[:6]] == [
        (f'context{rival}', setting) for rival in ('', ', repeated', ', own probe')
        for setting in ('25% observed', '50% observed')]
    assert gains[0]['value'] == pytest.approx(predicted[0] - context[0]) and gains[0]['low'] > 0.3
    facts = prediction_facts(gains, {'a.pth.tar': 'a'})
    assert facts[0] == ('a: "context, predicted" beats "context" at 25%, 50% observed; beats "context, repeated" at 25%,'
                        ' 50% observed; beats "context, own probe" at 25% observed')
    assert 'is no different from "context, repeated" at any of 2 parts; is worse than "context, own' in facts[1]
    assert len(facts) == 2
    few = [{**row, 'low': None, 'high': None, 'groups': 3} for row in gains]
    assert prediction_facts(few, {'a.pth.tar': 'a'}) == [
        'a: 3 groups of test videos are too few to say what a prediction gains']
    lines = result_tables(rows, gains, {'a.pth.tar': 'a'})
    assert len(lines) == 5 + 3 + 6 and lines[2].startswith('| a       | 25%      |')
    assert f'| {100 * gains[-1]["value"]:+.1f} [' in lines[-1]


def test_a_curve_is_described_only_with_an_interval():
    """20 groups of 10 videos: what holds over groups is said, and nothing or 'too few' where nothing does."""
    video = np.arange(200)
    some, most = video // 20 < 4, video // 20 < 9                               # 40 and 90% of each group
    unsure = most & (video % 20 > 1)                                            # 81%: two groups without any

    def said(*parts, groups=20, chance=0.25, observe=OBSERVE):
        found = [Outcome('anticipation', f'{100 * f:g}% observed', 'top1', hits[None].astype(float), video % groups)
                 for f, hits in zip(observe, parts)]
        return curve_facts({('w', FEATURES[4]): found}, observe, {'w': 'a'}, chance)

    line, = said(some, some, most)
    assert line == 'a: the curve of the own probe rises to the end: whole videos minus 50% observed +50.0 [50.0, 50.0]'
    line, = said(some, most, most)
    assert 'is flat from 50% observed (whole videos minus this +0.0 [0.0, 0.0])' in line and 'cyclic' in line
    assert said(some, unsure, most) == [], 'neither'
    line, = said(some, some, most, groups=4)
    assert line == 'a: 4 groups of test videos are too few to say from which part on the curve of the own probe is flat'
    assert said(some, some, some, chance=0.5) == said(some, some, most, observe=(0.1, 0.2, 0.5)) == []


def test_test_labels_and_other_parts_choose_nothing():
    contexts = planted()
    found = anticipation(make_task(contexts, 'video'), contexts, OBSERVE)
    alone = replace(contexts, train=contexts.train[:, [1, 3]], test=contexts.test[:, [1]])
    wrong = np.where(contexts.part == 'test', (contexts.label + 1) % 4, contexts.label)
    for label in (contexts.label, wrong):
        of_part = anticipation(make_task(replace(alone, label=label), 'video'), alone, OBSERVE[1:2])
        for name, (outcome,) in of_part.items():
            assert outcome.chosen == found[name][1].chosen
            if label is wrong:      # the same answers
                assert not (outcome.hits * found[name][1].hits).any()
            else:
                assert outcome.hits.tolist() == found[name][1].hits.tolist()


# ---- the command

def anticipated(csv_root, out, *flags, weights, status=0):
    argv = [*CLIP, '--dataset', 'ucf101', '--csv_root', csv_root, '--weights', weights, '--out', out, *flags]
    assert run(anticipate, argv) == status
    return json.loads((out / 'results.json').read_text()) if status == 0 else None


@pytest.fixture(scope='module')
def few(csv_root, tmp_path_factory):
    """csv_root of six training and eight test videos."""
    return with_lists(csv_root, tmp_path_factory.mktemp('few'), rows_of(csv_root, 'train')[::2],
                      rows_of(csv_root, 'test')[:8])


@pytest.fixture(scope='module')
def evaluated(few, pretrained, tmp_path_factory):
    """(folder, rows, what was printed) of the pretrained network and random weights."""
    out = tmp_path_factory.mktemp('anticipated') / 'out'
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr('builtins.print', lambda *words, **_: said.append(' '.join(map(str, words))))
        rows = anticipated(few, out, '--observe', '1', '.4', '.1', weights=pretrained / 'model' / 'epoch1.pth.tar')
    return out, rows, '\n'.join(said)


def test_the_whole_video_has_the_context_of_features(few, pretrained, evaluated, tmp_path):
    """All inputs, of training and test videos, shorter than a clip and longer."""
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    for name, flags in (('epoch1', {'weights': weights}), ('random-0', {})):
        with np.load(evaluated[0] / 'contexts' / f'{name}.npz') as stored:
            found = dict(stored)
        expected = extract(few, tmp_path / f'{name}.npz', **flags)
        assert found['path'].tolist() == expected['path'].tolist()
        training = expected['part'] == 'train'
        assert found['train'].shape[1] == 4 and found['test'].shape[1:3] == (3, 4)
        for row in (2, 3):
            assert found['train'][:, row] == pytest.approx(expected['context'][training], abs=1e-5)
        for k in range(4):
            assert found['test'][:, -1, k] == pytest.approx(expected['context'][~training], abs=1e-5)
        assert np.abs(found['test'][:, 0, 1] - found['test'][:, 0, 0]).max() > 1e-3, 'the others are completed'


def test_what_is_written(evaluated):
    out, rows, said = evaluated
    settings = ['10% observed', '40% observed', '100% observed']
    assert [(row['feature'], row['setting']) for row in rows[:15]] == [(name, each) for name in FEATURES
                                                                     for each in settings]
    assert len({(row['weights'], row['feature'], row['setting']) for row in rows}) == len(rows) == 30
    assert {(row['protocol'], row['metric'], row['videos'], len(row['hash'])) for row in rows} == {
        ('anticipation', 'top1', 8, 8)}
    assert len({row['hash'] for row in rows}) == 1 and {row['weights'] for row in rows[15:]} == {'random'}
    assert all(row['deviation'] is not None for row in rows[15:])
    for line in (out / 'results.md').read_text().splitlines():
        assert line.removeprefix('- ').strip('*') in said or line == '## Recognition before the end'
    gains = json.loads((out / 'gains.json').read_text())
    assert len(gains) == 2 * 2 * 3 * 2
    value = {(row['weights'], row['feature'], row['setting']): row['value'] for row in rows}
    for row in gains:
        one, other = ((row['weights'], name, row['setting']) for name in (row['feature'], row['than']))
        assert row['value'] == pytest.approx(value[one] - value[other])
    picture = cv2.imread(str(out / 'anticipation.png'))
    assert picture.shape[1] > picture.shape[0] > 200 and picture.std() > 10
    draw_anticipation(out / 'one.png', rows[:15], [0.1, 0.4, 1], {rows[0]['weights']: 'one'}, 0.5)
    picture = cv2.imread(str(out / 'one.png'))
    assert (picture[:, [0, 1, -2, -1]] == 255).all(), 'the legend fits'
    words, = next_lines(said)
    report.parse_args(words[2:])
    sources = find_sources([out])
    frozen, = sources.frozen
    assert [album.heading for album in frozen.albums] == ['Recognition before the end'] and frozen.verdict
    page = report.render(sources, 'title', PictureStore())
    assert 'id="frozen"' not in page
    for text in ('<h2>Recognition before the end</h2>', f'>{GAINS}, hash {rows[0]["hash"]}.', '<th scope="col"><button '
                 'type="button">minus context, own probe', f'<td>{cell_of(rows[0])}</td>', difference_cell(gains[0])):
        assert text in page


def test_a_model_card_has_the_table_under_its_own_heading():
    row = {'protocol': 'anticipation', 'metric': 'top1', 'weights': 'a.pth.tar', 'value': 0.25, 'low': 0.2, 'high': 0.3}
    rows = [{**row, 'feature': feature, 'setting': setting} for feature in FEATURES for setting in ('10% observed', '50% observed')]
    parts = evaluation_parts([FrozenResults('a.pth.tar', rows, ['data: mine'], '')])
    assert parts[0] == '## Frozen evaluation' and parts[1].startswith('None') and parts[2].endswith('before the end')
    assert parts[-1].splitlines()[2].startswith('| this model | 10%      | 25.0% [20.0, 30.0] |') and len(parts) == 6


def test_only_the_first_part_is_decoded(few, pretrained, evaluated, tmp_path, capsys):
    """The frames beyond the observed part are removed: the same rows, which --json prints, too. A part beyond them
    can't be read."""
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    test = [(tmp_path / 'frames' / Path(path).parent.name / Path(path).name, count)
            for path, count in rows_of(few, 'test')]
    for (path, _), (folder, count) in zip(rows_of(few, 'test'), test):
        shutil.copytree(path, folder)
        for number in range(max(1, int(int(count) * 0.4)) + 1, int(count) + 1):
            (folder / f'image_{number:05d}.jpg').unlink()
    lists = with_lists(few, tmp_path / 'csv', rows_of(few, 'train'), test)
    capsys.readouterr()
    rows = anticipated(lists, tmp_path / 'cut', '--observe', '.1', '.4', '--no_random', '--json', '--no_pictures',
                       weights=weights)
    said = capsys.readouterr()
    assert [json.loads(line) for line in said.out.splitlines()] == rows and 'written to' in said.err
    kept = [row for row in evaluated[1] if row['weights'] == str(weights) and row['setting'] != '100% observed']
    assert rows == kept
    assert run(anticipate, [*CLIP, '--dataset', 'ucf101', '--csv_root', lists, '--weights', weights, '--out',
                            tmp_path / 'more', '--observe', '.9']) == 2
    assert 'none of the 8 videos can be read' in capsys.readouterr().err


def test_stored_contexts_of_more_parts_are_reused(few, pretrained, evaluated, tmp_path, capsys, monkeypatch):
    out, rows, _ = evaluated
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    shutil.copytree(out / 'contexts', tmp_path / 'out' / 'contexts')
    flags = tmp_path / 'out', '--no_random', '--no_pictures', '--observe'
    made = Mock(side_effect=UserError('made anew'))
    monkeypatch.setattr('eval.forecast.contexts.make_contexts', made)
    found = anticipated(few, *flags, '.4', '.1', weights=weights)
    assert found == [row for row in rows if row['weights'] == str(weights) and row['setting'] != '100% observed']
    assert not made.called
    capsys.readouterr()
    anticipated(few, *flags, '.2', '.4', weights=weights, status=2)
    said = capsys.readouterr().out
    assert 'epoch1.npz is of 0.1 0.4 1 observed, not of all in --observe 0.2 0.4' in said
    assert 'contexts of epoch1: 14 videos\n' in said.replace('.pth.tar', '') and made.called


def test_unreadable_videos_are_left_out_and_counted(csv_root, pretrained, tmp_path, capsys):
    """A broken frame counts where it is in the part that is seen."""
    lists, broken = with_a_broken_video(csv_root, tmp_path)
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    flags = '--no_random', '--no_pictures'
    assert {row['videos'] for row in anticipated(lists, tmp_path / 'all', '--observe', '1', *flags, weights=weights)} == {5}
    assert 'skipped 1 unreadable videos' in capsys.readouterr().out
    assert str(broken) in (tmp_path / 'all' / 'results.md').read_text()
    first = anticipated(lists, tmp_path / 'first', '--observe', '.1', *flags, weights=weights)
    assert {row['videos'] for row in first} == {6}


def test_a_classifier_predicts_nothing(csv_root, classifier, tmp_path, capsys):
    lists = with_lists(csv_root, tmp_path / 'csv', rows_of(csv_root, 'test'), rows_of(csv_root, 'train')[::4])
    stored = torch.load(classifier / 'model' / 'epoch1.pth.tar', weights_only=True)
    del stored['settings']['train_list']
    torch.save(stored, tmp_path / 'c.pth.tar')
    rows = anticipated(lists, tmp_path / 'out', '--observe', '.5', '--no_random', '--no_pictures',
                       weights=tmp_path / 'c.pth.tar')
    assert [row['feature'] for row in rows] == [FEATURES[0], *FEATURES[3:]]
    assert 'has no predictor' in capsys.readouterr().out
    assert json.loads((tmp_path / 'out' / 'gains.json').read_text()) == []


def test_one_line_for_each_mistake(csv_root, pretrained, tmp_path, capsys):
    def error(*flags, weights=pretrained / 'model' / 'epoch1.pth.tar'):
        argv = [*CLIP, '--dataset', 'ucf101', '--csv_root', csv_root, '--out', tmp_path / 'out', '--weights', weights,
                *flags]
        capsys.readouterr()
        try:
            assert run(anticipate, argv) == 2
        except SystemExit as end:  # of the parser
            assert end.code == 2
        line, = capsys.readouterr().err.splitlines()
        return line

    for value in ('0', '-1', '1.01', 'nan', 'half', '1e-9'):
        assert f"'{value}': give a part of each video from 0.0001 to 1" in error(f'--observe={value}')
    assert 'neither blocks nor a prediction' in error(weights='torchvision:r3d_18')
    (tmp_path / 'vids').mkdir()
    assert f'unrecognized arguments: {tmp_path}/vids; give a data set, or a folder of videos, as --dataset {tmp_path}/vids' \
        in error('--no_random', tmp_path / 'vids')
    with pytest.raises(SystemExit):
        anticipate.parse_args(['--help'])
    said = ' '.join(capsys.readouterr().out.split())
    assert 'third-party models, which predict nothing, are refused' in said and 'torchvision' not in said
    for name, variant in (('prediction', 'parallel'), ('feature_map', 'pooled')):
        stored = torch.load(pretrained / 'model' / 'epoch1.pth.tar', weights_only=True)
        stored['settings'][name] = variant
        torch.save(stored, tmp_path / 'w.pth.tar')
        assert f'was pretrained with --{name} {variant}' in error(weights=tmp_path / 'w.pth.tar')
    stored['settings'][name] = 'dense'
    del stored['state_dict']['network_pred.0.bias']
    torch.save(stored, tmp_path / 'w.pth.tar')
    assert 'its predictor is of another kind' in error(weights=tmp_path / 'w.pth.tar')
    assert anticipate.parse_args(
        ['--weights', 'a', '--out', 'b', '--observe', '.5', '0.50000001', '.1']).observe == [0.1, 0.5]
