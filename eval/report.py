"""Writes one HTML page about runs: training, tests, frozen features, predictions and surprise, beside each other."""
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils.packages

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eval.metrics.intervals import in_braces
from eval.page.charts import chart_groups, colour_of
from eval.page.pictures import PictureStore
from eval.page.sources import find_sources
from eval.page.tables import (
    anticipation_tables,
    confused_pairs,
    confusion_of,
    flags_of_runs,
    frozen_rows,
    per_class,
    run_rows,
    test_rows,
    video_rows,
)
from eval.protocols.anticipation import PROTOCOL
from utils.cli import Parser, UserError, make_folder, run_cli
from utils.next_step import line_of, say_next
from utils.text import printable

ABOUT_HASH = 'Only rows of one hash are comparable: it stands for the lists, labels, clips and choices of a protocol'
TEMPLATES = Path(__file__).resolve().parent / 'page' / 'templates'


def parse_args(argv=None):
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('run', nargs='+', metavar='RUN',
                        help='folder of a training run, of a test, of eval/frozen.py, eval/visualise.py or '
                             'eval/surprise.py; of any other folder, all that are below it')
    parser.add_argument('--out', default='report.html', metavar='FILE', help='the page (default report.html)')
    parser.add_argument('--title', default='Dense Predictive Coding: report', help='heading of the page')
    return parser.parse_args(argv)


def main(args):
    sources = find_sources(args.run)
    pictures = PictureStore()
    page = render(sources, args.title, pictures)
    make_folder(Path(args.out).parent, '--out')
    try:
        Path(args.out).write_text(page, encoding='utf-8')
    except OSError as error:
        raise UserError(f'--out {args.out}: cannot write it ({error.strerror})') from error
    counts = {kind: len(found) for kind, found in vars(sources).items() if found}
    print(f'written to {args.out}: {len(page.encode()) / 1e6:.1f} MB, '
          + ', '.join(f'{kind} {count}' for kind, count in counts.items()))
    if pictures.left_out:
        print(f'{len(pictures.left_out)} pictures are left out, as the page would be too large: '
              + ', '.join(pictures.left_out[:3]))
    say_next(line_of(['-m', 'webbrowser', Path(args.out).absolute().as_uri()], {}))


def render(sources, title, pictures):
    """The page, str. sources: of find_sources. pictures: a PictureStore."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True, finalize=escaped_bytes)
    environment.filters.update(percent=percent, number=number, of_groups=of_groups)
    anticipated, frozen = ([each for each in sources.frozen if (set(each.rows.protocol) == {PROTOCOL}) is early]
                           for early in (True, False))
    charts, zeros = chart_groups(sources.training)
    tests = [{'test': test, 'pairs': confused_pairs(test.predictions, pictures),
              'confusion': confusion_of(test.predictions, test.name), **video_rows(test.predictions)}
             for test in sources.tests]
    return environment.get_template('report.html').render(
        title=title, made=datetime.now().strftime('%Y-%m-%d %H:%M'), training=sources.training,
        runs=run_rows(sources.training), charts=charts, zeros=zeros,
        tests=tests, test_rows=test_rows(sources.tests), about_hash=ABOUT_HASH,
        classes=per_class([test for test in sources.tests if len(test.predictions)]),
        frozen=frozen, frozen_rows=frozen_rows(frozen), anticipation=anticipation_tables(anticipated),
        verdicts=[(each.name, each.verdict) for each in sources.frozen if each.verdict],
        predictions=sources.predictions, surprise=sources.surprise,
        flags=flags_of_runs([*sources.training, *sources.tests]), picture=pictures.picture,
        colour_of=colour_of)


def escaped_bytes(value):
    """Names may hold bytes that are not UTF-8; a page can't."""
    return printable(value) if isinstance(value, str) and not hasattr(value, '__html__') else value


def percent(value, digits=1):
    return '–' if value is None or value != value else f'{100 * value:.{digits}f}%'


def of_groups(values):
    """
    >>> of_groups([0.5, 0.25]), of_groups([i / 8 for i in range(8)])
    ('{25.0%, 50.0%}', '{0.0% … 87.5%}')
    """
    return in_braces([100 * value for value in values], '{:.1f}%')


def number(value):
    if value is None or value != value:
        return '–'
    return f'{value:,}' if isinstance(value, int) else f'{value:.4g}'


if __name__ == '__main__':
    run_cli(main, parse_args())
