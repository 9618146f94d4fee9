import json
from pathlib import Path

import numpy as np
import pytest

from hdbench.distances.emd_published import (
    emd_approxmatch_l2,
    emd_approxmatch_l2_matrix,
    emd_approxmatch_sq,
    emd_approxmatch_sq_matrix,
)
from hdbench.errors import HdbenchError

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside the repository")


def approxmatch(giver, taker, levels, cost_of):
    """The published scheme, dense and in float64, with the whole matrix of what is moved."""
    squared = ((giver[:, None].astype(np.float64) - taker[None]) ** 2).sum(-1)
    mass, room, moved = np.ones(len(giver)), np.ones(len(taker)), np.zeros_like(squared)
    for level in levels:
        kernel = np.exp(-level * squared)
        offer = mass / (1e-9 + kernel @ room)
        offered = room * (offer @ kernel)
        accepted = np.minimum(room / (offered + 1e-9), 1) * room
        room = np.maximum(room - offered, 0)
        flow = kernel * offer[:, None] * accepted
        moved += flow
        mass = np.maximum(mass - flow.sum(1), 0)
    return (moved * cost_of(squared)).sum() / len(giver)


def oracle_l2(a, b):
    return approxmatch(a, b, [4.0**j for j in range(7, -2, -1)], np.sqrt)


def oracle_sq(a, b):
    return approxmatch(a, b, [4.0**j for j in range(7, -2, -1)] + [0.0], lambda squared: squared)


def clouds(seed, count, points, scale=1.0):
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1, 1, (2, count, points))
    bend, width = rng.uniform(0.5, 3, (2, count, 1))
    return (scale * np.stack([u, v * width / 3, np.sin(bend * u)], -1)).astype(np.float32)


@pytest.mark.parametrize("points", [1, 5, 16, 37, 300])
@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_agrees_with_the_dense_scheme(points, scale):
    a, b = clouds(points, 2, points, scale)
    # Float32 masses near zero cross the 1e-9 of the scheme a little earlier or later than float64 ones do.
    assert emd_approxmatch_l2(a, b) == pytest.approx(oracle_l2(a, b), rel=2e-4)
    assert emd_approxmatch_sq(a, b) == pytest.approx(oracle_sq(a, b), rel=2e-4)


def test_the_first_cloud_gives():
    a, b = clouds(0, 2, 200)
    assert emd_approxmatch_l2(a, b) != pytest.approx(emd_approxmatch_l2(b, a), rel=1e-4)
    matrix = emd_approxmatch_l2_matrix(np.stack([a, b]))
    assert matrix[0, 1] == emd_approxmatch_l2(a, b)
    assert matrix[1, 0] == emd_approxmatch_l2(b, a)


@needs_golden
@pytest.mark.parametrize("block", [("rs", "ref", "sample"), ("rr", "ref", "ref"), ("ss", "sample", "sample")])
def test_full_size_golden_matrices(block):
    name, first, second = block
    data = np.load(GOLDEN / "metrics" / "emd_shapes_2048.npz", allow_pickle=False)
    a, b = data[f"{first}_pcs"], data[f"{second}_pcs"]
    l2, sq = emd_approxmatch_l2_matrix(a, b), emd_approxmatch_sq_matrix(a, b)
    # Absolute: what a cloud costs against itself is rounding, 1e-5 and less, there as here.
    np.testing.assert_allclose(l2, data[f"M_{name}_emd_approx_pointflow"], rtol=1e-5, atol=5e-5)
    np.testing.assert_allclose(sq, data[f"M_{name}_emd_pvd"], rtol=1e-5, atol=1e-6)


def assert_close(values, recorded):
    """The manifest's tolerance for any pair, and a much closer agreement for most.

    The last rounds divide what float32 left of nearly spent masses by 1e-9 and more of the same kind, so that a rare
    pair of noisy clouds depends on the order of sums.
    """
    errors = np.abs(values / recorded - 1)
    assert errors.max() < 2e-3
    assert np.quantile(errors, 0.95) < 1e-4


@needs_golden
def test_all_recorded_golden_matrices():
    folder = GOLDEN / "metrics"
    names = [file["file"] for file in json.loads((GOLDEN / "manifest.json").read_text())["files"]]
    checked = 0
    for name in names:
        path = GOLDEN / name
        if path.parent != folder or path.name == "emd_shapes_2048.npz":
            continue
        data = np.load(path, allow_pickle=False)
        if "M_rs_emd_pvd" in data:
            a, b = data["ref_pcs"], data["sample_pcs"]
            assert_close(emd_approxmatch_l2_matrix(a, b), data["M_rs_emd_approx_pointflow"])
            assert_close(emd_approxmatch_sq_matrix(a, b), data["M_rs_emd_pvd"])
            checked += 1
    assert checked


def test_threads_and_order_of_points_change_no_bit():
    sets = clouds(1, 5, 130)
    one = emd_approxmatch_sq_matrix(sets, workers=1)
    assert np.array_equal(one, emd_approxmatch_sq_matrix(sets, workers=3))
    rows = sets[:, np.random.default_rng(1).permutation(130)]
    assert np.array_equal(one, emd_approxmatch_sq_matrix(rows, workers=2))


def test_sequences_are_averaged_over_frames():
    a, b = clouds(2, 3, 50), clouds(3, 3, 50)
    frames = [emd_approxmatch_l2(x, y) for x, y in zip(a, b, strict=True)]
    assert emd_approxmatch_l2(a, b) == pytest.approx(np.mean(frames), rel=1e-12)


def test_equal_clouds_and_constant_clouds():
    a = clouds(4, 1, 100)[0]
    assert emd_approxmatch_l2(a, a) < 1e-3
    point = np.zeros((40, 3), np.float32)
    assert emd_approxmatch_sq(point, point) == 0
    assert emd_approxmatch_l2(point, point + np.float32(0.5)) == pytest.approx(oracle_l2(point, point + 0.5), rel=1e-4)


def test_unequal_counts_are_refused():
    with pytest.raises(HdbenchError, match="equally many: got clouds of 10 and 11"):
        emd_approxmatch_l2(np.zeros((10, 3), np.float32), np.zeros((11, 3), np.float32))
    with pytest.raises(HdbenchError, match="frames"):
        emd_approxmatch_sq(np.zeros((2, 9, 3), np.float32), np.zeros((3, 9, 3), np.float32))
