"""Defaults that training, evaluation and prediction share: the network and the clip settings where neither a flag nor a
checkpoint has a value, and the published learning rate schedules."""
from utils.data.demands import demands
from utils.data.lists import is_kinetics

NET = 'resnet18'
# img_dim: side of the input frames, px · num_seq: N, blocks in a clip · seq_len: T, frames in a block
CLIP = {'img_dim': 128, 'num_seq': 8, 'seq_len': 5}
BATCH_SIZE, EPOCHS = 4, 10  # of training


def default_ds(dataset, csv_root=''):
    """What the data set's own dataset.json says; else every 5th frame on Kinetics, whose recipe runs at twice the frame
    rate of UCF101's, and every 3rd on all others."""
    return demands(csv_root, dataset).get('ds') or (5 if is_kinetics(dataset) else 3)


def default_settings(dataset='', csv_root=''):
    """{'net', 'img_dim', 'num_seq', 'seq_len', 'ds'} for a data set ('' for none) below `csv_root`."""
    return {'net': NET, **CLIP, 'ds': default_ds(dataset, csv_root)}


def default_milestones(dataset, img_dim):
    """Epochs after which fine-tuning lowers its rate, as published; data sets that the paper does not name are treated
    like UCF101."""
    if dataset == 'hmdb51':
        return [150, 250, 300]
    return [300, 400, 500] if img_dim > 140 else [60, 80, 100]
