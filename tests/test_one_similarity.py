"""`similarity` in dpc/loss.py is the one line to change: eval/visualise.py and eval/horizon.py then show the numbers of
pretraining's validation."""
import json

import pytest
import torch
import torch.nn.functional as F

from dpc.loss import dense_info_nce
from dpc.model import DPC
from dpc.objective import Objective
from dpc.validation import Validation
from eval import horizon, visualise
from eval.forecast.predictions import MISTAKES, match_of
from tests.tiny import make_frames, run
from utils.data.clips import Clip, ClipDataset
from utils.data.colour import to_block
from utils.data.lists import VideoList

N, T, P, IMG_DIM, BATCH = 4, 5, 2, 64, 2
DEVICE = ['--num_workers', '0', '--gpu', 'cpu', '--amp', 'off']


def cosine(rows, columns):
    return F.normalize(rows) @ F.normalize(columns).t() / 0.1


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Paths of four videos, whose middle clip begins a block after the first frame."""
    folder = tmp_path_factory.mktemp('videos')
    for i in range(4):
        make_frames(folder / f'video{i}', (N + 2) * T, seed=i, size=(70, 80))
    return [str(folder / f'video{i}') for i in range(4)]


@pytest.fixture(scope='module')
def listed(videos):
    return VideoList.from_rows(videos, [(N + 2) * T] * len(videos))


def middle_clips(listed):
    """[4, N, 3, T, H, W], as a validation reads them."""
    dataset = ClipDataset(listed, Clip(N, T, 1, IMG_DIM), 'centre', flip=0)
    return to_block(torch.stack([dataset[0, index]['frames'] for index in range(len(listed))]), None, N)


@pytest.fixture(scope='module')
def model(listed):
    """A DPC whose predictions are better than chance: aggregator and predictor are fitted to these clips."""
    torch.manual_seed(0)
    model = DPC('resnet18', pred_step=P, dropout=0)
    with torch.no_grad():
        feature = model.encode(middle_clips(listed))
    optimizer = torch.optim.Adam([*model.agg.parameters(), *model.network_pred.parameters()], lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss, _ = dense_info_nce(*model.predict(feature))
        loss.backward()
        optimizer.step()
    return model.eval()


def validated(model, listed):
    """{statistic: its mean over the batches} of pretraining's validation on the middle clips."""
    validation = Validation(Objective(), listed)
    validation.restart()
    found = []
    for block, label in zip(middle_clips(listed).split(BATCH), torch.arange(len(listed)).split(BATCH)):
        with torch.no_grad():
            _, stats = validation(model, block, label)
        found.append(stats)
    return {name: torch.stack([stats[name] for stats in found]).mean().item() for name in found[0]}


def shown(command, name, model, videos, folder):
    """What a command writes to {name}.json for these weights and videos."""
    settings = {'model': 'dpc-rnn', 'net': 'resnet18', 'img_dim': IMG_DIM, 'num_seq': N, 'seq_len': T, 'ds': 1,
                'pred_step': P}
    torch.save({'net': 'resnet18', 'state_dict': model.state_dict(), 'settings': settings}, folder / 'model.pth.tar')
    flags = ['--no_film', '--pictures', 1] if command is visualise else ['--steps', P]
    assert run(command, [*videos, '--weights', folder / 'model.pth.tar', '--out', folder, '--batch_size', BATCH, *flags,
                         *DEVICE]) == 0
    return json.loads((folder / f'{name}.json').read_text())


def test_numbers_are_those_of_the_validation(model, listed, videos, tmp_path, monkeypatch):
    plain = validated(model, listed)
    monkeypatch.setattr('dpc.loss.similarity', cosine)
    expected = validated(model, listed)
    assert any(expected[name] != plain[name] for name in ('top1', 'wrong_time')), 'or this test could not fail'

    drawn = shown(visualise, 'visualise', model, videos, tmp_path)
    for name in ('top1', 'top3', 'top5'):
        assert drawn[name] == pytest.approx(expected[name])
    assert drawn['top1_by_step'] == pytest.approx([expected['top1_step1'], expected['top1_step2']])
    for text, name in MISTAKES.items():
        assert drawn['taken_for'][text] == pytest.approx(expected[name])

    curves = shown(horizon, 'horizon', model, videos, tmp_path)['by_candidates']['all_steps']['curves']
    assert curves['model']['top1'] == pytest.approx([expected['top1_step1'], expected['top1_step2']])
    for curve, name in (('copy_last',) * 2, ('copy_mean',) * 2, ('shuffled', 'top1_shuffled')):
        assert sum(curves[curve]['top1']) / P == pytest.approx(expected[name])


def test_the_heat_map_follows(monkeypatch):
    prediction, target = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    monkeypatch.setattr('dpc.loss.similarity', cosine)
    match = match_of(prediction, target)
    for p in range(2):
        for s in range(3):
            score = F.cosine_similarity(prediction[p, s], target, dim=-1) / 0.1
            assert match[p, s].ravel() == pytest.approx(score.flatten().softmax(dim=0).tolist(), rel=1e-4)
