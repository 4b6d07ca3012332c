"""Precisions, at length and also on a GPU if there is one: bfloat16 learns as float32 does, and resumed runs continue."""
import pytest
import torch

from dpc import main as pretraining
from dpc.loss import dense_info_nce
from dpc.model import DPC
from tests.tiny import PRETRAINING, checkpoint, pretrain, read_log, run

pytestmark = [pytest.mark.soak, pytest.mark.published_widths]
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU'))]
NUM_SEQ, SEQ_LEN, SIDE, CLIPS, STEPS = 8, 5, 64, 2, 200


def drifting_clips(step):
    """Clips [B, N, C, T, H, W]: patterns that drift, each in its own direction, under noise. New ones in every step."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.randn(CLIPS, 3, SIDE // 4, SIDE // 4, generator=generator)
    pictures = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode='bilinear')
    drift = torch.randint(-2, 3, (CLIPS, 2), generator=generator).tolist()
    clips = torch.stack([torch.stack([picture.roll((t * dy, t * dx), (1, 2)) for t in range(NUM_SEQ * SEQ_LEN)])
                         for picture, (dy, dx) in zip(pictures, drift)])                    # [B, N·T, C, H, W]
    clips = clips + 0.3 * torch.randn(clips.shape, generator=generator)
    return clips.unflatten(1, (NUM_SEQ, SEQ_LEN)).transpose(2, 3)


def losses(device, dtype):
    torch.manual_seed(0)
    model = DPC('resnet18', dropout=0).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    found = []
    for step in range(STEPS):
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss, _ = dense_info_nce(*model(drifting_clips(step).to(device)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found)


@pytest.mark.parametrize('device', DEVICES)
def test_bfloat16_follows_float32(device):
    """Clips are new in every step, so the loss falls by prediction, not by memorising."""
    full, half = (losses(device, dtype).view(-1, 20).mean(1) for dtype in (torch.float32, torch.bfloat16))
    assert full[-1] < full[0] / 2
    torch.testing.assert_close(half, full, rtol=0.05, atol=0)


def difference(one, other, scale):
    """The largest difference of two states, each tensor relative to its largest change."""
    return max(((one[name].double() - other[name].double()).abs().max() / scale[name].clamp(min=1e-12)).item() for name in one)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('amp', ['off', 'bf16', 'fp16'])
def test_a_resumed_run_continues(csv_root, tmp_path, device, amp):
    """Exactly on the CPU; on a GPU kernels that add in any order may differ in the last digits."""
    if (device, amp) == ('cpu', 'fp16'):
        pytest.skip('GPUs only')
    flags = ['--amp', amp, '--gpu', 'cpu' if device == 'cpu' else '0']
    whole = pretrain(csv_root, tmp_path / 'whole', *flags, '--epochs', 2)
    parts = pretrain(csv_root, tmp_path / 'parts', *flags)
    assert run(pretraining, [*PRETRAINING, '--csv_root', csv_root, '--log_dir', tmp_path / 'parts', *flags,
                             '--epochs', 2, '--resume', 'auto']) == 0
    first, last, resumed = (checkpoint(folder, name)['state_dict'] for folder, name in (
        (whole, 'epoch1'), (whole, 'epoch2'), (parts, 'epoch2')))
    change = {name: (last[name].double() - first[name].double()).abs().max() for name in last}
    loss, resumed_loss = (read_log(folder, 'train')[-1]['loss'] for folder in (whole, parts))
    if device == 'cpu':
        assert difference(last, resumed, change) == 0 and loss == resumed_loss
    else:
        assert difference(last, resumed, change) < 0.5 and resumed_loss == pytest.approx(loss, rel=0.02)
