"""Index operations of point networks: farthest points, balls, three nearest neighbours, and voxels.

What this module guarantees: on the CPU the indices are those of a plain float32 loop (squared distances as
(dx² + dy²) + dz² without fused multiply-adds, ties to the lower index), and no bit depends on the batch or on the
number of threads. On other devices the same functions take a plain torch path with the same conventions.

Points are (N, P, 3) float32 and finite; features are channels first, (N, C, P), as torch's convolutions want them.
Indices are int64. The functions of features are linear maps and carry gradients to the features; they compute in
float32 whatever precision the features come in.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hdbench.geometry import _point_kernels as kernels

Boundary = Literal["closed", "open"]

KERNEL_DEVICE = "cpu"
"""The device whose tensors the numba kernels take; all others go the torch way."""


class Interpolation(NamedTuple):
    """A sparse linear map from P features to Q: out[q] = sum over k of weights[q, k] * features[indices[q, k]]."""

    indices: Tensor
    """(N, Q, K) int64."""
    weights: Tensor
    """(N, Q, K) float32."""


class Voxels(NamedTuple):
    """Where points lie in a cubic grid of `resolution` nodes a side."""

    coordinates: Tensor
    """(N, P, 3) float32 in grid units, within [0, resolution - 1]."""
    cells: Tensor
    """(N, P) int64: flat index x * resolution² + y * resolution + z of the nearest node (halves to even)."""
    resolution: int


def farthest_points(points: Tensor, count: int, *, start: int = 0) -> Tensor:
    """Indices of `count` points of each cloud, each the farthest from all before it; (N, P, 3) to (N, count).

    The first is `start` (published code draws it at random or takes 0; a fixed one makes results repeatable).
    Of equally far points the lowest index wins. A cloud with fewer distinct points goes on with index 0.
    """
    if not 0 <= start < points.shape[1]:
        raise ValueError(f"{start=} is no index into clouds of {points.shape[1]} points")
    if points.device.type == KERNEL_DEVICE:
        return torch.from_numpy(kernels.farthest_points(_numpy(points), count, start))
    clouds = torch.arange(len(points), device=points.device)
    distances = torch.full(points.shape[:2], torch.inf, device=points.device)
    chosen = torch.empty((len(points), count), dtype=torch.int64, device=points.device)
    current = torch.full((len(points),), start, dtype=torch.int64, device=points.device)
    for step in range(count):
        chosen[:, step] = current
        distances = torch.minimum(distances, _squared_distances(points, points[clouds, current][:, None])[..., 0])
        current = _first_argmax(distances)
    return chosen


def ball_query(centres: Tensor, points: Tensor, *, radius: float, count: int, boundary: Boundary = "closed") -> Tensor:
    """The first `count` points, in index order, within `radius` of each centre; (N, M, 3), (N, P, 3) to (N, M, count).

    Slots left over repeat the first hit; a ball without any holds 0. Two conventions are published: PointNet++
    keeps d² <= r² ("closed"), PVD's kernels d² < r² ("open", with r² rounded from the float32 radius).
    """
    limit = _exclusive_limit(radius, boundary)
    if centres.device.type == KERNEL_DEVICE:
        return torch.from_numpy(kernels.ball_query(_numpy(centres), _numpy(points), limit, count))
    distances = _squared_distances(centres, points)  # (N, M, P)
    size = points.shape[1]
    order = torch.arange(size, device=points.device).where(distances < float(limit), size)
    hits = order.topk(min(count, size), dim=-1, largest=False).values
    first = torch.where(hits[..., :1] == size, 0, hits[..., :1])
    hits = torch.where(hits == size, first, hits)
    return torch.cat([hits, first.expand(*hits.shape[:2], count - hits.shape[-1])], dim=-1)


def three_nearest(queries: Tensor, points: Tensor) -> Interpolation:
    """The three nearest points of each query, nearest first, weighted by inverse squared distance.

    Squared distances are clamped to [1e-10, 1e10] first, and the weights sum to 1 (PVD, after PointNet++).
    Clouds must have at least three points. (N, Q, 3), (N, P, 3) to (N, Q, 3) indices and weights.
    """
    if points.shape[1] < 3:
        raise ValueError(f"three nearest neighbours need three points, not {points.shape[1]}")
    if queries.device.type == KERNEL_DEVICE:
        indices, weights = kernels.three_nearest(_numpy(queries), _numpy(points))
        return Interpolation(torch.from_numpy(indices), torch.from_numpy(weights))
    distances, indices = _squared_distances(queries, points).topk(3, dim=-1, largest=False)
    inverse = 1 / distances.double().clamp(1e-10, 1e10)
    return Interpolation(indices, (inverse / inverse.sum(-1, keepdim=True)).float())


def voxelise(points: Tensor, resolution: int) -> Voxels:
    """Fit each cloud into a grid as PVD does: centred on its mean, its farthest point touching the sphere inside.

    coordinates = clamp(resolution * (centred / (2 * largest norm) + 0.5), 0, resolution - 1). A cloud whose points
    all coincide lies in the middle.
    """
    if points.device.type == KERNEL_DEVICE:
        coordinates = torch.from_numpy(kernels.grid_coordinates(_numpy(points), resolution))
    else:
        centred = points - points.double().mean(1, keepdim=True).float()
        largest = centred.norm(dim=2).amax(1)[:, None, None]
        coordinates = ((centred / (2 * largest).where(largest > 0, 1.0) + 0.5) * resolution).clamp(0, resolution - 1)
    x, y, z = coordinates.round().long().unbind(2)
    return Voxels(coordinates, (x * resolution + y) * resolution + z, resolution)


def average_into_voxels(features: Tensor, voxels: Voxels) -> Tensor:
    """Mean feature of the points nearest each node, 0 where there are none; (N, C, P) to (N, C, R, R, R)."""
    size = voxels.resolution**3
    counts = torch.zeros((len(features), size), device=features.device)
    counts.scatter_add_(1, voxels.cells, torch.ones_like(voxels.cells, dtype=torch.float32))
    weights = 1 / counts.gather(1, voxels.cells)
    grid = _scatter(features, Interpolation(voxels.cells[..., None], weights[..., None]), size)
    return grid.unflatten(2, (voxels.resolution,) * 3)


def devoxelise(grid: Tensor, voxels: Voxels) -> Tensor:
    """Trilinear interpolation of `grid` at the points' unrounded coordinates; (N, C, R, R, R) to (N, C, P)."""
    low = voxels.coordinates.floor()
    fraction = voxels.coordinates - low
    low_index = low.long()
    high_index = low_index + (fraction > 0)  # so that it never leaves the grid
    ends = torch.stack([low_index, high_index], dim=-1)  # (N, P, 3, 2)
    shares = torch.stack([1 - fraction, fraction], dim=-1)
    x, y, z = (ends * ends.new_tensor([voxels.resolution**2, voxels.resolution, 1])[:, None]).unbind(2)
    indices = (x[..., :, None, None] + y[..., None, :, None] + z[..., None, None, :]).flatten(2)  # (N, P, 8)
    x_share, y_share, z_share = shares.unbind(2)
    weights = (x_share[..., :, None, None] * y_share[..., None, :, None] * z_share[..., None, None, :]).flatten(2)
    return interpolate(grid.flatten(2), Interpolation(indices, weights))


