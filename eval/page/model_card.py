"""The model card of a model folder: a README.md as the Hugging Face hub shows it, from config.json and frozen
evaluations alone."""
import shlex

from eval.protocols.anticipation import PROTOCOL, result_tables
from eval.protocols.results import short_names, table_lines
from utils.data.seen import CLASSIFIER, trainings_of
from utils.model_folder import LIBRARY, WEIGHTS
from utils.text import counted, printable

PAPER = '[Dense Predictive Coding](https://arxiv.org/abs/1909.04656)'
SHOWN_CLASSES = 20
COPIES = ('; of the pretraining task; `copy_last` and `copy_mean`: top-1 of copies of seen maps in place of '
          'predictions, `top1_shuffled`: of predictions from shuffled blocks')
READING = ('`random`: the same network with random weights; `none`: a frame or its colours without a network. Compare '
           'only numbers of one `hash`, which stands for lists, labels, clips and protocol.')
HEALTH = 'wrong_', 'guess_', 'spread', 'effective_rank'  # statistics that are left to config.json


def model_card(name: str, config: dict, size: int, results: list) -> str:
    """The text of README.md.

    name: of the folder. config: of utils.model_folder.packed, with 'training' of eval.page.run_facts and 'model' of
    eval/export.py. size: bytes of the weights. results: FrozenResults."""
    parts = [front_matter(config), f'# {name}', introduction(config), '## The model', *model_lines(config, size),
             '## What it was trained on', *training_lines(config), *evaluation_parts(results),
             '## How to load it', *loading_lines(name, config), '## How it was trained', *flag_lines(config)]
    return printable('\n\n'.join(parts)) + '\n'


def is_classifier(config):
    return config['model']['kind'] == 'classifier'


def front_matter(config):
    """YAML of the hub. No license: nothing in a run says it."""
    task, tag = (('video-classification', 'action-recognition') if is_classifier(config)
                 else ('feature-extraction', 'self-supervised'))
    tags = [LIBRARY, 'video', tag, 'pytorch', 'safetensors']
    return '\n'.join(['---', f'library_name: {LIBRARY}', f'pipeline_tag: {task}', 'tags:',
                      *(f'- {each}' for each in tags), '---'])


def introduction(config):
    net = f'backbone `{config["model"]["net"]}` and a ConvGRU'
    what = (f'An action classifier, {net}, of the code for {PAPER}.' if is_classifier(config) else
            f'Video features, {net}, pretrained by {PAPER}.')
    return (f'{what} This card was written by `eval/export.py` from the files of the run; nothing in it was typed '
            'by hand.')


def markdown_table(header, rows):
    """Lines of a table, as one text."""
    def line(cells):
        return '| ' + ' | '.join(str(cell).replace('|', '\\|') for cell in cells) + ' |'

    return '\n'.join([line(header), '|' + '---|' * len(header), *map(line, rows)])


# ---- the model

def model_lines(config, size):
    model, settings = config['model'], config.get('settings', {})
    size_of = '' if is_classifier(config) else f', D = {model["feature_size"]}'
    rows = [('input', f'`{model["input"]}`'), ('output', f'`{model["output"]}`{size_of}'),
            *clip_rows(settings, model['preprocessing']), *prediction_rows(settings),
            *class_rows(settings),
            ('weights', f'`{WEIGHTS}`, {size / 1e6:.1f} MB, {model["parameters"] / 1e6:.1f} million parameters'),
            ('sha256 of this file', f'`{config["sha256"]}`')]
    source = config['training']['checkpoint']
    rows += [('made from', f'`{source["name"]}`'), ('sha256 of that file', f'`{source["sha256"]}`'),
             ('license of the weights', 'unknown; it may depend on the videos')]
    return [markdown_table(('', ''), rows)]


def clip_rows(settings, preprocessing):
    """What the input is; of a checkpoint without settings what is assumed."""
    rate = f' of {settings["fps"]:g} frames a second' if settings.get('fps') else ''
    every = f'every {ordinal(preprocessing["ds"])} frame{rate}' if preprocessing['ds'] > 1 else f'every frame{rate}'
    known = '' if settings else '; assumed, as the checkpoint does not say'
    mean, std = (', '.join(f'{value:g}' for value in preprocessing[name]) for name in ('mean', 'std'))
    return [('clips', f'{preprocessing["num_seq"]} blocks of {preprocessing["seq_len"]} frames, {every}{known}'),
            ('preprocessing', f'frames {preprocessing["frames"]}; larger ones shrunk to a short side of '
                              f'{preprocessing["short_side"]} px; crop: {preprocessing["crop"]}; resized to '
                              f'{preprocessing["img_dim"]} px ({preprocessing["resize"]}); colours from 0 to 1, minus '
                              f'({mean}), divided by ({std})')]


def ordinal(number):
    """
    >>> ordinal(2), ordinal(3), ordinal(5), ordinal(12), ordinal(21)
    ('2nd', '3rd', '5th', '12th', '21st')
    """
    ending = 'th' if number % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')
    return f'{number}{ending}'


def prediction_rows(settings):
    if settings.get('model') == CLASSIFIER or 'pred_step' not in settings:
        return []
    how = [settings[name] for name in ('prediction', 'feature_map') if name in settings]
    return [('pretraining task', f'predict the last {counted(settings["pred_step"], "block")} from those before'
             + (f' ({", ".join(how)})' if how else ''))]


def class_rows(settings):
    names = settings.get('class_names')
    if not names:
        return []
    more = f', … {len(names) - SHOWN_CLASSES} more in `config.json`' if len(names) > SHOWN_CLASSES else ''
    several = '; a video may have several' if settings.get('multi_label') else ''
    return [('classes', f'{len(names)}: {", ".join(names[:SHOWN_CLASSES])}{more}{several}')]


