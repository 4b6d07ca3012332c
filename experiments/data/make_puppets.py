"""Makes the puppets data set: a puppet does ten everyday actions, a labelled and an unlabelled part.

    {video_root}/{Class}/v_{Class}_g01_c01.avi                               labelled, in UCF101's layout
    {split_root}/classInd.txt  trainlist01.txt  testlist01.txt  ... 03
    {unlabelled_root}/v_00001.avi                                            unlabelled: one flat folder

Five pairs of actions differ only by the direction of time: open and close the arms, walk and moonwalk, bend down and
straighten up, sit down and stand up, circle the arms forward and backward. A single frame tells at most the pair.
Videos differ in appearance, position, size, view and drift of the camera; the videos of a group gNN share appearance
and position, in *every* class. --fixed turns such differences off, to study how much each of them matters.
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
from experiments.data import puppets, synthetic
from utils.cli import run_cli


def parse_args(argv=None):
    parser = synthetic.make_parser(__doc__, 'puppets', videos_per_class=90, unlabelled=2000, size=80, frames=96)
    parser.add_argument('--fixed', nargs='*', default=[], choices=puppets.NUISANCES,
                        help='what is the same in all videos (default: nothing)')
    args = synthetic.parse(parser, argv, len(puppets.ACTIONS))
    args.fixed = sorted(set(args.fixed))
    return args


def main(args):
    synthetic.make(args, list(puppets.ACTIONS), puppets.render)


if __name__ == '__main__':
    run_cli(main, parse_args())
