"""eval/report.py as a user runs it: its page against the files, names of any kind, its size, a real browser."""
import base64
import csv
import json
import re
import shutil
import subprocess
from argparse import Namespace
from collections import Counter
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from eval import report as report_cli
from eval import test as classifier_cli
from eval.classify.scores import VideoScores, summarise
from eval.classify.test_classifier import facts_of
from eval.classify.test_report import report_mean
from eval.page.charts import chart_groups
from eval.page.pictures import SHOWN, PictureStore
from eval.page.sources import find_sources
from eval.protocols.results import write_results
from tests.tiny import CLIP, make_frames, read_log, run_folder
from utils.cli import run_cli

HOSTILE = ['<script>alert(1)</script>', '"quotes\' & more" onload="x', '视频', 'NA']
BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


def report(*argv):
    """The exit status."""
    with pytest.raises(SystemExit) as end:
        run_cli(report_cli.main, report_cli.parse_args([str(word) for word in argv]))
    return end.value.code or 0


class Page(HTMLParser):
    """Its elements [(tag, attributes)], text, and tables as lists of rows of cells, by caption or region."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding='utf-8')
        self.elements, self.texts, self.tables, self.labels = [], [], [], []
        self.cell = self.label = None
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if attributes.get('role') == 'region':
            self.label = attributes['aria-label']
        if tag == 'table':
            self.tables.append([])
            self.labels.append(self.label)
        if tag == 'tr':
            self.tables[-1].append([])
        if tag in ('td', 'th'):
            self.tables[-1][-1].append('')
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ('td', 'th'):
            self.cell = None

    def handle_data(self, text):
        self.texts.append(text)
        if self.cell:
            self.tables[-1][-1][-1] += text

    def table(self, label):
        return self.tables[self.labels.index(label)]

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def make_test(folder, rows):
    """The files of a test: rows of (path, label, prediction, probability)."""
    folder.mkdir(parents=True)
    with open(folder / 'predictions.csv', 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        csv.writer(file).writerows([('path', 'label', 'prediction', 'probability'), *rows])
    right = sum(row[1] == row[2] for row in rows) / len(rows)
    (folder / 'test_log.md').write_text(
        '## Test of file.pth.tar\n\n- weights: /a/file.pth.tar\n- data: mine, split 1\n\n'
        '| protocol | videos | loss | top-1 | top-5 | mean per class |\n|---|---|---|---|---|---|\n'
        f'| every video | {len(rows)} | 1.5 | {right:.2%} [1.00%, 99.00%] | 80% | 40% |\n')
    return folder


def make_frozen(folder):
    row = {'feature': 'context', 'protocol': 'knn', 'setting': 'all labels', 'metric': 'top1', 'videos': 64,
           'chosen': None}
    rows = [{**row, 'weights': '/a/net.pth.tar', 'value': 0.4531, 'low': 0.328, 'high': 0.578, 'deviation': None},
            {**row, 'weights': 'random', 'value': 0.2968, 'low': 0.214, 'high': 0.385, 'deviation': 0.0157}]
    (folder / 'pictures').mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3))
    cv2.imwrite(str(folder / 'pictures/net_context_retrieval.png'), noise)
    difference = {**row, 'weights': '/a/net.pth.tar', 'than': 'random', 'value': 0.1563, 'low': 0.05, 'high': 0.26}
    write_results(folder, rows, ['data: mine'], [difference])
    return folder


def make_predicted(folder):
    folder.mkdir()
    numbers = {'weights': '/a/net.pth.tar', 'clips': 4, 'predictions': 1024, 'candidates': 128, 'chance': 1 / 128,
               'top1': 0.38, 'top5': 0.83, 'top1_by_step': [0.57, 0.19],
               'top1_by_step_interval': [[0.51, 0.63], [0.14, 0.24]],
               'top1_by_motion': [{'low': 0., 'high': 1.5, 'predictions': 512, 'top1': 0.42}],
               'taken_for': {'right': 0.38, 'another clip': 0.62}, 'drawn': {'clip1': '/frames/视频'}}
    (folder / 'visualise.json').write_text(json.dumps(numbers))
    for name in ('overview', 'clip1'):
        cv2.imwrite(str(folder / f'{name}.png'), np.zeros((60, 80, 3), np.uint8))
    return folder


@pytest.fixture(scope='module')
def tested(csv_root, classifier, tmp_path_factory):
    """The folder of a real test."""
    flags = [*CLIP, '--num_workers', '0', '--gpu', 'cpu', '--amp', 'off', '--csv_root', csv_root, '--batch_size', '4']
    return run_folder(classifier_cli, [*flags, '--test', classifier / 'model/epoch1.pth.tar'],
                      tmp_path_factory.mktemp('tested'))


@pytest.fixture(scope='module')
def page_file(pretrained, classifier, tested, tmp_path_factory):
    """A page about one folder of every kind."""
    root = tmp_path_factory.mktemp('report')
    folders = make_frozen(root / 'frozen'), make_predicted(root / 'prediction')
    assert report(pretrained, classifier, tested, *folders, '--out', root / 'page.html') == 0
    return root / 'page.html'


def charts_of(page):
    """[(group, statistic)] of the charts on a page."""
    return [tuple(each['data-name'].split(': ')) for each in page.all('svg')]


def test_curves_are_the_log(page_file, pretrained, classifier):
    groups, _ = chart_groups(find_sources([pretrained, classifier]).training)
    charts = {}  # a name may have two: top-1 is drawn again, beside its controls
    for chart in (chart for _, found in groups for chart in found):
        charts.setdefault(chart.name, []).append(chart)
    drawn = {name: [point for chart in found for line in chart.draw().axes[0].lines
                    for point in line.get_xydata().tolist()] for name, found in charts.items()}
    checked = (pretrained, 'top3'), (pretrained, 'effective_rank'), (classifier, 'top1'), (classifier, 'lr')
    for folder, name in checked:
        expected = [[record['epoch'], record[name]] for kind in ('train', 'val') for record in read_log(folder, kind)
                    if name in record]
        assert expected and all(value in drawn[name] for value in expected), name
    page = Page(page_file)
    said = {each['data-name']: each['aria-label'] for each in page.all('svg')}
    assert said == {f'{group}: {chart.name}': chart.summary for group, found in groups for chart in found}
    val, = read_log(classifier, 'val')
    assert re.search(rf'val: {val["loss"]:.4g} to {val["loss"]:.4g}, lowest', said['Loss and accuracy: loss'])


def test_an_svg_is_the_same_each_time_and_shares_no_id(page_file, pretrained, classifier):
    def charts():
        groups, _ = chart_groups(find_sources([pretrained, classifier]).training)
        return [str(chart.svg) for _, found in groups for chart in found]

    drawn = charts()
    assert drawn == charts() and all(svg in page_file.read_text(encoding='utf-8') for svg in drawn)
    elements = Page(page_file).elements
    ids = [attributes['id'] for _, attributes in elements if 'id' in attributes]
    used = {value for _, attributes in elements for name, value in attributes.items() if name == 'xlink:href'}
    used |= {value[4:-1] for _, attributes in elements if (value := attributes.get('clip-path'))}
    assert len(ids) == len(set(ids)) and len(used) > len(drawn) and used <= {f'#{each}' for each in ids}


def test_warnings_and_statistics_that_are_always_zero(tmp_path):
    (tmp_path / 'run').mkdir()
    lines = [{'kind': 'val', 'time': 1, 'epoch': 1, 'epochs': 2, 'loss': 1., 'top1': 0.5, 'copy_last': 0.25,
              'wrong_clip': 0.},
             {'kind': 'warning', 'time': 2, 'epoch': 1, 'epochs': 2, 'text': 'copies <all> of it'}]
    (tmp_path / 'run' / 'log.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    assert report(tmp_path, '--out', tmp_path / 'new' / 'page.html') == 0
    text = (tmp_path / 'new' / 'page.html').read_text()
    assert 'epoch 1:</strong> copies &lt;all&gt; of it' in text and 'Always 0, and not drawn: wrong_clip.' in text
    drawn = charts_of(Page(tmp_path / 'new' / 'page.html'))
    assert drawn == [('Loss and accuracy', 'loss'), ('Loss and accuracy', 'top1'),
                     ('Predictions against controls', 'top1')]  # again, with its control in the same chart


def test_controls_are_beside_their_own_runs_accuracy(tmp_path):
    """One chart has top-1 and its controls. A classifier's accuracy has none: it isn't drawn there."""
    record = {'kind': 'val', 'time': 1, 'epoch': 1, 'epochs': 1, 'loss': 1.}
    for name, more in (('pretraining', {'top1': 0.1, 'copy_last': 0.05}), ('classifier', {'top1': 0.9})):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'log.jsonl').write_text(json.dumps({**record, **more}))
    accuracies, (controls,) = (found for _, found in chart_groups(find_sources([tmp_path]).training)[0])
    assert [len(chart.series) for chart in accuracies if chart.name == 'top1'] == [2]
    assert [(each.run, each.kind) for each in controls.series] == [('pretraining', 'top1'), ('pretraining', 'copy_last')]
    axes = controls.draw().axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[0.1], [0.05]] and axes.get_ylim()[1] < 0.11
    assert [text.get_text() for text in axes.get_legend().texts] == ['top-1', 'repeating the last seen block']


def test_runs_and_flags(page_file, pretrained, classifier):
    page = Page(page_file)
    head, *rows = page.table('Table of training runs')
    assert [row[1] for row in rows] == ['pretraining', 'classification']
    for row, folder in zip(rows, (pretrained, classifier)):
        val, = read_log(folder, 'val')
        assert row[8].startswith(f'{val["top1"]:.2%}') and row[9] == f'{val["loss"]:.4g}'
        assert row[14] == 'finished'
        assert row[15] == json.loads((folder / 'args.json').read_text())['git_revision']
    flags = {row[0]: row[1:] for row in page.table('Flags that differ')[1:]}
    assert flags['model'] == ['dpc-rnn', 'lc', 'lc'] and 'img_dim' not in flags


def test_tests_are_the_csv(page_file, tested):
    page = Page(page_file)
    with open(tested / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    counts = Counter((row['label'], row['prediction']) for row in rows)
    _, *drawn = next(table for label, table in zip(page.labels, page.tables) if label.startswith('Confusion'))
    names = sorted({name for pair in counts for name in pair})
    assert [row[0] for row in drawn] == names
    for row in drawn:
        assert row[1:] == [str(counts[row[0], name] or '') for name in names]
    for name, accuracy, right, taken in page.table('Accuracy by class')[1:]:
        videos = sum(count for pair, count in counts.items() if pair[0] == name)
        assert right == f'{counts[name, name]} of {videos}' and accuracy == f'{counts[name, name] / videos:.1%}'
        wrong = {pair[1]: count for pair, count in counts.items() if pair[0] == name and pair[1] != name}
        assert not wrong and not taken or int(taken.split()[-1]) == max(wrong.values())
    top1 = sum(row['label'] == row['prediction'] for row in rows) / len(rows)
    assert page.table('Table of tests')[1][7].startswith(f'{top1:.2%} [')
    pairs = [row for row in next(table for label, table in zip(page.labels, page.tables)
                                 if label.startswith('Worst'))[1:] if len(row) == 4]
    assert [int(row[2]) for row in pairs] == sorted((n for (a, b), n in counts.items() if a != b), reverse=True)


def test_frozen_features_and_predictions(page_file):
    page = Page(page_file)
    rows = page.table('Results on frozen features')[1:]
    assert [row[4] for row in rows] == ['net', 'random']
    assert rows[0][5] == '45.3%' and rows[1][5] == '29.7% ±1.6%' and rows[1][6] == '21.4–38.5'
    rows = {row[0]: row[1:] for row in page.table('Predictions of prediction')}
    assert rows['top-1 of predicted block 2'] == ['19.0%', '14.0–24.0']
    assert rows['taken for: another clip'][0] == '62.0%'
    assert any('视频' in text for text in page.texts)


def test_the_page_begins_with_the_verdict(page_file):
    text = page_file.read_text(encoding='utf-8')
    said = 'pretrained beats random weights in 1 of 1 rows: knn on context, all labels (45% against 30%).'
    assert text.index(said) < text.index('<nav')


def test_pictures_are_inside_and_nothing_is_fetched(page_file):
    page = Page(page_file)
    images = [each['src'] for each in page.all('img')]
    assert len(images) >= 7 and all(each['alt'] for each in page.all('img'))
    for uri in images:
        kind, data = re.fullmatch(r'data:image/(jpeg|png);base64,(.*)', uri).groups()
        assert cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR) is not None
    links = [value for _, attributes in page.elements for name, value in attributes.items()
             if name in ('href', 'xlink:href', 'src', 'action', 'srcset', 'data')]
    assert all(link.startswith(('#', 'data:')) for link in links)
    assert not re.search(r'url\((?!#)|@import|https?://', page.source)
    ids = {attributes['id'] for _, attributes in page.elements if 'id' in attributes}
    assert {link[1:] for link in links if link.startswith('#')} <= ids
    assert {'lang': 'en'} in page.all('html') and len(page.all('h1')) == 1


def test_the_table_of_pictures_says_what_is_shown(tmp_path, monkeypatch):
    """Each file once, under the heading that it fits first; a new line of the table shows another picture."""
    predicted = make_predicted(tmp_path / 'prediction')
    cv2.imwrite(str(predicted / 'mine.png'), np.zeros((60, 80, 3), np.uint8))
    frozen = make_frozen(tmp_path / 'frozen')
    cv2.imwrite(str(frozen / 'pictures' / 'net_context_tsne.png'), np.zeros((60, 80, 3), np.uint8))
    assert report(predicted, frozen, '--out', tmp_path / 'page.html') == 0
    shown = [each['alt'].split(': ')[-1] for each in Page(tmp_path / 'page.html').all('img')]
    assert shown == ['net_context_retrieval', 'net_context_tsne', 'overview', 'clip1']
    monkeypatch.setitem(SHOWN['predictions'], 'Mine', (['mine.png'], 'A picture of mine'))
    assert report(predicted, '--out', tmp_path / 'page.html') == 0
    assert Page(tmp_path / 'page.html').all('img')[-1]['alt'] == 'A picture of mine: mine'


def test_hostile_class_names(tmp_path):
    rows = [(f'/frames/{name}/v_{i}', name, HOSTILE[(label + (i == 0)) % len(HOSTILE)], 0.5)
            for label, name in enumerate(HOSTILE) for i in range(3)]
    rows.append(('/frames/\udcff/v', '\udcff', '\udcff', 0.5))     # a byte that is not UTF-8
    make_test(tmp_path / 'test', rows)
    assert report(tmp_path / 'test', '--out', tmp_path / 'page.html') == 0
    page = Page(tmp_path / 'page.html')
    assert len(page.all('script')) == 1 and not any('onload' in attributes for _, attributes in page.elements)
    assert {row[0] for row in page.table('Accuracy by class')[1:]} == {*HOSTILE, '\\udcff'}
    assert {row[1] for row in page.table('Videos of test')[1:]} == {*HOSTILE, '\\udcff'}


def test_worst_confused_pairs_have_their_frames(tmp_path):
    for i in range(3):
        make_frames(tmp_path / f'frames/a/v{i}', 5, seed=i)
    make_test(tmp_path / 'test', [(str(tmp_path / f'frames/a/v{i}'), 'a', 'b', 0.5 + i / 10) for i in range(3)])
    assert report(tmp_path / 'test', '--out', tmp_path / 'page.html') == 0
    image, = Page(tmp_path / 'page.html').all('img')
    strip = cv2.imdecode(np.frombuffer(base64.b64decode(image['src'].split(',')[1]), np.uint8), cv2.IMREAD_COLOR)
    surest = cv2.imread(str(tmp_path / 'frames/a/v2/image_00003.jpg'))
    width = round(44 * 96 / 34)
    expected = cv2.resize(surest, (width, 96), interpolation=cv2.INTER_AREA)
    assert strip.shape == (96, 3 * width + 8, 3)
    assert np.abs(strip[:, :width - 4].astype(int) - expected[:, :width - 4]).mean() < 4


def test_a_large_test_makes_a_small_page(tmp_path, monkeypatch):
    """UCF101's: 3,783 videos of 101 classes; the confusion matrix is a picture that names them."""
    monkeypatch.setattr('eval.classify.outputs.MAX_LABELLED', 400)
    rng = np.random.default_rng(0)
    label, guess = rng.integers(101, size=(2, 3783))
    rows = [(f'/data/frames/Class{a:03d}/v_Class{a:03d}_g01_c{i:04d}', f'Class{a:03d}',
             f'Class{a if i % 3 else b:03d}', 0.5) for i, (a, b) in enumerate(zip(label, guess))]
    make_test(tmp_path / 'test', rows)
    assert report(tmp_path / 'test', '--out', tmp_path / 'page.html') == 0
    page = Page(tmp_path / 'page.html')
    assert len(page.source.encode()) < 10e6 and len(page.table('Videos of test')) == 3784
    assert page.all('svg')[0]['aria-label'].startswith('Confusion matrix of 101 classes')
    assert re.findall(r'>(Class\d+)</text>', page.source) == [f'Class{c:03d}' for c in range(101)] * 2
    embedded, _ = re.findall(r'data:image/png;base64,([^"]*)', page.source.replace('\n', ''))  # and the scale
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(embedded), np.uint8), cv2.IMREAD_COLOR)[..., 2].astype(int)
    picture, size = picture[::-1], len(picture) / 101  # matplotlib turns it over as it is drawn
    cells = picture[((np.arange(101) + 0.5) * size).astype(int)][:, ((np.arange(101) + 0.5) * size).astype(int)]
    counts = np.zeros((101, 101))
    for _, name, taken, _ in rows:
        counts[int(name[5:]), int(taken[5:])] += 1
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert np.corrcoef(cells.ravel(), shares.ravel())[0, 1] < -0.95
    assert cells.argmin(axis=1).tolist() == list(range(101))


