"""The sources of a report: finds the folders of runs and reads the files in them."""
import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from eval.classify.outputs import seen_lines
from eval.forecast.pairs import cell_of, headline, lines_of_left_out
from eval.page.pictures import albums_of
from eval.protocols.verdict import verdict
from utils.cli import UserError, warn
from utils.run.read_log import read_records, state
from utils.text import ENCODING

PREDICTION_COLUMNS = ['path', 'label', 'prediction', 'probability']
RESULT_COLUMNS = ['weights', 'feature', 'protocol', 'setting', 'metric', 'value', 'low', 'high', 'videos']


@dataclass
class Training:
    """flags: of args.json. log: records of log.jsonl. state: how it ended. albums: see eval.page.pictures."""
    name: str
    path: Path
    flags: dict
    log: pd.DataFrame
    state: str
    albums: list

    @property
    def warnings(self):
        """[(epoch, text)] of the warnings of the run."""
        if not {'kind', 'text'} <= set(self.log):
            return []
        found = self.log[self.log.kind == 'warning']
        return list(zip(found.epoch.astype(int), found.text))


@dataclass
class Test:
    """facts: {name: str} and table: [{column: str}] of the last section of test_log.md. predictions: of the csv."""
    name: str
    path: Path
    flags: dict
    facts: dict
    table: list
    predictions: pd.DataFrame

    @property
    def seen(self):
        """Lines on test videos that training has seen."""
        return seen_lines(self.facts)


@dataclass
class Frozen:
    """rows: results.json. facts: lines of results.md. verdict: in a sentence. gains: gains.json of
    eval/anticipate.py."""
    name: str
    path: Path
    rows: pd.DataFrame
    facts: list
    albums: list
    verdict: str
    gains: list = field(default_factory=list)


@dataclass
class Prediction:
    """numbers: visualise.json."""
    name: str
    path: Path
    numbers: dict
    albums: list


@dataclass
class Surprise:
    """numbers: surprise.json."""
    name: str
    path: Path
    numbers: dict
    albums: list

    @property
    def pairs(self):
        """What --pairs found: (headline, [(measure, curve, text), …], lines on what was left out), None without."""
        found = self.numbers.get('pairs')
        if not found:
            return None
        rows = [(measure, curve, cell_of(each))
                for measure, curves in found['accuracy'].items() for curve, each in curves.items()]
        return headline(found), rows, lines_of_left_out(found['left_out'])


@dataclass
class Sources:
    training: list = field(default_factory=list)
    tests: list = field(default_factory=list)
    frozen: list = field(default_factory=list)
    predictions: list = field(default_factory=list)
    surprise: list = field(default_factory=list)


def find_sources(given):
    """The Sources of the folders `given`, or below them; one without any is a warning. UserError: all are without, one
    is no folder, or a file is damaged."""
    folders, empty = {}, []  # in the order given, each once
    for path in map(Path, given):
        if not path.is_dir():
            raise UserError(f'{path} is no folder: give the folders of runs')
        found = [path] if markers_in(path) else sorted({file.parent for name in READERS for file in path.rglob(name)})
        if not found:
            empty.append(f'{path}: neither this folder nor any below it is a run ({", ".join(READERS)})')
        folders.update({folder.resolve(): None for folder in found})
    if not folders:
        raise UserError(empty[0])
    for line in empty:
        warn(line)
    sources = Sources()
    for folder, name in zip(folders, names_of(list(folders))):
        for marker in markers_in(folder):
            kind, read = READERS[marker]
            getattr(sources, kind).append(read(name, folder))
    return sources


def markers_in(folder):
    """Which of the files that READERS name a folder has."""
    return [name for name in READERS if (folder / name).is_file()]


