"""Where units of work run: in this process, or in a pool of processes on this machine.

A unit is a pure function of picklable arguments. Results come back in the order of the units, so nothing
downstream can tell how many workers there were.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import TypeVar

from hdbench.progress import Progress

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def cpu_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_units(
    function: Callable[[Unit], Result],
    units: Iterable[Unit],
    *,
    workers: int,
    progress: Progress,
    description: str,
    weight: Callable[[Unit], int] = lambda unit: 1,
    total: int | None = None,
    done: int = 0,
) -> Iterator[Result]:
    """Yield `function(unit)` for each unit, in order; `function` must be importable (no closure) if workers > 1.

    `weight(unit)` is what the unit counts for in the progress bar, `total` the bar's length (with `done` of it
    finished earlier). Results are handed out as soon as they and all before them are ready, so that the caller
    can keep them: that is what makes the work resumable.
    """
    units = list(units)
    size = total if total is not None else sum(map(weight, units)) + done
    with progress.task(description, size, done=done) as task:
        if workers <= 1 or len(units) <= 1:
            for unit in units:
                result = function(unit)
                task.advance(weight(unit))
                yield result
            return
        pool = ProcessPoolExecutor(
            min(workers, len(units)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
        )
        try:
            futures: list[Future[Result]] = [pool.submit(function, unit) for unit in units]
            for unit, future in zip(units, futures, strict=True):
                result = future.result()
                task.advance(weight(unit))
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """One thread per worker, and an end with the parent even when that was killed."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
