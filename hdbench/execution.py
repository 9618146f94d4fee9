"""Where units of work run: in this process, in a pool of processes on this machine, or wherever an engine says.

A unit is a pure function of picklable arguments. Results come back in the order of the units, so nothing
downstream can tell how many workers there were, or where.
"""

import multiprocessing
import multiprocessing.util
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection, wait
from types import MappingProxyType
from typing import Protocol, TypeVar

from hdbench.errors import HdbenchError
from hdbench.memory import keep_freed_memory
from hdbench.progress import Progress

Unit = TypeVar("Unit")
Result = TypeVar("Result")

ONE_THREAD = MappingProxyType({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"})
"""Environment of a worker process, whoever starts it: there is one per core."""


def cpu_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine(Protocol):
    """Where units run. Engines differ in where and how fast, never in a bit of the results."""

    @property
    def is_cluster(self) -> bool:
        """Whether batches of samples and scores are worth being units: other machines can take them."""

    @property
    def workers(self) -> int:
        """Units or threads that a stage may count on running at once."""

    def results(
        self,
        function: Callable[[Unit], Result],
        units: Sequence[Unit],
        *,
        workers: int,
        device: str,
        finished: Callable[[Unit], None],
    ) -> Iterator[Result]:
        """Yield `function(unit)` for each unit, in order; `finished(unit)` is called as soon as one is done.

        `workers` is how many may run at once where the engine uses this machine only, `device` ("cpu" or "cuda")
        what each unit needs.
        """

    def shown(self, progress: Progress) -> AbstractContextManager[Progress]:
        """A progress that units can be given wherever they run, shown as `progress` shows it."""


class LocalEngine:
    """This process, or a pool of processes on this machine."""

    is_cluster = False

    @property
    def workers(self) -> int:
        """See `Engine.workers`: one per core."""
        return cpu_count()

    def results(
        self,
        function: Callable[[Unit], Result],
        units: Sequence[Unit],
        *,
        workers: int,
        device: str,
        finished: Callable[[Unit], None],
    ) -> Iterator[Result]:
        """See `Engine.results`; a single unit, or a single worker, is this process."""
        if workers <= 1 or len(units) <= 1:
            for unit in units:
                result = function(unit)
                finished(unit)
                yield result
            return
        context = multiprocessing.get_context("spawn")
        stop_seen, stop = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(
            min(workers, len(units)), mp_context=context, initializer=_start_worker, initargs=(stop_seen,)
        )
        try:
            with _workers_uninterrupted():
                running: dict[Future[Result], int] = {pool.submit(function, unit): n for n, unit in enumerate(units)}
            done: dict[int, Future[Result]] = {}
            for number in range(len(units)):
                while number not in done:
                    for future in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                        place = running.pop(future)
                        done[place] = future
                        if future.exception() is None:
                            finished(units[place])
                yield done.pop(number).result()
        except BrokenProcessPool as error:
            raise HdbenchError(
                "A process that worked for this one was killed, or ran out of memory; nothing finished is lost, "
                "the same command goes on from here."
            ) from error
        except BaseException:  # an error, Ctrl-C, or a caller who wants no more: nobody waits for running units
            stop.close()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            stop.close()
            stop_seen.close()

    def shown(self, progress: Progress) -> AbstractContextManager[Progress]:
        """See `Engine.shown`: units report over a socket."""
        from hdbench.process_progress import relayed

        return relayed(progress)


LOCAL = LocalEngine()


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
    engine: Engine = LOCAL,
    device: str = "cpu",
) -> Iterator[Result]:
    """Yield `function(unit)` for each unit, in order; `function` must be importable (no closure) if workers > 1.

    `weight(unit)` is what the unit counts for in the progress bar, `total` the bar's length (with `done` of it
    finished earlier). Results are handed out as soon as they and all before them are ready, so that the caller
    can keep them: that is what makes the work resumable. One worker is this process, whatever the engine.
    """
    units = list(units)
    size = total if total is not None else sum(map(weight, units)) + done
    with progress.task(description, size, done=done) as task:
        chosen = engine if workers > 1 else LOCAL
        yield from chosen.results(
            function, units, workers=workers, device=device, finished=lambda unit: task.advance(weight(unit))
        )


@contextmanager
def _workers_uninterrupted() -> Iterator[None]:
    """Start workers with SIGINT blocked, so that a Ctrl-C while they are still importing leaves no traceback.

    The parent gets one that comes meanwhile at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(stop: Connection) -> None:
    """One thread per worker, freed memory kept, no ear for Ctrl-C, and an end when the parent says so or was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ONE_THREAD)
    keep_freed_memory()
    threading.Thread(target=_exit_with_parent, args=(stop,), daemon=True).start()


def _exit_with_parent(stop: Connection) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel, stop])  # `stop` is never written to: it is ready once the parent has closed its end
        # What a pool of this worker's own holds (semaphores) is given back, or Python complains of it on the screen.
        multiprocessing.util._run_finalizers(0)  # type: ignore[attr-defined]
        os._exit(1)
