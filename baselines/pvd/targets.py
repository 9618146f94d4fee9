"""Where a point of a training shape may have come from, once noise has moved it."""

import math

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hdbench.distances.vector_math import exp2_of_product
from hdbench.distances.vectors import (
    LANES,
    keep_first,
    load,
    maximum,
    minimum,
    multiply_add,
    reduce_minimum,
    reduce_sum,
    splat,
    store,
)
from hdbench.geometry import point_operations
from hdbench.shapes import Float32

# Exponents (base 2) are held above this, as `exp2_of_product` knows no smaller ones than -126; beside the weight of the
# nearest point, which is 1, thousands of such weights are lost in the rounding of float32.
_FLOOR = np.float32(-100)
_LEAST_SIGNAL, _MOST_SIGNAL = 1e-30, 1 - 2**-24
"""Beyond these, which is so little or so much that it makes no difference, quotients overflow."""


def expected_points(noisy: Tensor, signal: Tensor, pools: Tensor) -> Tensor:
    """Mean of the points that may lie behind noisy ones (B, 3, P), each of the pools (B, M, 3) alike: (B, 3, P).

    x_t of a point y of the pool is normal about sqrt(a) y with variance 1 - a, where a is the `signal` (B, 1, 1). So y
    has a weight of exp(-|x_t - sqrt(a) y|^2 / (2 (1 - a))). All are float32, and what comes carries no gradient.

    Training points are drawn of the pool alike, each for itself. Told the whole noisy cloud, the mean of these means
    over all shapes it may show is that of the points themselves, so a network that learns the one learns the other.
    """
    noisy, pools = noisy.detach().float(), pools.detach().float().expand(len(noisy), -1, -1)
    signal = signal.detach().float().expand(len(noisy), 1, 1).clamp(_LEAST_SIGNAL, _MOST_SIGNAL)
    if noisy.device.type != point_operations.KERNEL_DEVICE:
        return _by_attention(noisy, signal, pools)
    size = pools.shape[1]
    filling = pools[:, :1].expand(-1, -size % LANES, -1)  # points of the pool, so that the nearest of all is one of it
    planes = torch.cat([pools, filling], dim=1).mT.contiguous()
    sharpness = signal.double() / (2 * (1 - signal.double()) * math.log(2))
    points = (noisy / signal.sqrt()).contiguous()
    return torch.from_numpy(_means(points.numpy(), sharpness.flatten().float().numpy(), planes.numpy(), size))


def _by_attention(noisy: Tensor, signal: Tensor, pools: Tensor) -> Tensor:
    """Attention of one head, with x_t for queries; what does not hang on y falls out of the mean.

    Where torch has a fused kernel, as on GPUs, the P by M weights are never held.
    """
    of_product = signal.sqrt() / (1 - signal)
    of_square = -0.5 * signal / (1 - signal)
    with torch.autocast(noisy.device.type, enabled=False):  # exponents are differences of large numbers
        queries = torch.cat([noisy.mT * of_product, of_square.expand(-1, noisy.shape[2], 1)], dim=2)
        keys = torch.cat([pools, pools.square().sum(2, keepdim=True)], dim=2)
        values = functional.pad(pools, (0, 1))  # as wide as the keys: torch's fast path wants it
        means = functional.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None], scale=1.0)
    return means[:, 0, :, :3].mT


@numba.njit(parallel=True, nogil=True, cache=True, error_model="numpy")
def _means(points: Float32, sharpness: Float32, planes: Float32, size: int) -> Float32:
    """Means (B, 3, P) of the first `size` of planes (B, 3, M), weighed by 2^(-sharpness (B,) |point - y|^2).

    M is a multiple of `LANES`. Each point is worked by itself, so that no bit hangs on threads or on the batch.
    """
    means = np.empty_like(points)
    for cloud in numba.prange(len(points)):
        pool, scale = planes[cloud], splat(sharpness[cloud])
        floor = splat(_FLOOR / sharpness[cloud])
        length = pool.shape[1]
        squared = np.empty(length, np.float32)
        for point in range(points.shape[2]):
            x, y, z = splat(points[cloud, 0, point]), splat(points[cloud, 1, point]), splat(points[cloud, 2, point])
            nearest = splat(np.float32(np.inf))
            for start in range(0, length, LANES):
                u, v, w = x - load(pool, start), y - load(pool, length + start), z - load(pool, 2 * length + start)
                distance = multiply_add(w, w, multiply_add(v, v, u * u))
                store(squared, start, distance)
                nearest = minimum(nearest, distance)
            nearest = splat(reduce_minimum(nearest))
            total = mean_x = mean_y = mean_z = splat(np.float32(0))
            for start in range(0, length, LANES):
                weight = exp2_of_product(maximum(nearest - load(squared, start), floor), scale)
                weight = keep_first(weight, size - start)
                total += weight
                mean_x = multiply_add(weight, load(pool, start), mean_x)
                mean_y = multiply_add(weight, load(pool, length + start), mean_y)
                mean_z = multiply_add(weight, load(pool, 2 * length + start), mean_z)
            whole = reduce_sum(total)
            for axis, mean in enumerate((mean_x, mean_y, mean_z)):
                means[cloud, axis, point] = reduce_sum(mean) / whole
    return means
