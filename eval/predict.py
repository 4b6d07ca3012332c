"""Says which actions videos show: the most probable classes of a trained classifier, over all clips of each video."""
import contextlib
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

import numpy as np

from eval.classify.timeline import draw_timeline
from eval.extract.answers import Answers
from eval.extract.inference import outputs_of
from eval.extract.inputs import WHAT_VIDEOS, given_videos, names_given
from eval.extract.resources import resources_of
from eval.extract.setup import add_feature_arguments
from eval.metrics.multi_label import probabilities
from eval.networks.load import is_classifier, load_model
from eval.networks.settings import resolve_settings, trained_settings
from utils.checkpoint import read_checkpoint
from utils.cli import Parser, UserError, make_folder
from utils.data.classes import read_class_list
from utils.data.clips import VideoDataset
from utils.data.lists import list_folder
from utils.data.splits import at_frame_rate
from utils.default_settings import default_settings
from utils.next_step import command, data_flags, say_next
from utils.parallel.launch import launch
from utils.run.check_backbone import check_backbone
from utils.run.setup import clip_settings, put_on, start_evaluation

TOP = 5          # classes that are named
COLUMNS = ('video', 'rank', 'class', 'probability', 'error')


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('video', nargs='+', metavar='VIDEO', help=WHAT_VIDEOS)
    parser.add_argument('--weights', required=True, metavar='FILE',
                        help='checkpoint or model folder of a classifier of eval/test.py; net, clips and class names '
                             'follow it')
    output = parser.add_mutually_exclusive_group()
    output.add_argument('--json', action='store_true',
                        help='print an object a line: {"video", "top"} or {"video", "error"}')
    output.add_argument('--csv', action='store_true', help=f'print rows {",".join(COLUMNS)}')
    parser.add_argument('--picture', metavar='FOLDER',
                        help='draw frames of each video and the probabilities over time to a .png in this folder')
    add_feature_arguments(parser)
    parser.set_defaults(dataset=None)
    args = parser.parse_args(argv)
    if args.num_procs > 1 or ',' in (args.gpu or ''):
        parser.error('videos are scored in one process: give one GPU, or leave out --num_procs')
    return args


def main(args):
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if args.json or args.csv else out):  # there, only answers are printed
        given = names_given(args.video)
        model, precision = load_classifier(args)
        if args.picture:
            make_folder(args.picture, '--picture')
        videos, names, failed = given_videos(given)
        videos = at_frame_rate(videos, args.fps)
        answers = CsvAnswers(out) if args.csv else Answers(out, args.json)
        for name, error in failed:
            answers.fail(name, error)
        dataset, broken = VideoDataset(videos, clip_settings(args)), []
        for video, logits in outputs_of(model.encode, model.summarise, dataset, resources_of(args, precision), 'videos',
                                        broken):
            index, starts = video['index'], video['start'].numpy()
            probability = probabilities(logits, model.multi_label).numpy()      # [K, num_class]
            answers.give(*answer_of(names[index], probability.mean(axis=0), model.class_names))
            if args.picture:
                picture = Path(args.picture, f'{index + 1:03d}_{Path(names[index]).stem}.png')
                draw_timeline(picture, Path(names[index]).name, videos.path(index), int(videos.n_frames[index]),
                              starts * args.seq_len * args.ds, args.num_seq * args.seq_len * args.ds, probability,
                              model.class_names, args.fps)
        for index, error in broken:
            answers.fail(names[index], error)
        if answers.given and not (args.json or args.csv):
            say_next(next_command(args))
    if answers.failed:
        sys.exit(1)


def next_command(args):
    if args.picture:
        return command('eval/export.py', weights=args.weights, out='classifier.pt2')
    return command('eval/predict.py', *map(Path, args.video), **data_flags(args), weights=args.weights,
                   picture='timelines')


def load_classifier(args):
    """(classifier of eval.networks.load.load_model, Precision) of the flags. Settings that were left out follow the
    checkpoint. UserError: a checkpoint that can't be used, or whose classes have no names."""
    checkpoint = read_checkpoint(args.weights)
    if not is_classifier(checkpoint):
        raise UserError(f'{args.weights} has no classifier: give a checkpoint of eval/test.py; eval/features.py and '
                        'eval/visualise.py take those of pretraining')
    resolve_settings(args, trained_settings(checkpoint), default_settings(args.dataset or '', args.csv_root),
                     args.weights)
    listed = read_class_list(list_folder(args.csv_root, args.dataset, args.img_dim)) if args.dataset else None
    if not (listed or checkpoint.get('settings', {}).get('class_names')):
        raise UserError(f'{args.weights} stores no class names: say which data set it was trained on with --dataset, '
                        'whose classInd.txt has them')
    precision = start_evaluation(args)
    model = load_model('classifier', args.weights, listed, net=args.net, **clip_settings(args)._asdict())
    check_backbone(model.backbone, args.net, args.img_dim, args.seq_len)
    return put_on(model.requires_grad_(False), precision.device), precision


def answer_of(name, probability, class_names):
    """({'video', 'top'}, the same in words) of the probabilities of a video, [num_class]."""
    best = np.argsort(-probability, kind='stable')[:TOP]
    top = [{'class': class_names[label], 'probability': float(probability[label])} for label in best]
    said = ', '.join(f'{each["probability"]:.1%} {each["class"]}' for each in top)
    return {'video': name, 'top': top}, f'{name}: {said}'


class CsvAnswers(Answers):
    """Answers as rows of COLUMNS, below that header."""

    def __init__(self, out):
        super().__init__(out, as_json=False)
        self.rows = csv.writer(out, lineterminator='\n')
        self.rows.writerow(COLUMNS)

    def say(self, answer, text):
        if 'error' in answer:
            self.rows.writerow([answer['video'], '', '', '', answer['error']])
        for rank, each in enumerate(answer.get('top', []), 1):
            self.rows.writerow([answer['video'], rank, each['class'], f'{each["probability"]:.4f}', ''])


if __name__ == '__main__':
    launch(main, parse_args())
