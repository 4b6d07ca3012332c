"""Nearest neighbours by cosine similarity, and the class they vote for. In float64, so that results are
reproducible."""
import math

import numpy as np
import torch
import torch.nn.functional as F

QUERIES_AT_ONCE = 1024  # bounds the memory of the similarities
TEMPERATURE = 0.07      # of a vote: neighbours weigh exp(cosine / 0.07)


def nearest(query, gallery, k):
    """The k most similar rows of gallery [R, D] for each of query [Q, D]: (cosine [Q, k], row [Q, k]), best first."""
    gallery = F.normalize(gallery.double(), dim=1)
    found = [(F.normalize(part.double(), dim=1) @ gallery.t()).topk(k, dim=1) for part in query.split(QUERIES_AT_ONCE)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def vote(cosine, label, num_class):
    """The class [Q] with the largest weight among neighbours of this cosine [Q, k] and label [Q, k]."""
    weight = cosine.new_zeros(len(cosine), num_class)
    weight.scatter_add_(1, label, (cosine / TEMPERATURE).exp())
    return weight.argmax(dim=1)


def vote_for_several(cosine, label):
    """The same where neighbours vote for all their labels, bool [Q, k, C]."""
    weight = (cosine / TEMPERATURE).exp()
    return torch.einsum('qk,qkc->qc', weight, label.to(weight.dtype)).argmax(dim=1)


def leave_group_out(vectors, label, group, k):
    """Top-1 of a k-NN among the vectors themselves: R tensors [D] with label and group int64 [R].

    Vectors of the same group don't vote for each other: they are of one recording. NaN where no class has two groups,
    so that nothing could be right."""
    if one_group_a_class(label, group):
        return math.nan
    vectors = F.normalize(torch.stack(list(vectors)).double(), dim=1)
    label, group = torch.from_numpy(np.asarray(label)), torch.from_numpy(np.asarray(group))
    right = 0
    for part in torch.arange(len(vectors)).split(QUERIES_AT_ONCE):
        cosine = vectors[part] @ vectors.t()
        cosine[group[part].unsqueeze(1) == group] = -torch.inf  # weighs nothing in the vote
        cosine, rows = cosine.topk(min(k, len(vectors)), dim=1)
        right += (vote(cosine, label[rows], int(label.max()) + 1) == label[part]).sum().item()
    return right / len(vectors)


def one_group_a_class(label, group):
    """Whether all vectors of every class are of one group."""
    return len(set(zip(label, group))) == len(set(label))
