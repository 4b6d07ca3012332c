"""What a run folder and frozen evaluations say about one checkpoint, for its model card. No names of folders of this
machine: of paths only the last part."""
import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eval.page.sources import read_flags, read_json, read_results
from eval.page.tables import trained_seconds
from eval.protocols.verdict import verdict
from utils.cli import UserError
from utils.model_folder import weights_file, weights_hash
from utils.run.read_log import duration, read_records

NOT_STATISTICS = {'time', 'kind', 'iteration', 'epoch', 'epochs', 'replaced'}
FOLDERS = re.compile(r'(?<!\S)/\S*/(?=\S)')  # of an absolute path


def training_facts(weights, checkpoint):
    """Plain values about the training that led to the checkpoint at `weights`, for config.json:

    checkpoint      {name, sha256} of the file
    run             name of the run folder; this and what follows only if `weights` is in one
    flags           {flag: value} that the run began with
    resumed_with    [{flag: value}], those that differed at each later start
    git_revisions   of all starts
    clips           seen up to this checkpoint
    time            that it took, in words
    validation      {name: value}, the last one
    warnings        [str] of the run

    Those of a model folder are taken over."""
    if 'training' in checkpoint:
        return checkpoint['training']
    facts = {'checkpoint': {'name': Path(weights).name, 'sha256': weights_hash(weights)}}
    run = run_folder(weights)
    if run is None:
        return facts
    first, *later = [without_folders(flags) for flags in flags_of_starts(run)]
    revisions = [flags.pop('git_revision', 'unknown') for flags in (first, *later)]
    facts |= {'run': run.name, 'flags': first, 'git_revisions': list(dict.fromkeys(revisions)),
              'resumed_with': [{name: value for name, value in flags.items() if first.get(name) != value}
                               for flags in later]}
    iteration = checkpoint.get('iteration')
    if iteration is None:
        return facts
    if 'batch_size' in first:
        facts['clips'] = iteration * first['batch_size']
    return facts | logged_facts(run, iteration)


def run_folder(weights):
    """That of a checkpoint {run}/model/{file}; None if it is in none."""
    run = Path(weights).resolve().parent.parent
    return run if (run / 'args.json').is_file() else None


def flags_of_starts(run):
    """The flags of each start of a run, from args.json, args-2.json, …"""
    later = [int(match[1]) for match in (re.fullmatch(r'args-(\d+)\.json', path.name) for path in run.iterdir())
             if match]
    return [read_flags(run), *(read_json(run / f'args-{number}.json', dict) for number in sorted(later))]


def without_folders(flags):
    """The flags with only the last part of each path; those whose value is one, as --log_dir, keep it, too."""
    def short(value):
        if isinstance(value, list):
            return [*map(short, value)]
        return Path(value).name if isinstance(value, str) and os.sep in value else value

    return {name: short(value) for name, value in flags.items()}


def logged_facts(run, iteration):
    """What log.jsonl says up to an iteration."""
    if not (run / 'log.jsonl').is_file():
        return {}
    records = [record for record in read_records(run / 'log.jsonl')
               if record['kind'] != 'end' and record.get('iteration', 0) <= iteration]
    validations = [record for record in records if record['kind'] == 'val']
    found = {'time': duration(trained_seconds(pd.DataFrame(records))),
             'warnings': [record['text'] for record in records if record['kind'] == 'warning' and 'text' in record]}
    if validations:
        found['validation'] = {name: value for name, value in validations[-1].items() if name not in NOT_STATISTICS}
    return found


# ---- frozen evaluations

@dataclass
class FrozenResults:
    """Of one folder: the rows of results.json about some weights and about the baselines, facts, verdict."""
    weights: str
    rows: list
    facts: list
    verdict: str


def results_of(weights, given=None):
    """[FrozenResults] of the folders `given`; if None, of the one beside the run folders, if only one is about these
    weights. UserError: a folder given is about others."""
    if given is not None:
        return [frozen_results(weights, Path(folder)) for folder in given]
    found, run = {}, run_folder(weights)
    for file in sorted(run.parent.parent.glob('*/results.json')) if run else []:
        with contextlib.suppress(UserError):  # of others, or damaged
            found[file.parent] = frozen_results(weights, file.parent)
    if len(found) > 1:
        print(f'{len(found)} frozen evaluations of these weights, none is taken: choose with --results '
              + ' '.join(map(str, found)))
        return []
    for folder in found:
        print(f'frozen evaluation: {folder}')
    return [*found.values()]


def frozen_results(weights, folder):
    """The FrozenResults of a folder. UserError: it has no results.json, or it is about other weights."""
    if not (folder / 'results.json').is_file():
        raise UserError(f'--results {folder} has no results.json: give the --out folder of eval/frozen.py')
    rows, differences, facts = read_results(folder)
    names = list(dict.fromkeys(row['weights'] for row in rows))
    own = [name for name in names if is_of(name, weights)]
    if not own:
        raise UserError(f'--results {folder} is about other weights ({", ".join(names)}): evaluate {weights} with '
                        'eval/frozen.py, and give its --out folder')
    rows = [row for row in rows if row['weights'] in (own[0], 'random', 'none')]
    differences = [row for row in differences if (row['weights'], row['than']) == (own[0], 'random')]
    facts = [FOLDERS.sub('', fact.split('; results.json')[0]) for fact in facts]  # the card has no results.json
    return FrozenResults(own[0], rows, facts, verdict(rows, differences))


def is_of(name, weights):
    """Whether `name`, which results.json calls its weights, are those at `weights`: the same content, or where the file
    is gone the same end of its path, {run}/model/{file}."""
    if weights_file(name).is_file():
        return weights_hash(name) == weights_hash(weights)
    return Path(name).parts[-3:] == Path(weights).resolve().parts[-3:]
