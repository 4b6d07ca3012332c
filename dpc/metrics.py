"""Numbers that describe a pretraining step."""
import torch


def top_k(rank, k):
    """Number of rows whose positive is among the k best scores, as a 0-d tensor."""
    return (rank < k).sum()


@torch.no_grad()
def spread(feature):
    """How different the vectors of feature [..., D] are, as a 0-d float32 tensor from 0 to 1, whatever their scale.

    Their standard deviation (the root mean squared distance to the mean vector) relative to their root mean square:
    0 when all vectors are equal (collapsed features, zeros included), 1 when their mean is zero.
    """
    vectors = feature.flatten(0, -2).float()
    deviation = (vectors - vectors.mean(dim=0)).square().mean().sqrt()
    scale = vectors.square().mean().sqrt()
    return deviation / scale.clamp_min(torch.finfo(torch.float32).tiny)
