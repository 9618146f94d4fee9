"""Set metrics and distance matrices under the Chamfer distance against what one would use instead, in one run.

All ratios are of CPU time of one thread on the same clouds: 405 airplanes against 405 others with a little noise,
2,048 points each. Peers that would take hours are measured on a stated subset of pairs and multiplied up.
"""

import time

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from hdbench.distances.backends import choose_backend
from hdbench.distances.chamfer import cd_sq_matrix
from hdbench.metrics.chamfer import chamfer_lists
from hdbench.metrics.nearest import lists_from_matrix, set_values
from hdbench.metrics.uncertainty import set_intervals

COUNT, POINTS = 405, 2048
ALL_PAIRS = 3 * COUNT**2  # what the published code computes: references, samples, and between them, in full
DISTINCT_PAIRS = COUNT * (2 * COUNT - 1)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sets(airplanes):
    """Reference and samples, normalised as HyperDiffusion's metrics are."""
    return airplanes(COUNT)


@pytest.fixture(scope="module")
def matrix_way(sets):
    """CPU seconds per pair of the published way: sixteen pairs at a time, expanded into batched matrix products."""
    x, y = (torch.from_numpy(points[:16]) for points in sets)
    took = []
    for _ in range(3):
        start = time.process_time()
        products = x @ y.mT
        squared = (x**2).sum(-1)[:, :, None] + (y**2).sum(-1)[:, None] - 2 * products
        (squared.min(1).values.mean(1) + squared.min(2).values.mean(1)).tolist()
        took.append((time.process_time() - start) / 16)
    return min(took)


@pytest.fixture(scope="module")
def tree_way(sets):
    """CPU seconds per pair of the best library route: trees built once per cloud, queried both ways."""
    clouds = np.concatenate([sets[0][:8], sets[1][:8]]).astype(np.float64)
    start = time.process_time()
    trees = [cKDTree(cloud) for cloud in clouds]
    building = (time.process_time() - start) / len(clouds)
    took = []
    for _ in range(3):
        start = time.process_time()
        for i in range(8):
            for j in range(8, 16):
                (trees[j].query(clouds[i])[0] ** 2).mean() + (trees[i].query(clouds[j])[0] ** 2).mean()
        took.append((time.process_time() - start) / 64)
    return min(took) + building * 2 * COUNT / DISTINCT_PAIRS


@pytest.fixture(scope="module", autouse=True)
def compiled(sets):
    chamfer_lists(sets[0][:60], sets[1][:60], workers=1)
    set_intervals(chamfer_lists(sets[0][:60], sets[1][:60], workers=1), seed=0)


def record(benchmark, **figures):
    benchmark.extra_info.update({name: float(f"{value:.4g}") for name, value in figures.items()})


@pytest.mark.benchmark(group="405 + 405", timer=time.process_time)
def test_full_matrix(benchmark, sets, matrix_way, tree_way):
    points = np.concatenate(sets)
    benchmark.pedantic(cd_sq_matrix, args=(points,), kwargs={"workers": 1}, rounds=1)
    took = benchmark.stats.stats.min
    ratios = matrix_way * ALL_PAIRS / took, tree_way * DISTINCT_PAIRS / took
    record(benchmark, us_per_pair=1e6 * took / DISTINCT_PAIRS, published_ratio=ratios[0], trees_ratio=ratios[1])
    record(benchmark, published_ms_per_pair=1e3 * matrix_way, trees_ms_per_pair=1e3 * tree_way)
    assert ratios[0] >= 1000
    assert ratios[1] >= 30


@pytest.mark.benchmark(group="405 + 405", timer=time.process_time)
def test_set_metrics(benchmark, sets, matrix_way, tree_way):
    def values():
        return set_values(chamfer_lists(*sets, length=1, workers=1))

    benchmark.pedantic(values, rounds=2)
    took = benchmark.stats.stats.min
    ratios = matrix_way * ALL_PAIRS / took, tree_way * DISTINCT_PAIRS / took
    record(benchmark, published_ratio=ratios[0], trees_ratio=ratios[1])
    assert ratios[0] >= 10_000
    assert ratios[1] >= 300


@pytest.mark.benchmark(group="405 + 405", timer=time.process_time)
def test_set_metrics_with_intervals(benchmark, sets, matrix_way):
    def values_and_intervals():
        lists = chamfer_lists(*sets, workers=1)
        return set_values(lists), set_intervals(lists, seed=0)

    start = time.process_time()
    alone = set_values(chamfer_lists(*sets, length=1, workers=1))
    took_alone = time.process_time() - start
    with_intervals, _ = benchmark.pedantic(values_and_intervals, rounds=2)
    took = benchmark.stats.stats.min
    record(benchmark, published_ratio=matrix_way * ALL_PAIRS / took, times_the_values_alone=took / took_alone)
    assert with_intervals == alone
    assert took <= 3 * took_alone


def test_values_equal_those_of_the_full_matrix(sets):
    """On a subset, so that the benchmark stays affordable; `tests/distances` compares every list."""
    some = tuple(points[:80] for points in sets)
    matrix = cd_sq_matrix(np.concatenate(some))
    assert set_values(chamfer_lists(*some, length=1)) == set_values(lists_from_matrix(matrix, reference_count=80))


@pytest.mark.benchmark(group="two cores")
@pytest.mark.parametrize(("what", "least"), [("full matrix", 1.7), ("set metrics", 1.4)])
def test_both_cores_are_used(benchmark, sets, speed_up, what, least):
    some = tuple(points[:150] for points in sets)

    def run(workers):
        if what == "full matrix":
            cd_sq_matrix(np.concatenate(some), workers=workers)
        else:
            chamfer_lists(*some, workers=workers)

    ours, machine = benchmark.pedantic(speed_up, args=(run,), rounds=1)
    record(benchmark, speed_up=ours, speed_up_of_hashing=machine)
    if machine < 1.9:
        pytest.skip(f"other work leaves {machine:.2f} of two cores")
    assert ours >= least


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.benchmark(group="a full matrix on a GPU")
def test_matrix_on_a_gpu(benchmark):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, COUNT, POINTS, 3)).astype(np.float32)
    triton, plain = (choose_backend(name, device="cuda").cd_sq_matrix for name in ("triton", "torch"))
    triton(a[:32], b[:32])  # compiles the kernel
    matrix = benchmark.pedantic(triton, args=(a, b), rounds=3)
    start = time.perf_counter()
    expected = plain(a, b)
    ratio = (time.perf_counter() - start) / benchmark.stats.stats.min
    np.testing.assert_allclose(matrix, expected, rtol=1e-6)
    benchmark.extra_info["torch_ratio"] = float(f"{ratio:.3g}")
    assert ratio >= 10