# ---- the training

def training_lines(config):
    trainings = trainings_of(config)
    facts = config['training']
    if trainings:
        rows = [(each['dataset'], each['split'], f'{len(each["train_list"]["videos"]):,}',
                 'used' if each['model'] == CLASSIFIER else 'not used') for each in trainings]
        earlier = ' The first row is the last training, which began with the weights of the next.' * (len(rows) > 1)
        lines = [markdown_table(('data set', 'split', 'videos', 'labels'), rows),
                 f'Videos held out for validation are not counted.{earlier} `config.json` has hashes of the names of '
                 'all videos trained on, by which evaluations count the test videos among them.']
    else:
        lines = ['Unknown: the checkpoint does not say.']
    seen = [*([f'{facts["clips"]:,} clips seen'] if 'clips' in facts else []),
            *([f'{counted(config["iteration"], "step")}'] if 'iteration' in config else []),
            *([counted(config['epoch'], 'whole epoch')] if 'epoch' in config else []),
            *([f'{facts["time"]} of training and validation'] if 'time' in facts else [])]
    lines.append(', '.join(seen) + '.' if seen else 'How long it was trained is unknown.')
    if 'validation' in facts:
        shown = {name: f'{value:.4g}' for name, value in facts['validation'].items() if not name.startswith(HEALTH)}
        what = '' if is_classifier(config) else COPIES
        lines += [f'The last validation (1 is all right{what}):', markdown_table(shown, [shown.values()])]
    if facts.get('warnings'):
        lines += ['Warnings of the run:', '\n'.join(f'- {text}' for text in facts['warnings'])]
    return lines


def flag_lines(config):
    facts = config['training']
    if 'flags' not in facts:
        return ['Unknown: the checkpoint was not in the folder of its run.']
    revisions = ', '.join(f'`{each}`' for each in facts['git_revisions'])
    lines = [f'Run `{facts["run"]}`, code of revision {revisions}. All its flags, with only the last part of paths:',
             code('\n'.join(given_flags(facts['flags'])))]
    left_out = [f'`{spelled(name)}`' for name, value in facts['flags'].items() if not is_given(value)]
    if left_out:
        lines.append(f'Not given, or off: {", ".join(left_out)}.')
    if facts['resumed_with']:
        changes = [' '.join(given_flags(flags)) for flags in facts['resumed_with']]
        lines.append(f'It was resumed {", then ".join(f"with `{each}`" if each else "as it was" for each in changes)}.')
    return lines


def spelled(name):
    """The flag that args.json calls `name`; only one is published with a dash."""
    return '--start-epoch' if name == 'start_epoch' else f'--{name}'


def is_given(value):
    return value is not None and value is not False and value != []


def given_flags(flags):
    """['--net resnet18', '--sync_bn', …], those that are given."""
    given = {name: [] if value is True else value if isinstance(value, list) else [value]
             for name, value in flags.items() if is_given(value)}
    return [shlex.join([spelled(name), *map(str, words)]) for name, words in given.items()]


def code(text, language=''):
    return f'```{language}\n{text}\n```'


# ---- its evaluation

def evaluation_parts(results):
    early = [each for each in results if {row['protocol'] for row in each.rows} == {PROTOCOL}]
    frozen = [each for each in results if each not in early]
    parts = ['## Frozen evaluation', *([READING] if frozen else ['None was given (`--results` of `eval/export.py`).'])]
    for each in frozen:
        parts += result_parts(each, table_lines(each.rows, names=lambda columns, each=each: own_names(each, columns)))
    if early:
        parts += ['## Recognition before the end', READING]
    for each in early:
        weights = list(dict.fromkeys(row['weights'] for row in each.rows))
        parts += result_parts(each, result_tables(each.rows, [], dict(zip(weights, own_names(each, weights)))))
    return parts


def result_parts(each, table):
    """What is said of a FrozenResults, whose `table` is given in lines."""
    facts = '\n'.join(f'- {fact}' for fact in each.facts)
    return [part for part in (f'**{each.verdict}**' if each.verdict else '', facts, '\n'.join(table)) if part]


def own_names(each, columns):
    """What the weights in `columns` are called in a table of a FrozenResults."""
    return ['this model' if name == each.weights else short for name, short in zip(columns, short_names(columns))]


# ---- its use

def loading_lines(name, config):
    folder, entry = shlex.quote(name), 'dpc_classifier' if is_classifier(config) else 'dpc_features'
    commands = ([f'python eval/predict.py {{videos}} --weights {folder} --json',
                 f'python eval/test.py --dataset {{dataset}} --test {folder}'] if is_classifier(config) else
                [f'python eval/features.py {{videos}} --weights {folder} --out features.npz',
                 f'python eval/frozen.py --dataset {{dataset}} --weights {folder} --out frozen',
                 f'python eval/test.py --dataset {{dataset}} --pretrain {folder} --train_what ft'])
    batch = '' if config['model']['batch_norm_statistics'] else ', batch_statistics=True'
    lines = ['With the code and the packages `requirements.txt` and `safetensors`, this folder takes the place of a '
             'checkpoint:', code('\n'.join(commands), 'sh'),
             code(f"import torch\nmodel = torch.hub.load('{{clone of the code}}', {entry!r}, source='local', "
                  f'weights={name!r}{batch})\n'
                  "frames = model.transform.read('video.mp4')  # or your own: uint8 [F, H, W, 3], RGB, upright\n"
                  'clips = model.transform(frames)              # [K, N, 3, T, H, W]\n'
                  f'output = model(clips)                        # {config["model"]["output"]}', 'python')]
    if batch:
        lines.append('It has no BN statistics: the commands estimate them from training clips, and the line above '
                     'normalises by the batch.')
    return lines
