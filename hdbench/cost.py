"""What a piece of work costs: wall time, and the peak memory of this process and its workers."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hdbench.memory import give_back_freed_memory

INTERVAL_S = 0.2


@dataclass
class Measured:
    """Filled when the measured block ends."""

    seconds: float = 0.0
    peak_memory_bytes: int | None = None
    """Of the GPU on "cuda"; else of this process and its children, by sampling; None where neither can be read."""


@contextmanager
def measured(device: str) -> Iterator[Measured]:
    """Measure the block."""
    result = Measured()
    give_back_freed_memory()  # or what an earlier block has left would count for this one
    start = time.perf_counter()
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        yield result
        result.peak_memory_bytes = torch.cuda.max_memory_allocated()
    else:
        with _memory_sampler() as peak:
            yield result
        result.peak_memory_bytes = peak[0] or None
    result.seconds = time.perf_counter() - start


@contextmanager
def _memory_sampler() -> Iterator[list[int]]:
    peak = [_resident_bytes()]
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(INTERVAL_S):
            peak[0] = max(peak[0], _resident_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        finished.set()
        thread.join()


def _resident_bytes() -> int:
    """Resident memory of this process and its children; 0 where the system does not say (no /proc)."""
    try:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()
        pages = 0
        for process in ("self", *children):
            pages += int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
