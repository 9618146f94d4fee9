"""Run numba kernels that release the interpreter lock over tiles of work, on threads.

Every tile writes to a place of its own, so neither the number of threads nor their order changes a bit.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from hdbench.execution import cpu_count
from hdbench.progress import Progress

Tile = TypeVar("Tile")


def run_tiles(
    function: Callable[[Tile], object],
    tiles: Sequence[Tile],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    description: str = "distances",
    weight: Callable[[Tile], int] = lambda tile: 1,
) -> None:
    """Call `function` on each tile, on `workers` threads (None: one per core); `weight` is its share of the bar."""
    threads = min(workers or cpu_count(), len(tiles))
    with (progress or Progress()).task(description, sum(map(weight, tiles))) as task:
        if threads <= 1:
            for tile in tiles:
                function(tile)
                task.advance(weight(tile))
            return
        pool = ThreadPoolExecutor(threads)
        try:
            futures = {pool.submit(function, tile): tile for tile in tiles}
            for future in as_completed(futures):
                future.result()
                task.advance(weight(futures[future]))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
