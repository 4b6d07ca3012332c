"""Optimisers and learning rate schedules by name."""
import math
import warnings

import torch

from utils.cli import UserError

OPTIMIZERS = ('adam', 'adamw', 'sgd')
HYPERPARAMETER = {'Adam': 'betas', 'AdamW': 'betas', 'SGD': 'momentum'}  # which the other kind doesn't have
SCHEDULES = ('constant', 'step', 'cosine')
SGD_MOMENTUM = 0.9
STEP_FACTOR = 0.1  # of the learning rate at each milestone


def make_optimizer(name, groups, lr, wd):
    """torch's optimiser `name` over parameter `groups`, in its fused form: one pass over the weights per step."""
    if name == 'sgd':
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=SGD_MOMENTUM, weight_decay=wd, fused=True)
        for group in optimizer.param_groups:
            for parameter in group['params']:  # PyTorch leaves it uninitialised when the scaler skips the first step
                optimizer.state[parameter]['momentum_buffer'] = torch.zeros_like(parameter)
        return optimizer
    kind = torch.optim.AdamW if name == 'adamw' else torch.optim.Adam
    return kind(groups, lr=lr, weight_decay=wd, fused=True)


def load_optimizer(optimizer, state):
    """Loads a state_dict that was saved on any device. ValueError if it belongs to other parameters.

    torch compares only the number of parameters, but its fused optimisers walk weights and moments side by side: with
    moments of another shape they read beyond the end, in another memory layout they pair the wrong elements. (Weights
    have another layout on GPUs than on the CPU.)
    """
    if not all(HYPERPARAMETER[type(optimizer).__name__] in group for group in state['param_groups']):
        raise ValueError('it was saved by another kind of optimiser')
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    keys = [key for group in state['param_groups'] for key in group['params']]
    for key, parameter in zip(keys, parameters):
        for name, value in state['state'].get(key, {}).items():
            if name != 'step' and value.shape != parameter.shape:
                raise ValueError(f'its {name} for parameter {key} is {list(value.shape)}, not {list(parameter.shape)}')
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def make_schedule(name, optimizer, epochs, milestones=(), warmup_epochs=0):
    """The schedule `name`, to be stepped by `step_schedule` after every epoch.

    constant; step: × 0.1 after each epoch in `milestones`; cosine: to zero over `epochs`. The learning rate rises
    linearly over the first `warmup_epochs`.
    """
    def factor(epoch):
        if epoch < warmup_epochs:
            return (epoch + 1) / (warmup_epochs + 1)
        if name == 'step':
            return STEP_FACTOR ** sum(epoch >= milestone for milestone in milestones)
        if name == 'cosine':
            return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / max(1, epochs - warmup_epochs)))
        return 1.

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def step_schedule(schedule):
    with warnings.catch_warnings():
        # PyTorch doesn't see the optimiser's steps of a run resumed after the last one of an epoch.
        warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step')
        schedule.step()


def set_learning_rate(optimizer, schedule, lr):
    """Scales every group's rate so that the highest initial rate is `lr`; the schedule continues from there."""
    if not max(schedule.base_lrs):
        raise UserError('--reset_lr: this run began with --lr 0, which cannot be scaled; start a new one with '
                        '--pretrain')
    factor = lr / max(schedule.base_lrs)
    for group in optimizer.param_groups:
        group['initial_lr'] *= factor
    schedule.base_lrs = [base * factor for base in schedule.base_lrs]
    follow_schedule(optimizer, schedule)


def follow_schedule(optimizer, schedule):
    """Sets every group's rate to that of the schedule: a run resumed with more --epochs is at another point of it."""
    for group, base, factor in zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas):
        group['lr'] = base * factor(schedule.last_epoch)
