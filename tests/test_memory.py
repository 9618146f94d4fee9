import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hdbench import memory
from hdbench.execution import run_units
from hdbench.progress import Progress

BLOCKS = tuple(mebibytes << 20 for mebibytes in (40, 8, 64, 1))
ROUNDS = 5
ALL_PAGES = ROUNDS * sum(BLOCKS) // resource.getpagesize()
PR_SET_THP_DISABLE = 41  # of Linux

needs_glibc = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", ()), reason="needs glibc")


def page_faults(unit=None):
    """Of taking, writing and freeing the blocks several times, once the heap has its shape."""
    import torch

    if sys.platform == "linux":  # a huge page is one fault
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)

    def work():
        return [torch.empty(size, dtype=torch.uint8).fill_(1) for size in BLOCKS]

    for _ in range(2 * ROUNDS):
        work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(ROUNDS):
        work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def in_a_process(expression, *preparations):
    """What `expression` is in a fresh process, since what has been set about memory cannot be unset."""
    code = "; ".join(["import test_memory", "from hdbench import memory", *preparations, f"print({expression})"])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment).stdout)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


@needs_glibc
def test_large_blocks_are_taken_from_the_system_once():
    assert in_a_process("test_memory.page_faults()") > ALL_PAGES / 2
    assert in_a_process("test_memory.page_faults()", "memory.keep_freed_memory()") < ALL_PAGES / 20


@needs_glibc
def test_workers_keep_freed_memory():
    assert max(run_units(page_faults, [0, 1], workers=2, progress=Progress(), description="")) < ALL_PAGES / 20


@needs_glibc
def test_what_was_kept_can_be_given_back():
    used = ("memory.keep_freed_memory()", "test_memory.page_faults()")
    kept = in_a_process("test_memory.resident_bytes()", *used)
    given_back = in_a_process("test_memory.resident_bytes()", *used, "memory.give_back_freed_memory()")
    assert kept - given_back > sum(BLOCKS) / 2


class OldLibrary:
    """glibc that takes no threshold above `largest`."""

    def __init__(self, largest):
        self.largest, self.taken = largest, {}

    def mallopt(self, name, value):
        if name == memory.M_MMAP_THRESHOLD and value > self.largest:
            return 0
        self.taken[name] = value
        return 1


def test_an_old_library_keeps_what_it_will(monkeypatch):
    library = OldLibrary(32 << 20)
    monkeypatch.setattr(memory, "_c_library", lambda: library)
    memory.keep_freed_memory()
    assert library.taken == {memory.M_MMAP_THRESHOLD: 32 << 20, memory.M_TRIM_THRESHOLD: memory.LARGEST_REST}


def test_nothing_is_set_where_no_large_block_would_be_kept(monkeypatch):
    library = OldLibrary(0)
    monkeypatch.setattr(memory, "_c_library", lambda: library)
    memory.keep_freed_memory()
    assert not library.taken


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_c_library", object)
    memory.keep_freed_memory()
    memory.give_back_freed_memory()