def test_pictures_keep_to_their_budget(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (300, 2000, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), noise)
    store = PictureStore()
    uri = store.picture(tmp_path / 'a.png')
    assert store.bytes == len(uri.split(',')[1]) > 1000
    image = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(',')[1]), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (180, 1200, 3)
    monkeypatch.setattr('eval.page.pictures.BUDGET', store.bytes + 10)
    assert store.picture(tmp_path / 'a.png') is None and store.left_out == [str(tmp_path / 'a.png')]


def test_a_run_that_was_killed_at_once(tmp_path):
    """No epoch, half a line, no args.json; NaN as loss."""
    for name, lines in {'new': '{"kind": "start", "time": 1, "iteration": 0, "host": "h", "pid": 1}\n{"kin',
                        'nan': '{"kind": "val", "time": 1, "epoch": 1, "epochs": 2, "loss": NaN, '
                               '"top1": 0.5}\n'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / 'log.jsonl').write_text(lines)
    assert report(tmp_path, '--out', tmp_path / 'page.html') == 0
    rows = {row[0].strip(): row for row in Page(tmp_path / 'page.html').table('Table of training runs')[1:]}
    assert rows['new'][7] == '0 of ?' and rows['nan'][8].startswith('50.00%') and rows['nan'][9] == '–'


