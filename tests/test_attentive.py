"""The attentive probe on planted tokens, against torch's attention, and eval/attentive.py as a user runs it."""
import copy
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from eval import attentive as attentive_cli
from eval.extract.tokens import Tokens, open_tokens
from eval.model import Representation
from eval.protocols.attentive_heads import AttentiveHead, rate_factor, train_heads
from eval.protocols.attentive_probe import DEFAULT, GRID, HeadTraining, accuracies, attentive
from eval.protocols.linear_probe import predict
from eval.protocols.protocol import first_best, make_task
from tests.test_classifier_cli import slow_clips
from tests.test_features import CLIP, rows_of, with_a_broken_video, with_lists
from tests.tiny import checkpoint, pretrain, resized, run
from utils.checkpoint import load_weights
from utils.data.clips import VideoDataset
from utils.data.crops import draw_box
from utils.random_streams import stream

CPU = torch.device('cpu')
CHEAP = ['--head_batch', '3', '--epochs', '1']


def planted(test=60, groups=10, size=16, locations=12, seed=0):
    """Tokens of two clips of each video: noise with a large first channel that varies, and one location, marked by the
    second channel, with one of four class directions."""
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.repeat(np.arange(4), 4 * groups), rng.integers(4, size=test)])
    count = len(label)
    path = [f'/f/c{c}/v_c{c}_g{i // 4 % groups + 1 if i < 16 * groups else 50 + i:02d}_c{i % 4 + 1:02d}'
            for i, c in enumerate(label)]
    maps = rng.standard_normal((count * 2, locations, size))
    chosen = rng.integers(locations, size=count * 2)
    maps[np.arange(count * 2), chosen, 1] += 8
    maps[np.arange(count * 2), chosen, 2 + np.repeat(label, 2)] += 4
    return Tokens({'block': maps.astype(np.float16)}, 2 * np.arange(count)[:, None] + [0, 2], np.array(path), label,
                  np.array(['train'] * 16 * groups + ['test'] * test), [])


def evaluated(tokens, epochs=6, depth=1, **changes):
    task = make_task(tokens, 'video')
    return attentive(replace(task, **changes), tokens, 'block', HeadTraining(depth, epochs, 16, seed=0), CPU, 'heads')


# ---- what it learns

@pytest.mark.parametrize('depth', [1, 4])
def test_the_one_location_that_shows_the_class_is_found(depth):
    """Better than the linear probe on mean tokens, in which the location is diluted."""
    tokens = planted()
    outcome = evaluated(tokens, epochs=12 if depth == 1 else 6, depth=depth)
    assert outcome.hits.mean() > 0.8 and (outcome.protocol, outcome.setting, outcome.metric) == (
        'attentive', 'all labels', 'top1')
    means = tokens.maps['block'].astype(np.float32).reshape(len(tokens.path), -1, 16).mean(axis=1)
    pooled = make_task(SimpleNamespace(**{**vars(tokens), 'mean': means}), 'mean')
    linear = max(np.mean(found == pooled.test_label) for found in predict(pooled, (10, 1e-1, 1e-3)))
    assert linear < outcome.hits.mean() - 0.1


def test_test_labels_choose_nothing():
    """With shuffled test labels the chosen head and its predictions are the same, and accuracy is at chance."""
    tokens = planted(test=200)
    label = make_task(tokens, 'video').test_label
    blind_label = np.random.default_rng(1).permutation(label)
    seen, blind = evaluated(tokens), evaluated(tokens, test_label=blind_label)
    assert seen.chosen == blind.chosen and len(seen.chosen) == 1
    assert seen.hits.mean() > 0.7 and abs(blind.hits.mean() - 0.25) < 0.1
    assert (seen.hits[0] == 1)[label == blind_label].tolist() == (blind.hits[0] == 1)[label == blind_label].tolist()


def test_shuffled_training_labels_give_chance():
    tokens = planted(test=200)
    label = make_task(tokens, 'video').train_label
    outcome = evaluated(tokens, train_label=np.random.default_rng(0).permutation(label))
    assert abs(outcome.hits.mean() - 0.25) < 0.1