def names_of(folders):
    """Short names: X of log_X/{experiment}, else the folder; as much of the path as tells them apart."""
    def short(folder, parts):
        names = folder.parts[-parts:]
        if parts == 1 and folder.parent.name.startswith('log_'):
            return folder.parent.name.removeprefix('log_')
        return '/'.join(names)

    names = {folder: short(folder, 1) for folder in folders}
    for parts in range(2, max((len(folder.parts) for folder in folders), default=2) + 1):
        alike = [folder for folder in folders if list(names.values()).count(names[folder]) > 1]
        names.update({folder: short(folder, parts) for folder in alike})
    return list(names.values())


# ---- one folder

def read_training(name, path):
    records = read_records(path / 'log.jsonl')
    return Training(name, path, read_flags(path), pd.DataFrame(records),
                    state(records, path / 'log.jsonl').split(';')[0], albums_of('training', path))


def read_flags(path):
    return read_json(path / 'args.json', dict) if (path / 'args.json').is_file() else {}


def read_test(name, path):
    sections = (path / 'test_log.md').read_text(**ENCODING).split('\n## ')
    lines = sections[-1].splitlines()
    facts = dict(line[2:].split(': ', 1) for line in lines if line.startswith('- ') and ': ' in line)
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('|')]
    table = [dict(zip(cells[0], row)) for row in cells[2:]]
    return Test(name, path, read_flags(path), facts, table, read_predictions(path / 'predictions.csv'))


def read_predictions(path):
    """predictions.csv, empty if a test of several splits has it in its subfolders. Class names stay as they are: 'NA'
    is no missing value."""
    if not path.is_file():
        return pd.DataFrame(columns=PREDICTION_COLUMNS)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding='utf-8',
                            encoding_errors='surrogateescape')
        table = table[PREDICTION_COLUMNS]
        return table.assign(probability=table.probability.astype(float))
    except (ValueError, KeyError) as error:
        raise UserError(f'{path} is damaged: it has no columns {", ".join(PREDICTION_COLUMNS)} with numbers in the '
                        'last; run the test again') from error


def read_frozen(name, path):
    rows, differences, facts = read_results(path)
    gains = read_json(path / 'gains.json', list) if (path / 'gains.json').is_file() else []
    return Frozen(name, path, pd.DataFrame(rows), facts, albums_of('frozen', path), verdict(rows, differences), gains)


def read_results(path):
    """(rows of results.json, rows of differences.json, facts of results.md) in the folder of a frozen evaluation."""
    rows = read_json(path / 'results.json', list)
    lacking = [column for column in RESULT_COLUMNS if column not in pd.DataFrame(rows)]
    if lacking:
        raise UserError(f'{path / "results.json"}: its rows have no {", ".join(lacking)}; only results.json of '
                        'eval/frozen.py and commands like it can be reported')
    facts = []
    if (path / 'results.md').is_file():
        facts = [line[2:] for line in (path / 'results.md').read_text(**ENCODING).splitlines()
                 if line.startswith('- ')]
    differences = read_json(path / 'differences.json', list) if (path / 'differences.json').is_file() else []
    return rows, differences, facts


def read_prediction(name, path):
    return Prediction(name, path, read_json(path / 'visualise.json', dict), albums_of('predictions', path))


def read_surprise(name, path):
    return Surprise(name, path, read_json(path / 'surprise.json', dict), albums_of('surprise', path))


def read_json(path, kind):
    """UserError: not JSON, or not of this kind."""
    try:
        value = json.loads(path.read_text(**ENCODING))
    except ValueError as error:
        raise UserError(f'{path} is damaged ({error}): run the command that writes it again') from error
    if not isinstance(value, kind):
        raise UserError(f'{path} holds a {type(value).__name__}, where a {kind.__name__} is expected')
    return value


READERS = {  # by the file that a kind of folder has
    'log.jsonl': ('training', read_training),
    'test_log.md': ('tests', read_test),
    'results.json': ('frozen', read_frozen),
    'visualise.json': ('predictions', read_prediction),
    'surprise.json': ('surprise', read_surprise),
}