@pytest.mark.parametrize('name, text, message', [
    ('results.json', '[{"weights": "a"}]', 'its rows have no feature'),
    ('results.json', '{', 'is damaged'),
    ('visualise.json', '[]', 'holds a list'),
    ('predictions.csv', 'path,label\na,b\n', 'is damaged'),
    ('notes.txt', '', 'neither this folder nor any below it is a run'),
])
def test_mistakes_end_in_a_line(tmp_path, capsys, name, text, message):
    (tmp_path / name).write_text(text)
    if name == 'predictions.csv':
        (tmp_path / 'test_log.md').write_text('## Test\n')
    assert report(tmp_path, '--out', tmp_path / 'page.html') == 2
    assert message in (error := capsys.readouterr().err) and error.count('\n') == 1
    assert not (tmp_path / 'page.html').exists()
    assert report(tmp_path / 'missing') == 2
    assert 'is no folder' in capsys.readouterr().err


PROBE = """
<script>
addEventListener('load', () => setTimeout(() => {
  const column = () => [...document.querySelectorAll('#classes tbody tr')].map(row => row.cells[1].dataset.value);
  const button = document.querySelectorAll('#classes thead button')[1];
  button.click();
  const up = column();
  button.click();
  const svg = document.querySelector('svg'), box = svg.getBoundingClientRect();
  const frames = [...svg.querySelectorAll('path, text, use')].map(each => each.getBoundingClientRect())
    .filter(each => each.width);
  dispatchEvent(new Event('beforeprint'));
  const folded = document.querySelectorAll('details:not([open]):not(.screen)').length;
  dispatchEvent(new Event('afterprint'));
  const said = {up, down: column(), errors: window.problems, folded,
    open: document.querySelectorAll('details[open]').length,
    window: innerWidth, chart: [box.width, box.height, frames.length],
    inside: frames.every(each => each.left >= box.left - 1 && each.right <= box.right + 1 && each.top >= box.top - 1
      && each.bottom <= box.bottom + 1),
    wide: document.documentElement.scrollWidth - innerWidth,
    broken: [...document.images].filter(image => !image.complete || !image.naturalWidth).length,
    requests: performance.getEntriesByType('resource').map(each => each.name)
      .filter(name => !name.startsWith('data:'))};
  document.title = JSON.stringify(said);
}, 300));
</script>
"""
CATCH = """<head><script>
window.problems = [];
addEventListener('error', event => problems.push(event.message));
addEventListener('securitypolicyviolation', event => problems.push(event.violatedDirective));
</script>"""


