"""Earth mover's distances against what one would use instead, in one run.

All ratios are of CPU time of one thread on the same clouds: airplanes against as many others with a little noise,
2,048 points each, 96 + 96 unless `--emd-set-size` says otherwise (published comparisons: 405 + 405). Assignment on all
pairs would take days; it is timed on twelve arbitrary ones and multiplied up.
"""

import time

import numpy as np
import ot
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from hdbench.distances.emd import emd_l2, emd_sq
from hdbench.distances.emd_published import emd_approxmatch_l2, emd_approxmatch_sq
from hdbench.metrics.emd import emd_nearest_lists
from hdbench.metrics.nearest import set_values
from hdbench.metrics.uncertainty import set_intervals

POINTS, TIMED_PAIRS = 2048, 12

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def sets(airplanes, pytestconfig):
    """Reference and samples, normalised as HyperDiffusion's metrics are."""
    return airplanes(pytestconfig.getoption("--emd-set-size"))


@pytest.fixture(scope="module")
def pairs(sets):
    """A dozen arbitrary pairs of a reference and a sample."""
    return [(sets[0][i], sets[1][i]) for i in range(TIMED_PAIRS)]


def seconds(function, *args):
    start = time.process_time()
    result = function(*args)
    return time.process_time() - start, result


@pytest.fixture(scope="module")
def assignment(pairs):
    """CPU seconds per pair of scipy's assignment (PointFlow's own fallback) and of POT's, and their mean optimum."""
    weights = np.full(POINTS, 1 / POINTS)
    times, optima = np.zeros(2), []
    for a, b in pairs:
        making, costs = seconds(cdist, a.astype(np.float64), b.astype(np.float64))
        scipy_time, (rows, columns) = seconds(linear_sum_assignment, costs)
        pot_time, optimum = seconds(lambda costs=costs: ot.emd2(weights, weights, costs, numItermax=10**7))
        assert optimum == pytest.approx(costs[rows, columns].mean(), rel=1e-9)
        times += [making + scipy_time, making + pot_time]
        optima.append(optimum)
    return times / len(pairs), np.array(optima)


def record(benchmark, **figures):
    benchmark.extra_info.update({name: float(f"{value:.4g}") for name, value in figures.items()})


@pytest.mark.benchmark(group="EMD of a pair", timer=time.process_time)
@pytest.mark.parametrize(("tolerance", "least"), [(1e-4, 30), (0.0, 20)], ids=["gap 1e-4", "optimum"])
def test_pair(benchmark, pairs, assignment, tolerance, least):
    def ours():
        return np.array([emd_l2(a, b, tolerance=tolerance).value for a, b in pairs])

    ours()
    values = benchmark.pedantic(ours, rounds=3)
    (scipy_time, pot_time), optima = assignment
    took = benchmark.stats.stats.min / len(pairs)
    record(benchmark, ms=1e3 * took, pot_ratio=pot_time / took, scipy_ratio=scipy_time / took)
    record(benchmark, pot_ms=1e3 * pot_time, scipy_ms=1e3 * scipy_time, error=np.abs(values / optima - 1).max())
    assert np.abs(values / optima - 1).max() <= max(tolerance, 1e-9)
    assert pot_time / took >= least


@pytest.mark.benchmark(group="EMD of a pair", timer=time.process_time)
def test_pair_of_squares(benchmark, pairs):
    weights = np.full(POINTS, 1 / POINTS)
    peer = 0.0
    for a, b in pairs[:4]:
        costs = cdist(a.astype(np.float64), b.astype(np.float64), "sqeuclidean")
        took, optimum = seconds(lambda costs=costs: ot.emd2(weights, weights, costs, numItermax=10**7))
        assert emd_sq(a, b).value == pytest.approx(optimum, rel=1e-9)
        peer += took / 4
    benchmark.pedantic(lambda: [emd_sq(a, b) for a, b in pairs], rounds=3)
    took = benchmark.stats.stats.min / len(pairs)
    record(benchmark, ms=1e3 * took, pot_ratio=peer / took)


def approxmatch_in_torch(giver, taker, levels, cost):
    """The published scheme as one writes it in torch."""
    squared = ((giver[:, None] - taker[None]) ** 2).sum(-1)
    mass, room, moved = torch.ones(len(giver)), torch.ones(len(taker)), torch.zeros_like(squared)
    for level in levels:
        kernel = torch.exp(-level * squared)
        offer = mass / (1e-9 + kernel @ room)
        offered = room * (offer @ kernel)
        accepted = torch.clamp(room / (offered + 1e-9), max=1) * room
        room = torch.clamp(room - offered, min=0)
        flow = kernel * offer[:, None] * accepted
        moved += flow
        mass = torch.clamp(mass - flow.sum(1), min=0)
    return float((moved * cost(squared)).sum()) / len(giver)


@pytest.mark.benchmark(group="published EMD of a pair", timer=time.process_time)
@pytest.mark.parametrize("kind", ["l2", "sq"])
def test_published(benchmark, pairs, kind):
    levels = [4.0**j for j in range(7, -2, -1)] + ([0.0] if kind == "sq" else [])
    ours = emd_approxmatch_sq if kind == "sq" else emd_approxmatch_l2
    tensors = [tuple(map(torch.from_numpy, pair)) for pair in pairs[:4]]
    cost = torch.sqrt if kind == "l2" else torch.Tensor.clone
    peer, values = seconds(lambda: [approxmatch_in_torch(a, b, levels, cost) for a, b in tensors])
    benchmark.pedantic(lambda: [ours(a, b) for a, b in pairs], rounds=3, warmup_rounds=1)
    took = benchmark.stats.stats.min / len(pairs)
    record(benchmark, ms=1e3 * took, torch_ms=1e3 * peer / 4, torch_ratio=peer / 4 / took)
    assert [ours(a, b) for a, b in pairs[:4]] == pytest.approx(values, rel=2e-3)
    assert peer / 4 / took >= 10


@pytest.mark.benchmark(group="EMD of two sets", timer=time.process_time)
@pytest.mark.parametrize(("intervals", "least"), [(False, 1000), (True, 1000 / 3)], ids=["values", "with intervals"])
def test_suite(benchmark, sets, assignment, intervals, least):
    def suite():
        lists = emd_nearest_lists(*sets, length=None if intervals else 1, workers=1)
        return set_values(lists), intervals and set_intervals(lists, seed=0)

    count = len(sets[0])
    published_pairs = 3 * count**2  # what the published code computes: references, samples, and between them, in full
    distinct_pairs = count * (2 * count - 1)
    benchmark.pedantic(suite, rounds=1)
    scipy_time, pot_time = assignment[0]
    took = benchmark.stats.stats.min
    record(benchmark, set_size=count, ms_per_pair=1e3 * took / distinct_pairs)
    record(benchmark, scipy_hours=scipy_time * published_pairs / 3600, pot_hours=pot_time * distinct_pairs / 3600)
    record(benchmark, scipy_ratio=scipy_time * published_pairs / took, pot_ratio=pot_time * distinct_pairs / took)
    assert scipy_time * published_pairs / took >= least


@pytest.mark.benchmark(group="two cores")
def test_both_cores_are_used(benchmark, sets, speed_up):
    some = tuple(points[:40] for points in sets)
    ours, machine = benchmark.pedantic(speed_up, args=(lambda n: emd_nearest_lists(*some, workers=n),), rounds=1)
    record(benchmark, speed_up=ours, speed_up_of_hashing=machine)
    if machine < 1.9:
        pytest.skip(f"other work leaves {machine:.2f} of two cores")
    assert ours >= 1.7
