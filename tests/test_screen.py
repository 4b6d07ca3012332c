"""What a run prints: a line for an epoch, at most 100 characters; everything else is in log.jsonl."""
import math

import pytest

from dpc import main as pretraining
from tests.tiny import PRETRAINING, read_log, run_folder
from utils.run.log import epoch_line

TRAIN = {'loss': 12.3456, 'top1': 0.1234, 'clips_per_s': 1234.56, 'data_wait': 1.}


def test_an_epoch_is_one_line(csv_root, tmp_path, capsys):
    folder = run_folder(pretraining, [*PRETRAINING, '--csv_root', csv_root], tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('epoch ') and 'step' not in line]
    (train,), (val,) = read_log(folder, 'train'), read_log(folder, 'val')
    assert lines == [f'epoch 1/1  loss {train["loss"]:.4g}, val {val["loss"]:.4g}  top-1 {train["top1"]:.1%}, val '
                     f'{val["top1"]:.1%}  {train["clips_per_s"]:.4g} clips/s  waiting {train["data_wait"]:.0%}  ETA 0s']
    assert {'grad_norm', 'lr', 'memory_gb', 'top5', 'replaced'} <= set(train)


@pytest.mark.parametrize('train', [TRAIN, None])
def test_it_fits_100_columns(train):
    line = epoch_line(100, 300, train, {'loss': 12.3456, 'top1': 1.}, 3600)
    assert len(line) <= 100
    assert line.startswith('epoch 100/300  loss ') and (train is None or line.endswith('ETA 8d8h'))
    assert line.count('nan') == 0 and epoch_line(1, 2, train, {'loss': math.nan, 'top1': 0.}, 1).count('nan') == 1
