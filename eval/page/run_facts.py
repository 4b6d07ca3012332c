"""What a run folder and frozen evaluations say about one checkpoint, for its model card. No names of folders of this
machine: of paths only the last part."""
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eval.networks.weights import files_behind, hash_of
from eval.page.sources import read_flags, read_json, read_results
from eval.page.tables import trained_seconds
from eval.protocols.verdict import verdict
from utils.cli import UserError
from utils.run.read_log import duration, read_records

NOT_STATISTICS = {'time', 'kind', 'iteration', 'epoch', 'epochs', 'replaced', 'skipped'}
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
    facts = {'checkpoint': {'name': Path(weights).name, 'sha256': hash_of(files_behind(weights))}}
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


class NoHashes(UserError):
    """Of a results.json that doesn't say which files it is of."""


def results_of(weights, hashes, given=None):
    """[FrozenResults] of the folders `given`; if None, of the one beside the run folders, if only one is about these
    weights. hashes: sha256 of the files that hold them, as checkpoint or model folder. UserError: a folder given is
    about others."""
    if given is not None:
        return [frozen_results(weights, hashes, Path(folder)) for folder in given]
    found, run = {}, run_folder(weights)
    for file in sorted(run.parent.parent.glob('*/results.json')) if run else []:
        try:
            found[file.parent] = frozen_results(weights, hashes, file.parent)
        except NoHashes as error:
            print(f'not taken: {error}')
        except UserError:  # of others, or damaged
            pass
    if len(found) > 1:
        print(f'{len(found)} frozen evaluations of these weights, none is taken: choose with --results '
              + ' '.join(map(str, found)))
        return []
    for folder in found:
        print(f'frozen evaluation: {folder}')
    return [*found.values()]


def frozen_results(weights, hashes, folder):
    """The FrozenResults of a folder. Paths don't tell whose they are: a file may be replaced. UserError: the folder has
    no results.json, or one about other weights; NoHashes: an earlier version wrote it."""
    if not (folder / 'results.json').is_file():
        raise UserError(f'--results {folder} has no results.json: give the --out folder of eval/frozen.py')
    rows, differences, facts = read_results(folder)
    if any('sha256' not in row for row in rows):
        raise NoHashes(f'{folder / "results.json"} does not say by sha256 which files it is of, as earlier versions '
                       f'wrote it: evaluate {weights} again with eval/frozen.py')
    own = [row['weights'] for row in rows if row['sha256'] in [[each] for each in hashes]]
    if not own:
        names = ', '.join(dict.fromkeys(row['weights'] for row in rows))
        raise UserError(f'--results {folder} is about other weights, or a mean over several files ({names}): evaluate '
                        f'{weights} with eval/frozen.py, and give its --out folder')
    rows = [row for row in rows if row['weights'] in (own[0], 'random', 'none')]
    differences = [row for row in differences if (row['weights'], row['than']) == (own[0], 'random')]
    facts = [FOLDERS.sub('', fact.split('; results.json')[0]) for fact in facts]  # the card has no results.json
    return FrozenResults(own[0], rows, facts, verdict(rows, differences))
