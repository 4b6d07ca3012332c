"""The whole pipeline on small copies of UCF101, HMDB51 and Kinetics: extract, list, pack, check, train one step."""
import os

import pytest

from tests import forked
from tests.process_data.tiny_videos import ROOT, run, write_video

GROUPS = range(1, 5)


def lay_out_ucf101(root):
    lines = []
    for label, c in enumerate(('Archery', 'Surfing'), 1):
        for g in GROUPS:
            write_video(root / f'videos/{c}/v_{c}_g{g:02d}_c01.avi', n_frames=12, fourcc='XVID', seed=10 * label + g)
            lines.append((f'{c}/v_{c}_g{g:02d}_c01.avi', label))
    (root / 'splits').mkdir()
    (root / 'splits/classInd.txt').write_text('1 Archery\n2 Surfing\n')
    (root / 'splits/trainlist01.txt').write_text(''.join(f'{path} {label}\n' for path, label in lines))
    (root / 'splits/testlist01.txt').write_text(''.join(f'{path}\n' for path, _ in lines[:2]))
    return ['--split_root', root / 'splits']


def lay_out_hmdb51(root):
    (root / 'splits').mkdir()
    for c in ('wave', 'brush_hair'):
        for g in GROUPS:
            write_video(root / f'videos/{c}/{c} #{g}.avi', n_frames=12, fourcc='XVID', seed=g)
        (root / f'splits/{c}_test_split1.txt').write_text(
            ''.join(f'{c} #{g}.avi {1 if g > 1 else 2} \n' for g in GROUPS))
    return ['--split_root', root / 'splits']


def lay_out_k400(root):
    rows = ['label,youtube_id,time_start,time_end,split']
    for c in ('air drumming', 'yoga'):
        for g in GROUPS:
            half, split = ('val', 'validate') if g == 1 else ('train', 'train')
            write_video(root / f'videos/{half}_256/{c}/-{c[:5]}_{g}_000001_000011.mp4', n_frames=12, seed=g)
            rows.append(f'{c},-{c[:5]}_{g},1,11,{split}')
    (root / 'annotations.csv').write_text('\n'.join(rows) + '\n')
    return ['--annotations', root / 'annotations.csv']


@pytest.mark.parametrize('dataset, lay_out, folder, lists', [
    ('ucf101', lay_out_ucf101, 'ucf101', ('train_split01.csv', 'test_split01.csv')),
    ('hmdb51', lay_out_hmdb51, 'hmdb51', ('train_split01.csv', 'test_split01.csv')),
    ('k400', lay_out_k400, 'k400_150', ('train_split.csv', 'val_split.csv'))])
def test_from_videos_to_a_training_step(tmp_path, dataset, lay_out, folder, lists):
    split_flags = lay_out(tmp_path)
    frames, csv_root = tmp_path / 'frames', tmp_path / 'csv'
    steps = [run('extract_frames', '--dataset', dataset, '--video_root', tmp_path / 'videos', '--frame_root', frames,
                 '--jobs', 1),
             run('write_csv', '--dataset', dataset, '--frame_root', frames, '--csv_root', csv_root, '--relative',
                 *split_flags),
             run('pack_frames', '--frame_root', frames, '--remove_loose', '--jobs', 1)]
    if dataset == 'ucf101':         # these lists share two videos, which the check must find
        checked = run('check_frames', '--jobs', 1, '--dataset', folder, '--csv_root', csv_root, '--frame_root', frames,
                      '--repair')
        assert checked.returncode == 1 and checked.stdout.count('in train and test: ') == 2
        os.replace(csv_root / folder / 'train_split01.repaired.csv', csv_root / folder / 'train_split01.csv')
    steps.append(run('check_frames', '--jobs', 1, '--dataset', folder, '--csv_root', csv_root, '--frame_root', frames))
    steps.append(forked.run(
        [os.path.join(ROOT, 'dpc/main.py'), '--dataset', dataset, '--csv_root', str(csv_root),
         '--frame_root', str(frames), '--log_dir', str(tmp_path / 'runs'), '--gpu', 'cpu', '--net', 'resnet18',
         '--img_dim', '32', '--num_seq', '3', '--seq_len', '4', '--pred_step', '1', '--ds', '1', '--batch_size', '4',
         '--epochs', '1', '--num_workers', '0', '--val_fraction', '0.2']))
    for step in steps:
        assert step.returncode == 0, step.args[0] + step.stdout + step.stderr
    written = {path.name for path in (csv_root / folder).glob('*.csv')}
    assert {name for name in written if 'repaired' not in name} == set(lists)
    assert list((tmp_path / 'runs').rglob('epoch1.pth.tar'))
