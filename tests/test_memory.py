import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from hdbench.memory import keep_freed_memory

if {kept}:
    keep_freed_memory()

def work():
    blocks = [torch.empty(mebibytes << 18).fill_(1.0) for mebibytes in (40, 8, 64, 1)]
    return sum(float(block[0]) for block in blocks)

for _ in range(5):  # until the heap has its shape
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*, kept: bool) -> int:
    command = [sys.executable, "-c", FAULTS.format(kept=kept)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc")
def test_large_blocks_are_taken_from_the_system_once():
    given_back, kept = page_faults(kept=False), page_faults(kept=True)
    assert given_back > 5 * 100 << 8 >> 2  # a quarter of the pages at least, wherever pages are larger
    assert kept < given_back / 20