@pytest.mark.skipif(BROWSER is None, reason='no chromium is installed')
@pytest.mark.parametrize('width', [390, 1280])
def test_in_a_browser(page_file, tmp_path, width):
    """Tables sort, curves and pictures show, prints unfold all; no request, no error, nothing wider than the window."""
    probed = tmp_path / 'probed.html'
    text = page_file.read_text(encoding='utf-8')
    probed.write_text(text.replace('<head>', CATCH, 1).replace('</body>', PROBE + '</body>'), encoding='utf-8')
    done = subprocess.run([BROWSER, '--headless=new', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr',
                           f'--user-data-dir={tmp_path / "profile"}', f'--window-size={width},900',
                           '--virtual-time-budget=5000', '--dump-dom', probed.as_uri()],
                          capture_output=True, text=True, timeout=120)
    page = HTMLTitle(done.stdout)
    said = json.loads(page.title)
    assert said['errors'] == [] and said['requests'] == [] and said['broken'] == 0
    assert 'CONSOLE' not in done.stderr
    assert said['wide'] <= 0
    up, down = ([float(value) for value in said[name]] for name in ('up', 'down'))
    assert len(up) == 3 and up == sorted(up) and down == sorted(up, reverse=True)
    wide, high, parts = said['chart']
    assert said['inside'] and parts > 20 and 200 < wide < said['window'] and 1.4 < wide / high < 1.8
    assert said['folded'] == 0 and said['open'] == text.count('<details open') > 0


