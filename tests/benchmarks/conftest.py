"""What benchmarks share: the size of the longest one, and a measure of two cores that knows whether both are free."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch

from hdbench.datasets.procedural.dataset import Procedural
from hdbench.geometry.normalisation import unit_deviation_uncentred
from hdbench.geometry.sampling import shape_points

ROUNDS = 3


def pytest_addoption(parser):
    parser.addoption(
        "--emd-set-size",
        type=int,
        default=96,
        help="shapes in each of the two sets of the EMD suite; published comparisons have 405, which takes minutes",
    )


@pytest.fixture(scope="module")
def one_thread():
    """Torch and numba compute on one thread, so that CPU times of different ways can be held against each other."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def _airplane_sets(count):
    rng = np.random.default_rng(0)
    shapes = Procedural("airplane").fresh(2 * count, seed=11)
    points = np.stack([shape_points(shape, 2048, seed=0, name=name) for name, shape in shapes])
    points[count:] += rng.normal(0, 0.002, points[count:].shape).astype(np.float32)
    normalised = unit_deviation_uncentred(points)
    return normalised[:count], normalised[count:]


@pytest.fixture(scope="session")
def airplanes():
    """A function of the count: reference and samples, normalised as HyperDiffusion's metrics are."""
    return _airplane_sets


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
