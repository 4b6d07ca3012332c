"""Attentive heads on frozen tokens, many of them trained at once."""
import math
from collections.abc import Iterable, Sequence
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

ATTENTION_HEADS = 8
WARM_UP = 0.1  # part of the steps


class CrossAttention(nn.Module):
    """Multi-head attention of one query over tokens: equal to nn.MultiheadAttention, without its keys and values.

    An attention score q·(Wk x) is (Wkᵀq)·x, and a weighted mean of values is Wv times that of the tokens: with a single
    query both cost far less than a key and a value for every token. (A bias of the keys would shift all scores of a
    query alike.)"""

    def __init__(self, size: int):
        super().__init__()
        self.heads = math.gcd(ATTENTION_HEADS, size)
        self.query, self.value, self.out = (nn.Linear(size, size) for _ in range(3))
        self.key = nn.Linear(size, size, bias=False)
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)
        for layer in (self.query, self.value, self.out):
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """query [B or 1, D], tokens [B, M, D] -> [B, D]."""
        h = self.heads
        q = self.query(query).unflatten(1, (h, -1))                                     # [B, h, D/h]
        key, value = (layer.weight.unflatten(0, (h, -1)) for layer in (self.key, self.value))     # [h, D/h, D]
        direction = torch.einsum('bhd,hde->bhe', q, key) / math.sqrt(q.shape[-1])       # [B, h, D]
        weight = (direction @ tokens.transpose(1, 2)).softmax(dim=-1)                   # [B, h, M]
        mean = weight @ tokens                                                          # [B, h, D]
        return self.out(torch.einsum('bhe,hde->bhd', mean, value).flatten(1) + self.value.bias)


class AttentiveHead(nn.Module):
    """A learned query attends over the tokens `depth` times, each time adding what it finds; then a linear layer.

    >>> head = AttentiveHead(size=16, num_class=5, depth=1)
    >>> head(torch.randn(2, 9, 16)).shape  # two clips of nine tokens
    torch.Size([2, 5])
    """

    def __init__(self, size: int, num_class: int, depth: int):
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(size))
        self.blocks = nn.ModuleList(CrossAttention(size) for _ in range(depth))
        self.classify = nn.Linear(size, num_class)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, M, D] -> logits [B, C]. LayerNorm without weights: linear layers follow, which have them."""
        x = self.query.unsqueeze(0)                                                     # [1, D]: the same for all clips
        for block in self.blocks:
            x = x + block(F.layer_norm(x, x.shape[1:]), tokens)                         # [B, D]
        return self.classify(F.layer_norm(x, x.shape[1:]))


def logits_of(heads: Sequence[AttentiveHead], tokens: Tensor) -> Tensor:
    """tokens [B, M, D] -> logits [G, B, C] of G heads of the same shape, in one go."""
    names = [name for name, _ in heads[0].named_parameters()]
    stacked = {name: torch.stack([head.get_parameter(name) for head in heads]) for name in names}
    return torch.vmap(lambda parameters: torch.func.functional_call(heads[0], parameters, (tokens,)))(stacked)


def train_heads(heads: Sequence[AttentiveHead], settings: Sequence[tuple[float, float]],
                batches: Iterable[tuple[Tensor, Tensor]], steps: int) -> None:
    """Trains G heads on the same batches, each as it would be trained alone.

    settings: (learning rate, weight decay) of each. batches: `steps` times (tokens [B, M, D], label int64 [B])."""
    optimiser = torch.optim.AdamW([{'params': [*head.parameters()], 'lr': rate, 'weight_decay': decay}
                                   for head, (rate, decay) in zip(heads, settings)], fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(rate_factor, steps=steps))
    for tokens, label in batches:
        logits = logits_of(heads, tokens)
        losses = F.cross_entropy(logits.flatten(0, 1), label.repeat(len(heads)), reduction='none')
        optimiser.zero_grad()
        losses.unflatten(0, (len(heads), -1)).mean(dim=1).sum().backward()  # the heads share no parameter
        optimiser.step()
        schedule.step()


def rate_factor(step: int, steps: int) -> float:
    """Of the learning rate at a step, from 0: a linear warm-up, then a cosine to zero."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return (1 + math.cos(math.pi * (step - warm_up + 1) / max(1, steps - warm_up))) / 2