def test_the_order_of_videos_changes_nothing():
    tokens = planted(test=20, groups=5)
    order = np.random.default_rng(1).permutation(len(tokens.path))
    shuffled = Tokens(tokens.maps, *(getattr(tokens, name)[order] for name in ('rows', 'path', 'label', 'part')), [])
    one, other = evaluated(tokens, 2), evaluated(shuffled, 2)
    assert one.chosen == other.chosen and one.hits.tolist() == other.hits.tolist()


def test_the_best_head_is_the_most_accurate_then_the_first():
    """Of four heads the first diverged, the second errs, the third and fourth are right."""
    label = np.array([0, 1])
    probability = np.array([[[np.nan] * 2] * 2, [[0.9, 0.1], [0.8, 0.2]], [[0.6, 0.4], [0.4, 0.6]],
                            [[0.7, 0.3], [0.1, 0.9]]])
    assert accuracies(probability, label).tolist() == [-1, 0.5, 1, 1]
    assert first_best([accuracies(probability, label)] * 2, [2, 2]) == 2
    assert first_best([[0.3, 0.1], [0.6, 0.8]], [20, 20]) == 0, 'equal up to rounding'


def test_nothing_to_hold_out_takes_the_default_head():
    tokens = planted(groups=1, test=8)
    assert evaluated(tokens, 1).chosen == [f'lr {GRID[DEFAULT][0]:.2g} wd {GRID[DEFAULT][1]:g}']
    assert GRID[DEFAULT] == (pytest.approx(1e-3), 0.1)


# ---- against torch's attention

class ObviousHead(nn.Module):
    """The same with nn.MultiheadAttention, keys and values of every token included."""

    def __init__(self, head):
        super().__init__()
        size = head.query.numel()
        self.query, self.classify = nn.Parameter(head.query.detach().clone()), copy.deepcopy(head.classify)
        self.blocks = nn.ModuleList(nn.MultiheadAttention(size, block.heads, batch_first=True) for block in head.blocks)
        for own, block in zip(self.blocks, head.blocks):
            own.load_state_dict({
                'in_proj_weight': torch.cat([layer.weight for layer in (block.query, block.key, block.value)]),
                'in_proj_bias': torch.cat([block.query.bias, torch.zeros(size), block.value.bias]),
                'out_proj.weight': block.out.weight, 'out_proj.bias': block.out.bias})

    def forward(self, tokens):
        x = self.query.expand(len(tokens), 1, -1)
        for block in self.blocks:
            query = F.layer_norm(x, x.shape[-1:])
            x = x + block(query, tokens, tokens)[0]
        return self.classify(F.layer_norm(x, x.shape[-1:])).squeeze(1)


@pytest.mark.parametrize('depth', [1, 4])
def test_all_heads_at_once_equal_one_alone(depth):
    """Every head of a small grid, after training, against an obvious head trained by itself with PyTorch's AdamW."""
    torch.manual_seed(0)
    first = AttentiveHead(16, 3, depth).double()
    settings = [(1e-4, 0.1), (1e-2, 0.01), (3e-3, 1.)]
    heads = [copy.deepcopy(first) for _ in settings]
    steps = 12
    data = [(torch.randn(5, 7, 16).double(), torch.randint(3, (5,))) for _ in range(steps)]
    train_heads(heads, settings, data, steps)
    tokens = torch.randn(4, 7, 16).double()
    for head, (rate, decay) in zip(heads, settings):
        alone = ObviousHead(first).double()
        optimiser = torch.optim.AdamW(alone.parameters(), lr=rate, weight_decay=decay)
        for step, (x, label) in enumerate(data):
            # warm-up over the first of 12 steps, then a cosine that ends at zero
            factor = 1 if step == 0 else 0.5 * (1 + np.cos(np.pi * step / (steps - 1)))
            optimiser.param_groups[0]['lr'] = rate * factor
            optimiser.zero_grad()
            F.cross_entropy(alone(x), label).backward()
            for block in alone.blocks:  # a bias of the keys shifts all scores alike; its gradient is rounding only
                block.in_proj_bias.grad[16:32] = 0
            optimiser.step()
        assert head(tokens).detach().numpy() == pytest.approx(alone(tokens).detach().numpy(), abs=1e-5)


def test_the_rate_warms_up_and_falls_to_zero():
    factors = [rate_factor(step, 50) for step in range(50)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1]) and factors[-1] == pytest.approx(0, abs=1e-9)
    assert all(a > b for a, b in zip(factors[4:], factors[5:])) and factors[27] == pytest.approx(0.5, abs=0.02)


