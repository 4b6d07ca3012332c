"""The steps of a study: each function calls a script of this repository and returns the result that its step stores."""
import csv
import json
import shutil
import time

import numpy as np

from experiments.data.puppets import NUISANCES
from experiments.run_script import run, run_folder
from utils.run.read_log import read_records

# Data sets that are made here: (name of its script, flags). The demo gets more labelled videos than
# in `make demo`: 64 for testing would give intervals of ±12 points. Each video of demo8 has one of eight
# appearances. In puppets3 the first three of NUISANCES vary, in puppets all.
DEMO = {'videos_per_class': 80, 'unlabelled': 2560}
MAKERS = {'demo': ('demo', DEMO), **{f'demo{count}': ('demo', {**DEMO, 'appearances': count}) for count in (2, 8, 64)},
          'puppets': ('puppets', {}),
          **{f'puppets{count}': ('puppets', {'fixed': NUISANCES[count:]}) for count in range(len(NUISANCES))}}
TRAINING = {'net': 'resnet18', 'lr': 5e-4, 'print_freq': 20, 'keep': 1, 'resume': 'auto'}
PRETRAINING = {**TRAINING, 'pred_step': 2, 'val_fraction': 0.05}
# The last epoch of a falling rate is tested: to choose one by so few validation videos would add noise.
FINETUNING = {**TRAINING, 'lr': 1e-3, 'train_what': 'ft', 'val_fraction': 0.1, 'schedule': 'cosine'}
LABELS = {'all labels': 1, '20% of labels': 0.2}  # of fine-tuning
# differences from the default: (flags of dpc/main.py, flags of eval/test.py)
VARIANTS = {
    'default': ({}, {}),
    'parallel': ({'prediction': 'parallel'}, {}),
    'pooled': ({'feature_map': 'pooled'}, {}),
    'cpv2': ({'clips_per_video': 2}, {}),
    'cpv4': ({'clips_per_video': 4}, {}),
    'cpv8': ({'clips_per_video': 8}, {}),
    'long': ({'num_seq': 6}, {}),
    'further': ({'num_seq': 6, 'pred_step': 4}, {}),
    'batch32': ({'batch_size': 32}, {}),
    'cosine': ({'schedule': 'cosine', 'warmup_epochs': 1}, {}),
    'dropout09': ({}, {'dropout': 0.9}),
    'all': ({}, {'train_what': 'all'}),
}


def make_data(study):
    if study.data not in MAKERS:
        return
    dataset, flags = MAKERS[study.data]
    roots = {name: study.folder / 'data' / name for name in (study.labelled, study.unlabelled, 'splits')}
    run(f'experiments/data/make_{dataset}.py', video_root=roots[study.labelled],
        unlabelled_root=roots[study.unlabelled], split_root=roots['splits'], **flags)
    for name in (study.labelled, study.unlabelled):
        frames = study.folder / 'data' / f'{name}_frames'
        run('process_data/extract_frames.py', dataset=name, video_root=roots[name], frame_root=frames, packed=True)
        run('process_data/write_csv.py', dataset=name, frame_root=frames, split_root=roots['splits'],
            csv_root=study.flags['csv_root'])


def pretrain(study, variant, seed, epochs):
    """Pretrains up to `epochs` epochs in all; returns the clips, and the minutes that their training took."""
    flags = {**study.flags, **study.clip, **study.batches, **PRETRAINING, **VARIANTS[variant][0]}
    run('dpc/main.py', **flags, dataset=study.unlabelled, seed=seed, epochs=epochs, prefix=f'{variant}-{seed}',
        log_dir=study.folder)
    done = [record for record in records(study, variant, seed) if record['kind'] == 'train']
    clips = np.diff([0] + [record['iteration'] * flags['batch_size'] for record in done])
    seconds = sum(count / record['clips_per_s'] for count, record in zip(clips, done))
    return {'clips': int(clips.sum()), 'minutes': seconds / 60}


def measure(study):
    """Speed and seconds of an epoch, of saving and of starting, from a first epoch, with which pretraining begins."""
    started = time.monotonic()
    trained = pretrain(study, 'default', 0, 1)
    logged = {record['kind']: record for record in records(study, 'default', 0)}  # the last of each kind
    train, val, end = (logged[kind] for kind in ('train', 'val', 'end'))
    epoch = 60 * trained['minutes'] + end['time'] - train['time']  # with validation and saving
    return {'clips_per_s': train['clips_per_s'], 'epoch': epoch, 'save': end['time'] - val['time'],
            'start': max(0., time.monotonic() - started - epoch)}


def records(study, variant, seed):
    return read_records(run_folder(study.folder, f'{variant}-{seed}') / 'log.jsonl')


def newest(study, name):
    """The newest epoch of a run, the only one that it keeps besides the best."""
    path, = (run_folder(study.folder, name) / 'model').glob('epoch*.pth.tar')
    return path


def evaluate_random(study):
    """Rows of random weights and of appearance."""
    return run_frozen(study, weights='random', **study.clip)


def evaluate(study, variant, epoch):
    """Rows of a variant's features after `epoch` epochs: the mean over seeds."""
    seeds = range(study.args.seeds)
    rows = run_frozen(study, weights=[newest(study, f'{variant}-{seed}') for seed in seeds], mean=True, no_random=True,
                      protocols=['retrieval', 'knn', 'probe'])
    trained = [study.result(f'pretrain {variant} {seed} to {epoch}') for seed in seeds]
    more = {'variant': variant, 'epoch': epoch, **{name: float(np.mean([each[name] for each in trained]))
                                                   for name in ('clips', 'minutes')}}
    return [{**row, 'weights': 'pretrained', **more} for row in rows]


def run_frozen(study, **flags):
    out = study.folder / 'frozen'
    run('eval/frozen.py', **study.flags, dataset=study.labelled, out=out, no_pictures=True, **flags)
    rows = json.loads((out / 'results.json').read_text())
    with np.load(out / 'hits.npz') as of_videos:
        group = of_videos['group'].tolist()
        return [{**row, 'hits': hits.tolist(), 'group': group} for row, hits in zip(rows, of_videos['hits'])]


def finetune(study, variant, origin, setting, seed):
    """Trains and tests a classifier; returns {path of a test video: whether it was right, 0 or 1}."""
    name = f'{variant}-{origin}-{LABELS[setting]}-{seed}'
    weights = 'random' if origin == 'random' else newest(study, f'{study.pretraining_of(variant)}-{seed}')
    flags = {**study.flags, **study.clip, **study.batches, **FINETUNING, **VARIANTS[variant][1]}
    run('eval/test.py', **flags, dataset=study.labelled, pretrain=weights, label_fraction=LABELS[setting], seed=seed,
        epochs=study.result('size of finetuning')[setting], prefix=name, log_dir=study.folder)
    tested = study.folder / f'log_test-{name}'
    if tested.exists():  # by a study that was stopped at this step
        shutil.rmtree(tested)
    run('eval/test.py', **study.flags, dataset=study.labelled, test=newest(study, name), prefix=f'test-{name}',
        batch_size=study.args.batch_size, log_dir=study.folder)
    shutil.rmtree(run_folder(study.folder, name) / 'model')  # 350 MB each
    with open(run_folder(study.folder, f'test-{name}') / 'predictions.csv', newline='') as file:
        return {row['path']: int(row['label'] == row['prediction']) for row in csv.DictReader(file)}