def interpolate(features: Tensor, interpolation: Interpolation) -> Tensor:
    """Weighted sums of features at the queries; (N, C, P) to (N, C, Q)."""
    return _Gather.apply(features.float(), *interpolation)


def group_maximum(rows: Tensor, sizes: Tensor) -> Tensor:
    """Maximum over each of the consecutive groups, none empty, into which `sizes` (M,) cut rows (R, C); (M, C).

    The gradient goes to the first of equal maxima.
    """
    return _GroupMaximum.apply(rows, sizes)


def _scatter(features: Tensor, interpolation: Interpolation, size: int) -> Tensor:
    """The adjoint of `interpolate`: (N, C, Q) to (N, C, size)."""
    return _Scatter.apply(features.float(), *interpolation, size)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(indices, weights)
        ctx.size = features.shape[2]
        if features.device.type == KERNEL_DEVICE:
            return torch.from_numpy(kernels.gather(_numpy(features), indices.numpy(), _numpy(weights)))
        picked = features.gather(2, indices.flatten(1)[:, None].expand(-1, features.shape[1], -1))
        return (picked.unflatten(2, indices.shape[1:]) * weights[:, None]).sum(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _scatter(gradients[0], Interpolation(*ctx.saved_tensors), ctx.size), None, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, indices: Tensor, weights: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(indices, weights)
        if features.device.type == KERNEL_DEVICE:
            return torch.from_numpy(kernels.scatter(_numpy(features), indices.numpy(), _numpy(weights), size))
        clouds = torch.arange(len(features), device=features.device)[:, None, None].expand_as(indices)
        values = (features[..., None] * weights[:, None]).permute(0, 2, 3, 1)  # (N, Q, K, C)
        out = features.new_zeros((len(features), size, features.shape[1]))
        # index_put sums in sorted order on a GPU, where scatter_add's atomics would not repeat their bits.
        return out.index_put_((clouds, indices), values, accumulate=True).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return interpolate(gradients[0], Interpolation(*ctx.saved_tensors)), None, None, None


class _GroupMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Tensor) -> Tensor:
        ends = sizes.cumsum(0)
        if rows.device.type == KERNEL_DEVICE:
            highest, where = map(torch.from_numpy, kernels.group_maximum(_numpy(rows), ends.numpy()))
        else:
            highest = torch.segment_reduce(rows, "max", lengths=sizes, unsafe=True)
            owner = torch.arange(len(sizes), device=rows.device).repeat_interleave(sizes)
            order = torch.arange(len(rows), device=rows.device)[:, None].where(rows == highest[owner], len(rows))
            first = torch.full(highest.shape, len(rows), device=rows.device)
            where = first.scatter_reduce(0, owner[:, None].expand_as(order), order, "amin")
        ctx.save_for_backward(where)
        ctx.size = len(rows)
        return highest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (where,) = ctx.saved_tensors
        # Each row's channel is the maximum of one group at most: nothing is added up.
        return gradients[0].new_zeros((ctx.size, gradients[0].shape[1])).scatter(0, where, gradients[0]), None


def _exclusive_limit(radius: float, boundary: Boundary) -> np.float32:
    """The float32 that exactly the squared distances inside the ball are below, rounded as published code rounds."""
    if boundary == "open":
        return np.float32(radius) * np.float32(radius)
    return np.nextafter(np.float32(radius**2), np.float32(np.inf))


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances by direct differences, (N, M, 3), (N, P, 3) to (N, M, P); never through a dot product."""
    dx, dy, dz = (a[:, :, None, axis] - b[:, None, :, axis] for axis in range(3))
    return dx * dx + dy * dy + dz * dz


def _first_argmax(values: Tensor) -> Tensor:
    """Index of the first maximum in each row; torch's own argmax leaves the choice among equals open."""
    size = values.shape[1]
    order = torch.arange(size, device=values.device)
    return order.where(values == values.amax(1, keepdim=True), size).amin(1)


def _numpy(values: Tensor) -> Any:
    return values.detach().float().contiguous().numpy()