# ---- tokens

def attend(csv_root, out, *flags, weights='random', status=0, base=CLIP):
    argv = [*base, *CHEAP, '--no_pictures', '--csv_root', csv_root, '--weights', weights, '--out', out, *flags]
    assert run(attentive_cli, argv) == status
    return json.loads((out / 'results.json').read_text()) if status == 0 else None


@pytest.fixture(scope='module')
def few(csv_root, tmp_path_factory):
    """csv_root of six training and four test videos."""
    return with_lists(csv_root, tmp_path_factory.mktemp('few'), rows_of(csv_root, 'train')[::2],
                      rows_of(csv_root, 'test')[::3])


def test_tokens_equal_a_loop_over_videos(csv_root, pretrained, tmp_path):
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    attend(csv_root, tmp_path, '--no_random', weights=weights)
    found = open_tokens(tmp_path / 'tokens' / 'epoch1', ['context', 'block'])
    rows = [(path, int(count)) for part in ('train', 'test') for path, count in rows_of(csv_root, part)]
    assert found.path.tolist() == [path for path, _ in rows]
    model = Representation('resnet18')
    load_weights(model, weights)
    model.eval()
    for (path, count), (first, end) in zip(rows, found.rows):
        starts, clips = slow_clips(path, count)
        with torch.no_grad():
            feature, _ = model(clips)
            states = torch.stack([model.agg(feature[:, :n + 1])[1] for n in range(3)], dim=1)
        assert end - first == len(starts)
        for kind, expected in (('block', feature), ('context', states)):
            tokens = found.maps[kind][first:end]
            assert tokens.dtype == np.float16
            assert tokens == pytest.approx(expected.flatten(1, 2).numpy(), abs=2e-3, rel=2e-3)
    assert found.rows[-1, 1] == len(found.maps['block'])


def test_processes_and_batches_do_not_change_the_tokens(few, pretrained, tmp_path):
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    maps = []
    for name, flags in (('one', ['--batch_size', 1]), ('seven', ['--batch_size', 7]),
                        ('two', ['--num_procs', 2, '--batch_size', 4])):
        attend(few, tmp_path / name, '--no_random', '--augment', 2, *flags, weights=weights)
        maps.append(open_tokens(tmp_path / name / 'tokens' / 'epoch1', ['context', 'block']).maps)
    for other in maps[1:]:
        for kind in ('context', 'block'):
            assert other[kind] == pytest.approx(maps[0][kind], abs=2e-3, rel=2e-3)


def test_augmented_views_are_random_crops_of_training_clips(few, tmp_path, monkeypatch):
    """K views of each training clip, drawn from the seed; the centre crop of test clips."""
    seen = {}
    plain = VideoDataset.__getitem__

    def noting(dataset, piece):
        item = plain(dataset, piece)
        rows = dataset.plan(piece[0]).rows
        seen.setdefault(piece[0], []).append(item['blocks'][:, rows].flatten(0, 1).flatten(1, 2))
        return item

    monkeypatch.setattr(VideoDataset, '__getitem__', noting)
    attend(few, tmp_path / 'a', '--augment', 3, '--flip', 1)
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[0][1:])), 'the same views for all three random weights'
    attend(few, tmp_path / 'b')
    augmented, centre = seen[0][0], seen[0][-1]
    clips = len(centre)
    assert len(augmented) == 3 * clips and torch.equal(seen[6][0], seen[6][-1]), 'a test video keeps its centre crop'
    assert not torch.equal(augmented[:clips], augmented[clips:2 * clips])
    # the first view, by hand
    import cv2
    rng = stream('view', 0, 0, 0)
    rng.random()
    frame = cv2.imread(f'{rows_of(few, "train")[0][0]}/image_00001.jpg')[:, ::-1, ::-1]
    box = draw_box(rng, *frame.shape[:2], 'resized')
    crop = frame[box.top:box.top + box.height, box.left:box.left + box.width]
    expected = resized(np.ascontiguousarray(crop), 32)
    assert augmented[0, 0].numpy() == pytest.approx(expected, abs=1)


