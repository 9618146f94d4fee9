"""Chamfer matrices on any torch device.

`chamfer_matrix` is the frame that every back end on torch tensors shares: it walks over pairs of clouds, a chunk at a
time, and turns the nearest squared distances of each pair into a value. How those are found is a parameter: plain
torch operations (here), a Triton kernel (`hdbench.distances.triton_chamfer`) or pytorch3d.

Definitions and accuracy are those of `hdbench.distances.chamfer`: differences in float32, never expanded into
products; sums in float64 in an order that depends on the number of points alone. A minimum has no rounding, so
chunks and tiles of any size give the same bits.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdbench.distances.blocks import refuse_unusable
from hdbench.distances.chamfer import frames_as_clouds
from hdbench.errors import HdbenchError
from hdbench.progress import Progress

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

Nearest = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From K pairs of clouds x (K, P, 3) and y (K, Q, 3), float32 and contiguous, the squared distance from each point of
x to the nearest of its y, (K, P), and from each of y to the nearest of its x, (K, Q)."""

CHUNK = {"cpu": 2**18, "cuda": 2**24}
"""Points of all pairs looked at together: 10 MB on CPU, 600 MB on a GPU, which takes thousands of pairs to fill."""

TILE = {"cpu": 2**18, "cuda": 2**26}
"""Distances held at once: what fits into a core's cache, and 256 MB on a GPU."""


def chamfer_matrix(
    a: Float32,
    b: Float32 | None = None,
    *,
    root: bool,
    nearest: Nearest,
    device: str,
    chunk: int | None = None,
    progress: Progress | None = None,
) -> Float64:
    """All `cd_l2` (with `root`) or `cd_sq` distances of two sets, (N, M) float64.

    Args:
        a: N clouds (N, P, 3), or N sequences (N, T, P, 3).
        b: M clouds (M, Q, 3), or M sequences (M, T, Q, 3); None compares `a` with itself, each pair once.
        root: Whether Euclidean distances are averaged, or squared ones.
        nearest: How the nearest points of pairs of clouds are found.
        device: The torch device that does it.
        chunk: Points looked at together; None is `CHUNK`. Changes memory and speed, never a value.
        progress: Where to show how far it is.

    Raises:
        HdbenchError: For coordinates that are not finite, empty clouds, or shapes that do not fit together.
    """
    result = np.zeros((len(a), len(a if b is None else b)))
    if not result.size:
        return result
    first, frames = _upload(a, device)
    second, other_frames = (first, frames) if b is None else _upload(b, device)
    if frames != other_frames:
        raise HdbenchError(f"Sequences of {frames} and {other_frames} frames cannot be compared frame by frame.")

    rows, columns = np.triu_indices(len(a), 1) if b is None else np.indices(result.shape).reshape(2, -1)
    points_per_pair = frames * (first.shape[2] + second.shape[2])
    step = max(1, (chunk or CHUNK[torch.device(device).type]) // points_per_pair)
    with (progress or Progress()).task("Chamfer distances", len(rows)) as task:
        for start in range(0, len(rows), step):
            row, column = rows[start : start + step], columns[start : start + step]
            x, y = first[row].flatten(0, 1), second[column].flatten(0, 1)
            distances = _mean(*nearest(x, y), frames=frames, root=root).cpu().numpy()
            result[row, column] = distances
            if b is None:
                result[column, row] = distances
            task.advance(len(row))
    return result


def nearest_squared(x: Tensor, y: Tensor, *, tile: int | None = None) -> tuple[Tensor, Tensor]:
    """Nearest squared distances both ways by plain torch operations; see `Nearest`.

    `tile` is the number of distances held at once (None: `TILE`). It changes no bit.
    """
    pairs, count, other_count = len(x), x.shape[1], y.shape[1]
    tile = tile or TILE[x.device.type]
    rows = min(count, max(1, tile // other_count))
    group = max(1, tile // (rows * other_count))
    x_nearest = x.new_empty((pairs, count))
    y_nearest = y.new_full((pairs, other_count), torch.inf)
    x_axes, y_axes = (points.permute(2, 0, 1).contiguous() for points in (x, y))  # (3, K, P), (3, K, Q)
    for first in range(0, pairs, group):
        chosen = slice(first, first + group)
        for start in range(0, count, rows):
            window = slice(start, start + rows)
            squared = _squared(x_axes[:, chosen, window, None], y_axes[:, chosen, None])
            x_nearest[chosen, window] = squared.amin(2)
            y_nearest[chosen] = torch.minimum(y_nearest[chosen], squared.amin(1))
    return x_nearest, y_nearest


def _upload(points: Float32, device: str) -> tuple[Tensor, int]:
    """Clouds or sequences as a tensor (N, T, P, 3) on `device`, and T."""
    clouds, frames = frames_as_clouds(points)
    if not clouds.shape[1]:
        raise HdbenchError("A cloud has no points; remove empty shapes before measuring distances.")
    refuse_unusable(clouds)
    return torch.tensor(clouds, device=device).unflatten(0, (-1, frames)), frames


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances from coordinates (3, ...): multiplied and added apart, so that no device fuses the two."""
    squared = (x[0] - y[0]).square_()
    for axis in (1, 2):
        squared += (x[axis] - y[axis]).square_()
    return squared


def _mean(x_nearest: Tensor, y_nearest: Tensor, *, frames: int, root: bool) -> Tensor:
    """Chamfer distances (K,) float64 from the nearest squared distances (K T, P) and (K T, Q) of K sequences."""
    forward, backward = (
        _ordered_sum(nearest.double().sqrt_() if root else nearest.double()) / nearest.shape[1]
        for nearest in (x_nearest, y_nearest)
    )
    return _ordered_sum((forward + backward).view(-1, frames)) / frames


def _ordered_sum(values: Tensor) -> Tensor:
    """Sum over the last dimension by folding it in halves: the same order on every device and for every batch."""
    while (width := values.shape[-1]) > 1:
        half = width // 2
        folded = values[..., :half] + values[..., half : 2 * half]
        values = torch.cat((folded, values[..., 2 * half :]), -1)
    return values[..., 0]
