"""What benchmarks share: the size of the longest one, and a measure of two cores that knows whether both are free."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

ROUNDS = 3


def pytest_addoption(parser):
    parser.addoption(
        "--emd-set-size",
        type=int,
        default=96,
        help="shapes in each of the two sets of the EMD suite; published comparisons have 405, which takes minutes",
    )


def wall_seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def hash_on_threads(count):
    """Work that needs nothing but its core, twice, on `count` threads: hashing releases the interpreter lock."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda salt: hashlib.pbkdf2_hmac("sha256", b"", salt, iterations=2_000_000), [b"a", b"b"]))


@pytest.fixture
def speed_up():
    """A function of `run(workers)`: its least wall time on one thread over that on two, and the same of the machine.

    The second says how much of a second core other work has left; it is measured between the rounds of the first.
    """
    if (os.cpu_count() or 1) < 2:
        pytest.skip("there is one core")

    def measure(run):
        times = [[wall_seconds(work, n) for work in (run, hash_on_threads) for n in (1, 2)] for _ in range(ROUNDS)]
        ours_alone, ours, machine_alone, machine = map(min, zip(*times, strict=True))
        return ours_alone / ours, machine_alone / machine

    return measure