class HTMLTitle(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.title, self.inside = '', False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag == 'title'

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, text):
        self.title += text if self.inside else ''


def test_numbers_of_other_protocols_are_marked(tmp_path):
    """Rows of one hash stand together; a hash that differs from another of its protocol, or is missing, has a mark."""
    for name, shown in (('a', '11111111'), ('b', '22222222'), ('c', '11111111'), ('d', None)):
        frozen, test = make_frozen(tmp_path / f'frozen_{name}'), make_test(tmp_path / f'test_{name}', [
            ('/v/run/1', 'run', 'run', '0.9'), ('/v/jump/2', 'jump', 'run', '0.5')])
        if shown:
            rows = json.loads((frozen / 'results.json').read_text())
            write_results(frozen, [{**row, 'hash': shown} for row in rows], [])
            text = (test / 'test_log.md').read_text()
            text = text.replace('mean per class |', 'mean per class | hash |').replace('| 40% |', f'| 40% | {shown} |')
            (test / 'test_log.md').write_text(text)
    for chosen, marked in (('ac', False), ('abc', True), ('abcd', True)):
        folders = [tmp_path / f'{kind}_{name}' for kind in ('frozen', 'test') for name in chosen]
        assert report(*folders, '--out', tmp_path / 'page.html') == 0
        page = Page(tmp_path / 'page.html')
        wanted = sorted({'a': '11111111', 'b': '22222222', 'c': '11111111', 'd': '–'}[name] for name in chosen)
        for table, times in (('Table of tests', 1), ('Results on frozen features', 2)):
            cells = [row[-1].strip() for row in page.table(table)[1:]]
            assert all(cell.startswith('≠') == marked for cell in cells)
            shown = [cell.removeprefix('≠').strip() for cell in cells]
            assert sorted(shown) == sorted(wanted * times)
            assert len([1 for one, other in zip(shown, shown[1:]) if one != other]) == len(set(wanted)) - 1  # together
        assert ('a (11111111)' in str(page.table('Accuracy by class')[0])) == marked


def test_what_each_split_has_seen(tmp_path, capsys):
    """Of a mean over splits: on the screen, in test_log.md and on the page."""
    scores = VideoScores(np.arange(4), np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], np.array([0, 0, 1, 1]), np.ones(4))
    stats = {**summarise(scores, np.arange(4)), 'hash': '0123abcd'}
    args = Namespace(net='resnet18', dataset='six', num_seq=3, seq_len=5, ds=1, fps=0, img_dim=32)
    seen = ['pretraining saw 6 of these 9 test videos', None, 'pretraining saw 2 of these 9 test videos']
    report_mean(tmp_path, facts_of(args, 'a, b, c', 'splits 1 to 3', seen), {split: {'every video': stats} for split in (1, 2, 3)})
    lines = ['split 1: pretraining saw 6 of these 9 test videos', 'split 3: pretraining saw 2 of these 9 test videos']
    assert capsys.readouterr().out.splitlines()[:2] == lines
    assert all(f'- seen in {line}\n' in (tmp_path / 'test_log.md').read_text() for line in lines)
    assert report(tmp_path, '--out', tmp_path / 'page.html') == 0
    assert f'six, splits 1 to 3; {"; ".join(lines)}' in ''.join(Page(tmp_path / 'page.html').texts)