def test_tokens_serve_only_their_own_weights_list_and_settings(few, pretrained, tmp_path, capsys):
    weights = tmp_path / 'weights.pth.tar'
    shutil.copy(pretrained / 'model' / 'epoch1.pth.tar', weights)

    def made_anew(*flags):
        attend(few, tmp_path / 'out', '--no_random', *flags, weights=weights)
        return 'already' not in capsys.readouterr().out

    assert made_anew('--feature', 'block') and not made_anew('--feature', 'block')
    assert made_anew() and not made_anew() and not made_anew('--feature', 'context')
    assert made_anew('--augment', '1') and not made_anew('--augment', '1')
    assert made_anew('--augment', '1', '--flip', '0')
    stored = torch.load(weights, weights_only=True)
    stored['state_dict']['backbone.conv1.weight'][0, 0, 0, 0, 0] += 1e-3
    torch.save(stored, weights)
    assert made_anew('--augment', '1', '--flip', '0') and not made_anew('--augment', '1', '--flip', '0')
    kept = tmp_path / 'out' / 'tokens' / 'weights' / 'tokens.npz'
    kept.write_bytes(kept.read_bytes()[:-100])
    assert made_anew('--augment', '1', '--flip', '0')


# ---- as a user runs it

def test_rows_table_and_pictures(csv_root, pretrained, tmp_path, capsys):
    weights = pretrained / 'model' / 'epoch1.pth.tar'
    argv = [*CLIP, *CHEAP, '--csv_root', csv_root, '--weights', weights, '--out', tmp_path, '--depth', 4]
    assert run(attentive_cli, argv) == 0
    said = capsys.readouterr().out
    assert '8 files in' in said and said.index('files in') < said.index('weights from')
    rows = json.loads((tmp_path / 'results.json').read_text())
    assert [(row['feature'], row['weights'], row['protocol'], row['setting'], row['metric']) for row in rows] == [
        (feature, name, 'attentive', 'all labels', 'top1') for feature in ('context', 'block')
        for name in (str(weights), 'random')]
    assert all(0 <= row['low'] <= row['value'] <= row['high'] <= 1 and row['videos'] == 12 for row in rows)
    assert [row['deviation'] is None for row in rows] == [True, False] * 2
    assert rows[1]['chosen'].count('lr') == 3
    assert '4 deep, 1 epoch' in (tmp_path / 'results.md').read_text()
    assert {path.name for path in (tmp_path / 'pictures').iterdir()} == {
        f'{name}_{kind}_attentive.png' for name in ('epoch1', 'random') for kind in ('context', 'block')}
    assert attend(csv_root, tmp_path, '--depth', 4, weights=weights) == rows, 'the same again from stored tokens'


def test_one_line_for_each_mistake(csv_root, pretrained, tmp_path, capsys, monkeypatch):
    def error_of(*flags, lists=csv_root, weights='random'):
        attend(lists, tmp_path / 'out', *flags, weights=weights, status=2)
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith('error: ')
        return error

    one = rows_of(csv_root, 'train')[:1]
    lists = with_lists(csv_root, tmp_path / 'one', one, rows_of(csv_root, 'test')[:1])
    assert 'fewer than two classes' in error_of(lists=lists)
    pooled = tmp_path / 'pooled.pth.tar'
    stored = checkpoint(pretrained)
    stored['settings']['feature_map'] = 'pooled'
    torch.save(stored, pooled)
    assert 'no locations to attend over' in error_of(weights=pooled)
    assert '--no_random: give --weights a file' in error_of('--no_random')
    monkeypatch.setattr('shutil.disk_usage', lambda path: SimpleNamespace(free=1000))
    shutil.rmtree(tmp_path / 'out')
    assert 'GB are free' in error_of()


def test_a_pooled_pretraining_says_so_in_its_checkpoint(csv_root, tmp_path):
    stored = checkpoint(pretrain(csv_root, tmp_path, '--feature_map', 'pooled'))
    assert stored['settings']['feature_map'] == 'pooled'


def test_an_unreadable_video_is_left_out(csv_root, tmp_path, capsys):
    lists, broken = with_a_broken_video(csv_root, tmp_path)
    rows = attend(lists, tmp_path / 'out')
    assert {row['videos'] for row in rows} == {5}
    assert str(broken) in (tmp_path / 'out' / 'results.md').read_text()
