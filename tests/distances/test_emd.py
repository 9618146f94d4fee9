from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from hdbench.distances.blocks import make_blocks
from hdbench.distances.emd import emd_l2, emd_l2_matrix, emd_sq, emd_sq_matrix
from hdbench.distances.emd_auction import auction, start_prices
from hdbench.distances.emd_settle import settle
from hdbench.errors import HdbenchError

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
FUNCTIONS = [(emd_l2, "euclidean"), (emd_sq, "sqeuclidean")]


def oracle(a, b, metric):
    costs = cdist(a.astype(np.float64), b.astype(np.float64), metric)
    return costs[linear_sum_assignment(costs)].mean()


def sheet(rng, count):
    u, v = rng.uniform(-1, 1, (2, count))
    return np.stack([u, v * rng.uniform(0.2, 1), np.sin(3 * u) * rng.uniform(0, 0.5)], -1)


def lattice(rng, count):
    return rng.integers(0, 4, (count, 3)) / 4


def duplicates(rng, count):
    return rng.normal(size=(max(1, count // 7), 3))[rng.integers(0, max(1, count // 7), count)]


def constant(rng, count):
    return np.tile(rng.normal(size=3), (count, 1))


def line(rng, count):
    return np.outer(rng.uniform(-1, 1, count), [1.0, 0.0, 0.0])


def noise(rng, count):
    return rng.normal(size=(count, 3))


KINDS = [sheet, lattice, duplicates, constant, line, noise]


def make(kind, seed, count, scale=1.0, offset=0.0):
    return (kind(np.random.default_rng([seed, count]), count) * scale + offset).astype(np.float32)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f[0].__name__)
@pytest.mark.parametrize("kind", KINDS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("other", [sheet, lattice, constant], ids=lambda f: f.__name__)
@pytest.mark.parametrize("count", [1, 2, 15, 17, 300])
def test_the_optimum(function, kind, other, count):
    emd, metric = function
    a, b = make(kind, 0, count), make(other, 1, count)
    expected = oracle(a, b, metric)
    result = emd(a, b)
    # Both sum the same float64 costs, in another order.
    assert result.value == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert (result.lower, result.gap) == (result.value, 0)


@given(
    st.integers(0, 1000), st.integers(1, 90), st.sampled_from(KINDS), st.sampled_from(KINDS),
    st.sampled_from([1e-12, 1e-3, 1.0, 1e6]), st.sampled_from([0.0, 5.0, 1000.0]), st.sampled_from([1e-1, 1e-2, 1e-4]),
    st.sampled_from(FUNCTIONS),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_certificates_hold(seed, count, kind, other, scale, offset, tolerance, function):
    emd, metric = function
    a, b = make(kind, seed, count, scale, offset * scale), make(other, seed + 1, count, scale, offset * scale)
    expected = oracle(a, b, metric)
    result = emd(a, b, tolerance=tolerance)
    assert result.lower <= expected * (1 + 1e-12)
    assert result.value >= expected * (1 - 1e-12)
    assert result.gap <= tolerance


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f[0].__name__)
@pytest.mark.parametrize("kind", [sheet, noise])
def test_full_size_clouds(function, kind):
    emd, metric = function
    a, b = make(kind, 0, 2048), make(kind, 1, 2048)
    expected = oracle(a, b, metric)
    loose = emd(a, b, tolerance=1e-4)
    assert loose.lower <= expected * (1 + 1e-12)
    assert expected * (1 - 1e-12) <= loose.value <= expected * (1 + 1e-4)
    assert emd(a, b).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kinds", [(lattice, sheet), (constant, sheet), (duplicates, duplicates), (line, line)])
def test_many_ties(kinds):
    a, b = (make(kind, seed, 700) for seed, kind in enumerate(kinds))
    assert emd_l2(a, b).value == pytest.approx(oracle(a, b, "euclidean"), rel=1e-12)


def test_nearly_equal_clouds():
    a = make(sheet, 0, 300)
    b = a.copy()
    b[7] += np.float32(1e-5)
    assert emd_l2(a, a[::-1]).value == 0
    assert emd_l2(a, a[::-1], tolerance=1e-4) == (0, 0, 0)
    assert emd_l2(a, b).value == pytest.approx(oracle(a, b, "euclidean"), rel=1e-9)
    assert emd_l2(a, b, tolerance=1e-4).gap <= 1e-4


def test_an_auction_stopped_early_still_proves_its_bounds():
    a, b = make(sheet, 0, 500), make(noise, 1, 500)
    x, y = make_blocks(a[None]), make_blocks(b[None])
    owners = np.empty(500, np.int32)
    expected = oracle(a, b, "euclidean")
    prices = start_prices(y)
    upper, lower = auction(x, 0, y, 0, False, 0.0, 1e-4, expected / 2, prices, owners)
    assert expected / 2 < lower <= expected <= upper
    assert upper - lower > 1e-4 * upper
    assert sorted(owners) == list(range(500))
    assert settle(x, 0, y, 0, False, prices, owners, upper, lower) == pytest.approx(expected, rel=1e-12)


def test_settling_from_nothing():
    a, b = make(sheet, 0, 100), make(noise, 1, 100)
    x, y = make_blocks(a[None]), make_blocks(b[None])
    start = np.arange(100, dtype=np.int32)
    value = settle(x, 0, y, 0, True, start_prices(y), start, 1e3, 0.0)
    assert value == pytest.approx(oracle(a, b, "sqeuclidean"), rel=1e-12)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside the repository")
def test_golden_matrices():
    data = np.load(GOLDEN / "metrics" / "emd_shapes_2048.npz", allow_pickle=False)
    reference, samples = data["ref_pcs"], data["sample_pcs"]
    np.testing.assert_allclose(emd_l2_matrix(reference, samples), data["M_rs_emd_exact"], rtol=1e-5)
    np.testing.assert_allclose(emd_l2_matrix(reference), data["M_rr_emd_exact"], rtol=1e-5)
    small = np.load(GOLDEN / "metrics" / "cd_gauss_256.npz", allow_pickle=False)
    np.testing.assert_allclose(emd_l2_matrix(small["ref_pcs"], small["sample_pcs"]), small["M_rs_emd_exact"], rtol=1e-5)


@pytest.mark.parametrize("matrix", [emd_l2_matrix, emd_sq_matrix])
def test_threads_and_order_of_points_change_no_bit(matrix):
    clouds = np.stack([make(sheet, seed, 120) for seed in range(5)])
    one = matrix(clouds, workers=1)
    assert np.array_equal(one, one.T)
    assert not one.diagonal().any()
    assert np.array_equal(one, matrix(clouds, workers=3))
    assert np.array_equal(one, matrix(clouds[:, np.random.default_rng(0).permutation(120)], workers=2))


def test_sequences_are_averaged_over_frames():
    a, b = (np.stack([make(sheet, seed + t, 60) for t in range(3)]) for seed in (0, 10))
    expected = np.mean([oracle(x, y, "euclidean") for x, y in zip(a, b, strict=True)])
    assert emd_l2(a, b).value == pytest.approx(expected, rel=1e-12)
    assert emd_l2_matrix(a[None], b[None])[0, 0] == emd_l2(a, b).value
    assert emd_l2(a, b, tolerance=0.01).lower <= expected


def test_unusable_input_is_refused():
    a = make(sheet, 0, 20)
    with pytest.raises(HdbenchError, match="equally many: got clouds of 20 and 19"):
        emd_l2(a, a[:19])
    with pytest.raises(HdbenchError, match="3 and 2 frames"):
        emd_l2(np.stack([a] * 3), np.stack([a] * 2))
    with pytest.raises(HdbenchError, match="no points"):
        emd_sq(a[:0], a[:0])
    with pytest.raises(HdbenchError, match="not finite"):
        emd_sq(a, np.full_like(a, np.nan))
