"""What a checkpoint holds: one table of its fields, and whether the state in it fits an optimiser and a schedule."""
import numbers
import sys

import torch

from utils.cli import UserError

# What an optimiser keeps for each parameter; all but `step` have the parameter's shape.
OPTIMIZER_TENSORS = {'Adam': {'step', 'exp_avg', 'exp_avg_sq'}, 'AdamW': {'step', 'exp_avg', 'exp_avg_sq'},
                     'SGD': {'momentum_buffer'}}


# ---- what a checkpoint holds

def is_count(value, least=0):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and least <= value < 2 ** 63


def is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_name(value):
    """One line of text: names are printed."""
    return isinstance(value, str) and value.splitlines() == [value]


def is_dense(value):
    """Whether it is a plain tensor on the CPU: not sparse, nested, quantised or without storage (meta)."""
    return (type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout is torch.strided
            and value.device.type == 'cpu' and not value.is_nested and not value.is_quantized)


def is_state_dict(value):
    return isinstance(value, dict) and value != {} and all(map(is_name, value)) and all(map(is_dense, value.values()))


def is_optimizer(value):
    if not isinstance(value, dict):
        return False
    groups, state = value.get('param_groups'), value.get('state')
    return (isinstance(groups, list) and len(groups) > 0 and all(isinstance(group, dict) for group in groups)
            and all(isinstance(group.get('params'), list) and all(map(is_count, group['params'])) for group in groups)
            and isinstance(state, dict)
            and all(is_count(key) and (tensors == {} or is_state_dict(tensors)) for key, tensors in state.items()))


def is_schedule(value):
    return isinstance(value, dict) and all(map(is_name, value)) and is_count(value.get('last_epoch'))


def is_scaler(value):
    return isinstance(value, dict) and all(map(is_name, value)) and all(map(is_number, value.values()))


def is_averages(value):
    return (isinstance(value, dict) and isinstance(value.get('sums'), dict) and all(map(is_name, value['sums']))
            and all(map(is_number, value['sums'].values())) and is_number(value.get('weight')) and value['weight'] >= 0)


def is_settings(value):
    if not (isinstance(value, dict) and value.get('model') in ('dpc-rnn', 'lc') and is_name(value.get('net'))):
        return False
    names = value.get('class_names')
    return (all(is_count(value.get(name), least=1) for name in ('img_dim', 'num_seq', 'seq_len', 'ds'))
            and is_count(value.get('pred_step', 1), least=1)  # pretraining's; older files lack these three
            and value.get('prediction', 'sequential') in ('sequential', 'parallel')
            and value.get('feature_map', 'dense') in ('dense', 'pooled')
            and isinstance(value.get('multi_label', False), bool)  # only classifiers of several labels have it
            and (value['model'] != 'lc' or isinstance(names, list) and len(names) > 0 and all(map(is_name, names))))


COUNT = (is_count, 'a whole number, 0 or more')
FIELDS = {  # name: (check, what it must be)
    'epoch': COUNT,      # the next one to train; so are `step` (in the epoch) and `iteration` (in the run)
    'step': COUNT,
    'iteration': COUNT,
    'net': (is_name, 'the name of a net'),
    'best_acc': (is_number, 'a finite number'),
    'state_dict': (is_state_dict, 'a dict of dense tensors by name'),
    'optimizer': (is_optimizer, 'the state of an optimiser, `state` and `param_groups`'),
    'schedule': (is_schedule, 'the state of a learning rate schedule'),
    'scaler': (is_scaler, 'a dict of finite numbers'),
    'averages': (is_averages, '`sums` and `weight` of finite numbers'),
    'replaced': COUNT,
    'skipped': COUNT,
    'log_size': COUNT,
    'precision': (is_name, 'the name of a precision'),
    'settings': (is_settings, 'model, net, img_dim, num_seq, seq_len, ds, the class_names of a classifier and whether '
                              'it is multi_label, and the pred_step, prediction and feature_map of pretraining'),
}
OPTIONAL = {'settings', 'precision'}                   # runs from before they were stored can be resumed
FOR_WEIGHTS = {'net', 'state_dict', 'settings'}        # all that matters to a file that only gives its weights


