import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hdbench.metrics import divergence
from hdbench.metrics.divergence import NODES, jsd, jsd_interval, occupied_nodes, score_divergence
from hdbench.metrics.family import Inputs
from hdbench.metrics.protocols import get_protocol, normalise
from hdbench.progress import Progress

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside the repository")


def clouds(seed, count=20, points=128, spread=0.2):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, points, 3)) * spread * rng.uniform(0.5, 1, (count, 1, 3))).astype(np.float32)


def naive_nodes():
    axis = np.arange(28) / 27 - 0.5
    grid = np.array([(x, y, z) for x in axis for y in axis for z in axis])
    return grid[np.linalg.norm(grid, axis=1) <= 0.5]


def naive_jsd(a, b):
    p, q = (
        np.bincount(cdist(cloud.reshape(-1, 3), naive_nodes()).argmin(1), minlength=10_144) / cloud[..., 0].size
        for cloud in (a, b)
    )
    mixed = (p + q) / 2
    return sum(np.sum(x[x > 0] * np.log2(x[x > 0] / mixed[x > 0])) / 2 for x in (p, q))


def inputs(samples, reference, protocol="pvd"):
    protocol = get_protocol(protocol)
    return Inputs(protocol, samples, reference, samples, reference, 0, 1, Progress())


def test_agrees_with_a_naive_count():
    a, b = clouds(0, 5), clouds(1, 7, spread=0.4)
    assert len(naive_nodes()) == NODES
    assert jsd(occupied_nodes(a), occupied_nodes(b)) == pytest.approx(naive_jsd(a, b), abs=1e-12)


def test_known_values():
    a = occupied_nodes(clouds(0))
    assert jsd(a, a) == 0
    here, there = np.full((3, 10, 3), 0.3, np.float32), np.full((2, 10, 3), -0.3, np.float32)
    assert jsd(occupied_nodes(here), occupied_nodes(there)) == 1
    b = occupied_nodes(clouds(1))
    assert jsd(a, b) == jsd(b, a)


def test_points_outside_count_for_the_border():
    far = np.float32([[[0, 0, 9]]])
    distances = np.linalg.norm(naive_nodes() - far[0], axis=1)
    assert distances[occupied_nodes(far)[0, 0]] == pytest.approx(distances.min())


def test_frames_are_counted_together():
    points = clouds(0, 6)
    sequences = points.reshape(2, 3, *points.shape[1:])
    other = occupied_nodes(clouds(1))
    assert jsd(occupied_nodes(sequences), other) == jsd(occupied_nodes(points), other)


def test_interval_holds_the_value_and_needs_shapes():
    a, b = occupied_nodes(clouds(0)), occupied_nodes(clouds(1))
    low, high = jsd_interval(a, b, seed=0)
    assert 0 < low < jsd(a, b) < high < 1
    assert jsd_interval(a, b, seed=0) == (low, high)
    assert jsd_interval(a[:3], b, seed=0) is None


@pytest.mark.slow
def test_intervals_cover():
    values, intervals = [], []
    for seed in range(150):
        a, b = (occupied_nodes(clouds(2 * seed + k, 30, 256, 0.1 + 0.03 * k)) for k in range(2))
        values.append(jsd(a, b))
        intervals.append(jsd_interval(a, b, seed=seed))
    # The estimate is biased upward, as ever with histograms; the interval is about the estimate's own mean.
    truth = np.mean(values)
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert covered >= 0.9


def test_the_protocol_says_what_is_counted():
    samples, reference = clouds(0), clouds(1)
    result = score_divergence(inputs(samples, reference, "dpc"))
    boxed = (occupied_nodes(normalise(points, "bounding-box")) for points in (samples, reference))
    assert result.estimates["jsd"].value == jsd(*boxed)
    assert result.facts == {"jsd-normalisation": "bounding-box"}
    assert score_divergence(inputs(samples, reference, "hyperdiffusion")).estimates["jsd"].value is None


@needs_golden
@pytest.mark.parametrize("case", ["cd_gauss_256", "cd_shapes_512", "cd_unequal_256", "cd_unnormalised_1024"])
def test_golden(case):
    with np.load(GOLDEN / "metrics" / f"{case}.npz", allow_pickle=False) as data:
        sets = data["sample_pcs"], data["ref_pcs"]
    manifest = json.loads((GOLDEN / "manifest.json").read_text())["files"]
    entries = manifest.values() if isinstance(manifest, dict) else manifest
    values = next(entry["values"] for entry in entries if entry["file"] == f"metrics/{case}.npz")
    for name, how in [("raw", "none"), ("shape_bbox", "bounding-box"), ("half_bbox", "half-bounding-box")]:
        ours = jsd(*(occupied_nodes(normalise(points, how)) for points in sets))
        assert ours == pytest.approx(values[f"jsd_{name}"], abs=1e-9)  # the recording's tolerance


@pytest.mark.parametrize("constant", ["BLOCK", "ROWS_AT_ONCE"])
def test_no_bit_depends_on_how_many_are_held_at_once(constant, monkeypatch):
    rng = np.random.default_rng(0)
    nodes = rng.integers(0, divergence.NODES, (2, 9, 50)).astype(np.int16)
    halves = rng.random((13, 9)) < 0.5
    halves[:, 0] = True
    together = divergence.subset_divergences(*nodes, halves, halves)
    for size in (1, 2, 4, 100):
        monkeypatch.setattr(divergence, constant, size)
        assert np.array_equal(divergence.subset_divergences(*nodes, halves, halves), together)


def test_no_node_depends_on_how_many_threads_search():
    points = clouds(0, spread=0.4)
    assert np.array_equal(occupied_nodes(points, threads=3), occupied_nodes(points))
