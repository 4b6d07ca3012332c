"""Optimisers and learning rate schedules by name."""
import math
import warnings

import torch

from utils.checkpoint_fields import check_optimizer_state

OPTIMIZERS = ('adam', 'adamw', 'sgd')
SCHEDULES = ('constant', 'step', 'cosine', 'plateau')
SGD_MOMENTUM = 0.9
PLATEAU_PATIENCE = 10  # epochs without a better validation loss before the rate drops


def make_optimizer(name, groups, lr, wd):
    """torch's optimiser `name` over parameter `groups`, in its fused form: one pass over the weights a step."""
    if name == 'sgd':
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=SGD_MOMENTUM, weight_decay=wd, fused=True)
        for group in optimizer.param_groups:
            for parameter in group['params']:  # a first step that the scaler leaves out would leave it uninitialised
                optimizer.state[parameter]['momentum_buffer'] = torch.zeros_like(parameter)
        return optimizer
    kind = torch.optim.AdamW if name == 'adamw' else torch.optim.Adam
    return kind(groups, lr=lr, weight_decay=wd, fused=True)


def load_optimizer(optimizer, state):
    """Loads a state_dict that was saved on any device. ValueError if it is of other parameters.

    Weights have another memory layout on GPUs than on the CPU, and fused optimisers walk through weights and moments
    side by side: moments in another layout fail, or silently go to the wrong weights.
    """
    check_optimizer_state(optimizer, state)
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def make_schedule(name, optimizer, epochs, milestones=(), gamma=0.1, warmup_epochs=0):
    """The schedule `name`, to be stepped by `step_schedule` after every epoch.

    constant; step: × `gamma` after each epoch in `milestones`; cosine: to zero over `epochs`; plateau: × `gamma` when
    the validation loss has not fallen for ten epochs. The first `warmup_epochs` rise linearly (not for plateau).
    """
    if name == 'plateau':
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=gamma, patience=PLATEAU_PATIENCE)

    def factor(epoch):
        if epoch < warmup_epochs:
            return (epoch + 1) / (warmup_epochs + 1)
        if name == 'step':
            return gamma ** sum(epoch >= milestone for milestone in milestones)
        if name == 'cosine':
            return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / max(1, epochs - warmup_epochs)))
        return 1.

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def step_schedule(schedule, validation_loss):
    if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        schedule.step(validation_loss)
    else:
        with warnings.catch_warnings():
            # torch misses the optimiser's steps in a run that was resumed behind the last one of an epoch
            warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step')
            schedule.step()


def set_learning_rate(optimizer, schedule, lr):
    """Scales every group's rate so that the highest initial rate is `lr`; the schedule goes on from there."""
    initial = [group.get('initial_lr', group['lr']) for group in optimizer.param_groups]
    factor = lr / max(initial)
    for group, rate in zip(optimizer.param_groups, initial):
        group['lr'] *= factor
        if 'initial_lr' in group:
            group['initial_lr'] = rate * factor
    if hasattr(schedule, 'base_lrs'):
        schedule.base_lrs = [base * factor for base in schedule.base_lrs]