def check_fields(checkpoint, origin, resumable):
    """UserError unless the fields are as in FIELDS: all of them to resume a run, else those present in FOR_WEIGHTS."""
    if not all(map(is_name, checkpoint)):
        odd = next(key for key in checkpoint if not is_name(key))
        raise UserError(f'{origin} is not a checkpoint: it has a key {brief(odd)}, not only names; give a .pth.tar of '
                        'a run')
    lacking = FIELDS.keys() - OPTIONAL - checkpoint.keys() if resumable else ()
    if lacking:
        raise UserError(f'{origin}: it has no {", ".join(sorted(lacking))}: only runs of this project can be resumed; '
                        'give it to --pretrain to start from its weights')
    for name, (check, wanted) in FIELDS.items():
        if name in checkpoint and (resumable or name in FOR_WEIGHTS) and not check(checkpoint[name]):
            raise UserError(f'{origin}: its {name} is not {wanted} (it holds {brief(checkpoint[name])}); the file is '
                            'damaged or was written by another program: take another one')
    in_fp16 = resumable and checkpoint['scaler'].get('scale', 1.) != 1.  # skips steps while it searches for its scale
    if resumable and checkpoint['iteration'] > checkpoint['skipped'] and not (
            checkpoint['optimizer']['state'] or in_fp16):
        raise UserError(f'{origin}: it has no state of the optimiser after {checkpoint["iteration"]} steps; give it to '
                        '--pretrain to start from its weights')


def brief(value):
    """A value in a few words, for messages."""
    if value is None or isinstance(value, (bool, float, str)) or isinstance(value, int) and abs(value) < 2 ** 63:
        return repr(value)[:40]
    is_empty = isinstance(value, (dict, list, tuple)) and not value
    return f'{"an empty" if is_empty else "a"} {type(value).__name__}'


# ---- optimiser and schedule

def check_optimizer_state(optimizer, state):
    """ValueError unless `state` (a state_dict) is of this optimiser's groups and of parameters of the same shapes.

    torch compares only the number of parameters; its fused optimisers then read and write beyond smaller tensors."""
    groups, saved_groups = optimizer.param_groups, state['param_groups']
    sizes, saved_sizes = ([len(group['params']) for group in part] for part in (groups, saved_groups))
    if sizes != saved_sizes:
        raise ValueError(f'it has groups of {saved_sizes} parameters, the model of {sizes}')
    keys = [key for group in saved_groups for key in group['params']]
    if len(set(keys)) < len(keys):
        raise ValueError('it lists a parameter twice')
    if state['state'].keys() - set(keys):
        raise ValueError('it holds the state of parameters that it does not list')
    for group, saved in zip(groups, saved_groups):
        fitting_state({key: value for key, value in group.items() if key != 'params'}, saved, 'param_groups')
    names = OPTIMIZER_TENSORS[type(optimizer).__name__]
    for key, parameter in zip(keys, (parameter for group in groups for parameter in group['params'])):
        tensors = state['state'].get(key)
        if not tensors:
            continue  # no step yet
        if tensors.keys() != names:
            raise ValueError(f'it holds {", ".join(sorted(tensors))[:60]} for parameter {key}, not '
                             f'{", ".join(sorted(names))}')
        for name, tensor in tensors.items():
            shape = [] if name == 'step' else list(parameter.shape)
            if list(tensor.shape) != shape or not tensor.is_floating_point():
                raise ValueError(f'its {name} for parameter {key} is {list(tensor.shape)}, {tensor.dtype}, not {shape}, '
                                 f'{parameter.dtype}')


def fitting_state(own, saved, name):
    """Those entries of the dict `saved` that `own` has too. ValueError, saying where in `name`, unless they are alike:
    dicts, lists of the same length, numbers, strings. What another version of torch leaves out or adds is let pass,
    except for numbers and lists, which it would have no value for."""
    for key, value in own.items():
        if key in saved:
            check_like(value, saved[key], f'{name}.{key}')
        elif not (value is None or isinstance(value, bool) or key.startswith('_')):
            raise ValueError(f'it has no {name}.{key}')
    return {key: value for key, value in saved.items() if key in own}


def check_like(own, saved, name):
    """ValueError unless the plain value `saved` could take the place of `own`."""
    if isinstance(own, dict):
        fits = isinstance(saved, dict)
        if fits:
            fitting_state(own, saved, name)
    elif isinstance(own, (list, tuple)):
        fits = isinstance(saved, (list, tuple)) and len(saved) == len(own)
        if fits:
            for i, (mine, theirs) in enumerate(zip(own, saved)):
                check_like(mine, theirs, f'{name}[{i}]')
    elif own is None or isinstance(own, bool):
        fits = saved is None or isinstance(saved, bool)
    elif isinstance(own, str):
        fits = isinstance(saved, str)
    else:
        fits = is_number(saved)
    if not fits:
        raise ValueError(f'its {name} is {brief(saved)}')
