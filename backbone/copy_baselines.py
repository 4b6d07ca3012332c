"""Controls: predictions that a trained model should beat. Validation logs them, eval/horizon.py draws them."""
import torch


def copies(seen, pred_step):
    """Seen blocks [B, M, S, D] -> {'copy_last', 'copy_mean'}: the last of them, and their mean, as the prediction
    of every future block, [B, P, S, D]."""
    return {name: block.expand(-1, pred_step, -1, -1)
            for name, block in (('copy_last', seen[:, -1:]), ('copy_mean', seen.mean(dim=1, keepdim=True)))}


def shuffled(seen, random):
    """Seen blocks [B, M, S, D] in another order, drawn from the torch.Generator `random`; M must be 2 or more."""
    count = seen.shape[1]
    order = torch.randperm(count, generator=random)
    if order.equal(torch.arange(count)):
        order = order.roll(1)
    return seen[:, order.to(seen.device)]
