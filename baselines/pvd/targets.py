"""Where a point of a training shape may have come from, once noise has moved it."""

import torch
from torch import Tensor
from torch.nn import functional


def expected_points(noisy: Tensor, signal: Tensor, pools: Tensor) -> Tensor:
    """Mean of the points that may lie behind noisy ones (B, 3, P), each of the pools (B, M, 3) alike: (B, 3, P).

    x_t of a point y of the pool is normal about sqrt(a) y with variance 1 - a, where a is the `signal` (B, 1, 1). So y
    has a weight of exp(-|x_t - sqrt(a) y|^2 / (2 (1 - a))), in which what does not hang on y falls out of the mean.
    That is attention of one head, with x_t for queries: exact, and where torch has a fused kernel the P by M weights
    are never held.

    Training points are drawn of the pool alike, each for itself. Told the whole noisy cloud, the mean of these means
    over all shapes it may show is that of the points themselves, so a network that learns the one learns the other.
    """
    of_product = signal.sqrt() / (1 - signal)
    of_square = -0.5 * signal / (1 - signal)
    with torch.autocast(noisy.device.type, enabled=False):  # exponents are differences of large numbers
        queries = torch.cat([noisy.mT * of_product, of_square.expand(-1, noisy.shape[2], 1)], dim=2)
        keys = torch.cat([pools, pools.square().sum(2, keepdim=True)], dim=2)
        values = functional.pad(pools, (0, 1))  # as wide as the keys: torch's fast path wants it
        means = functional.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None], scale=1.0)
    return means[:, 0, :, :3].mT
