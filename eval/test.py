"""Action classification on DPC features: fine-tune, train a linear probe, or test."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

from backbone import NETWORKS
from eval.classify.test_classifier import test_classifier
from eval.classify.train_classifier import train_classifier
from utils.arguments import (
    add_data_arguments,
    add_device_arguments,
    add_model_arguments,
    add_optimisation_arguments,
    add_run_arguments,
)
from utils.cli import Parser, fraction, positive_fraction, positive_int, positive_int_or_all
from utils.data.crops import VIEWS
from utils.data.demands import settle_flip
from utils.parallel.launch import launch
from utils.recipes import parse_with_recipe


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    model = add_model_arguments(parser, 'lc', NETWORKS)
    model.add_argument('--num_class', type=positive_int, help='classes (default: as many as classInd.txt lists)')
    model.add_argument('--dropout', default=0.5, type=fraction,
                       help='before the linear layer (default 0.5; 0.9 is reported to be much better; 0 for none)')
    model.add_argument('--train_what', default='last', choices=['last', 'ft', 'all'],
                       help='last: a linear probe on frozen features; ft: everything, pretrained parts at a tenth of '
                            '--lr; all: everything at the same rate (default last)')
    data = add_data_arguments(parser, short_videos='pad')
    data.add_argument('--split', type=positive_int_or_all,
                      help='split of the data set; all: test a classifier of each of the splits 1, 2 and 3 (default: '
                           'that of the file of --test or --pretrain if it is of this data set, else 1)')
    data.add_argument('--label_fraction', default=1., type=positive_fraction, metavar='F',
                      help='train on this part of the training list, the same of every class, chosen by --seed and '
                           'written to label_subset.csv (default 1: all)')
    add_optimisation_arguments(parser, wd=1e-3, schedule='step')
    add_device_arguments(parser)
    add_run_arguments(parser, 'classify, of a test test')
    test = parser.add_argument_group('test')
    test.add_argument('--test', metavar='FILE', nargs='+',
                      help='score this classifier, a checkpoint or model folder, on the test split (random: an '
                           'untrained one), or with --split all three, of splits 1, 2 and 3; --net, --img_dim, '
                           '--num_seq, --seq_len and --ds follow the file where they are left out')
    test.add_argument('--crops', default=1, type=int, choices=VIEWS,
                      help='1: centre · 3: along the longer side · 5: corners and centre · 10: these and their mirror '
                           'images; scores are averaged (default 1)')
    test.add_argument('--flip_views', action='store_true', help='average with the mirror image of every crop, too')
    test.add_argument('--clips', default='all', type=positive_int_or_all, metavar='all|K',
                      help='all: overlapping clips that cover the video; a number: so many, evenly spaced '
                           '(default all)')
    test.add_argument('--allow_other_settings', action='store_true',
                      help='with --test: let these flags and the spelling of class names differ from the training\'s, '
                           'and test videos be named like training videos of another data set')
    # see eval.classify.setup.settle
    parser.set_defaults(net=None, img_dim=None, num_seq=None, seq_len=None, ds=None, fps=None)
    args = parse_with_recipe(parser, 'classify', argv)
    settle_flip(args)
    args.prefix = args.prefix or ('test' if args.test else 'classify')
    if args.test and len(args.test) == 1:  # a list only where there are several
        args.test, = args.test
    return args


def main(args):
    if args.test:
        test_classifier(args)
    else:
        train_classifier(args)


if __name__ == '__main__':
    launch(main, parse_args())
