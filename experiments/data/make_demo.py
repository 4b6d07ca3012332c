"""Makes the demo data set: small videos whose classes differ only by motion, a labelled and an unlabelled part.

    {video_root}/{Class}/v_{Class}_g01_c01.avi                               labelled, in UCF101's layout
    {split_root}/classInd.txt  trainlist01.txt  testlist01.txt  ... 03
    {unlabelled_root}/v_00001.avi                                            unlabelled: one flat folder

One textured sprite moves over a static textured background, and no single frame reveals the class. By default all
videos share one appearance (sprite and background), so that only motion tells them apart. With several (--appearances)
group gNN has the same one in *every* class, so appearance says nothing about the class, even to a network that
memorises it.
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
from experiments.data import sprites, synthetic
from utils.cli import positive_int, run_cli


def parse_args(argv=None):
    parser = synthetic.make_parser(__doc__, 'demo', videos_per_class=32, unlabelled=None, size=80, frames=64)
    parser.add_argument('--appearances', default=1, type=positive_int,
                        help="number of different appearances; a video's group picks one (default: %(default)s)")
    return synthetic.parse(parser, argv, len(sprites.MOTIONS))


def main(args):
    synthetic.make(args, list(sprites.MOTIONS), sprites.render)


if __name__ == '__main__':
    run_cli(main, parse_args())
