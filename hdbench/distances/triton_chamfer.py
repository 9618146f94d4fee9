"""Nearest squared distances of pairs of clouds by one Triton kernel.

A program holds `ROWS` points of one cloud in registers and walks over the other cloud `COLUMNS` points at a time. Each
distance is made once and serves both directions: three subtractions, a product, two fused multiply-adds and two
minima, eight instructions. The nearest point of a row waits in registers, one candidate per column of the tile, until
the walk ends; that of a column is merged across programs by an atomic minimum. Minima of the same numbers in any
order are the same bits, so the result is deterministic and independent of the tiles.

Where `TRITON_INTERPRET=1` is set before Triton is first imported, the same kernel runs on CPU, slowly: for tests.
"""

import torch
import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor

# One warp: 64 distances and the 32 points of its rows in 167 registers of each thread, twelve warps on a Hopper
# multiprocessor. Compiled for it, the loop takes 8.9 instructions a distance.
ROWS, COLUMNS, WARPS = 32, 64, 1


def nearest_squared(x: Tensor, y: Tensor, *, rows: int = ROWS, columns: int = COLUMNS) -> tuple[Tensor, Tensor]:
    """Nearest squared distances both ways; see `hdbench.distances.torch_chamfer.Nearest`.

    `rows` and `columns`, powers of two, are the shape of a tile. They change no bit.
    """
    pairs, count, other_count = len(x), x.shape[1], y.shape[1]
    x_nearest = x.new_empty((pairs, count))
    y_nearest = y.new_full((pairs, other_count), torch.inf)
    grid = (pairs * triton.cdiv(count, rows),)
    _nearest_kernel[grid](
        x, y, x_nearest, y_nearest.view(torch.int32), count, other_count, ROWS=rows, COLUMNS=columns, num_warps=WARPS
    )
    return x_nearest, y_nearest


@triton.jit
def _nearest_kernel(
    x: tl.tensor,
    y: tl.tensor,
    x_nearest: tl.tensor,
    y_nearest_bits: tl.tensor,
    count: tl.constexpr,
    other_count: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    tiles = tl.cdiv(count, ROWS)
    pair = (tl.program_id(0) // tiles).to(tl.int64)
    row = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    # Past the last point stand copies of it: they change no minimum, and the loop needs no masks.
    point = x + (pair * count + tl.minimum(row, count - 1)) * 3
    x0 = tl.load(point)[:, None]
    x1 = tl.load(point + 1)[:, None]
    x2 = tl.load(point + 2)[:, None]
    nearest = tl.full((ROWS, COLUMNS), float("inf"), tl.float32)
    for start in range(0, other_count, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        other = y + (pair * other_count + tl.minimum(column, other_count - 1)) * 3
        u = x0 - tl.load(other)[None, :]
        v = x1 - tl.load(other + 1)[None, :]
        w = x2 - tl.load(other + 2)[None, :]
        squared = tl.fma(w, w, tl.fma(v, v, u * u))
        nearest = tl.minimum(nearest, squared)
        # Floats that are not negative are ordered as the integers of the same bits.
        bits = tl.min(squared, 0).to(tl.int32, bitcast=True)
        tl.atomic_min(y_nearest_bits + pair * other_count + column, bits, mask=column < other_count, sem="relaxed")
    tl.store(x_nearest + pair * count + row, tl.min(nearest, 1), mask=row < count)
