import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file
from threadpoolctl import threadpool_limits

from hdbench import extractors
from hdbench.extractors import load_extractor, save_extractor
from hdbench.features.extraction import extract_features
from hdbench.features.pointnet2 import PointNet2
from hdbench.metrics.family import Inputs
from hdbench.metrics.frechet import feature_intervals, frechet_distance, kernel_distance, score_features
from hdbench.metrics.protocols import get_protocol
from hdbench.progress import Progress

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside the repository")


def features(seed, count=60, dimensions=8, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(4, dimensions))
    hidden = (rng.normal(size=(count, 4)) + shift) @ mixing + 0.3 * rng.normal(size=(count, dimensions))
    return np.maximum(hidden, 0).astype(np.float32)


def naive_frechet(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)


def naive_kernel_distance(a, b):
    def kernel(x, y):
        return (float(x.astype(np.float64) @ y.astype(np.float64)) / len(x) + 1) ** 3

    def within(rows):
        return np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j])

    return within(a) + within(b) - 2 * np.mean([kernel(x, y) for x in a for y in b])


class TestFrechetDistance:
    @pytest.mark.parametrize("counts", [(60, 60), (200, 30)])
    def test_agrees_with_the_matrix_square_root(self, counts):
        a, b = features(0, counts[0]), features(1, counts[1], shift=0.3)
        assert frechet_distance(a, b) == pytest.approx(naive_frechet(a, b), rel=1e-6)

    @pytest.mark.parametrize("count", [2, 5, 40])
    def test_of_a_set_with_itself_is_zero(self, count):
        # Traces of order 10 cancel: what is left is their float64 rounding.
        assert frechet_distance(features(0, count), features(0, count)) < 1e-12

    def test_is_symmetric_and_blind_to_order(self):
        a, b = features(0, 20), features(1, 50)
        assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
        assert frechet_distance(a, b) == pytest.approx(frechet_distance(a[::-1], b), rel=1e-12)

    def test_of_shifted_features_is_the_squared_shift(self):
        a = features(0).astype(np.float64)
        assert frechet_distance(a, a + 2) == pytest.approx(8 * 4, rel=1e-12)

    def test_threads_change_no_bit(self):
        a, b = features(0, 300, 64), features(1, 300, 64)
        with threadpool_limits(2, "blas"):
            several = frechet_distance(a, b), kernel_distance(a, b)
        with threadpool_limits(1, "blas"):
            assert several == (frechet_distance(a, b), kernel_distance(a, b))

    @needs_golden
    def test_golden(self):
        with np.load(GOLDEN / "fid" / "fid_features.npz", allow_pickle=False) as data:
            recorded = dict(data)
        values = golden_values("fid/fid_features.npz")
        for case, expected in values.items():
            ours = frechet_distance(recorded[f"{case}_real"], recorded[f"{case}_fake"])
            assert ours == pytest.approx(expected["exact_svd"], rel=1e-8, abs=1e-9)
            published = expected["torchmetrics_fid"]
            assert abs(ours - published) <= max(1e-4 * published, 5 * expected["abs_err_vs_exact"])


class TestKernelDistance:
    def test_agrees_with_a_naive_loop(self):
        a, b = features(0, 12), features(1, 9, shift=0.5)
        assert kernel_distance(a, b) == pytest.approx(naive_kernel_distance(a, b), rel=1e-10)

    def test_is_unbiased(self):
        values = [kernel_distance(features(2 * seed, 12), features(2 * seed + 1, 12)) for seed in range(300)]
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


class TestIntervals:
    def test_hold_the_values_and_need_shapes(self):
        a, b = features(0), features(1, shift=0.5)
        intervals = feature_intervals(a, b, seed=0)
        assert intervals == feature_intervals(a, b, seed=0)
        assert 0 < intervals.fpd[0] < frechet_distance(a, b) < intervals.fpd[1]
        assert intervals.kpd[0] < kernel_distance(a, b) < intervals.kpd[1]
        assert feature_intervals(a[:5], b, seed=0) is None

    @pytest.mark.slow
    @pytest.mark.parametrize("shift", [0.0, 0.5])
    def test_cover(self, shift):
        values, found = [], []
        for seed in range(120):
            a, b = features(2 * seed, 80), features(2 * seed + 1, 80, shift=shift)
            values.append((frechet_distance(a, b), kernel_distance(a, b)))
            found.append(feature_intervals(a, b, seed=seed, splits=40))
        # About the mean of the estimates themselves: FPD is biased by construction. Without any difference both
        # vary less than halves of the sets do, and intervals are wide; with one, KPD is skewed, and they are narrow.
        for truth, intervals in zip(np.mean(values, axis=0), zip(*found, strict=True), strict=True):
            assert 0.8 <= np.mean([low <= truth <= high for low, high in intervals]) <= 1


class TestScores:
    @pytest.fixture(autouse=True)
    def extractor(self, tmp_path, monkeypatch):
        torch.manual_seed(0)
        save_extractor("toy", PointNet2(3), {}, tmp_path / "features")
        monkeypatch.setattr(extractors, "default_root", lambda: tmp_path)

    @staticmethod
    def score(samples, reference):
        clouds = [np.random.default_rng(k).normal(size=(n, 100, 3)).astype(np.float32) for k, n in (samples, reference)]
        protocol = get_protocol("hyperdiffusion")
        return score_features(Inputs(protocol, *clouds, *clouds, 0, 1, Progress(), extractor="toy"))

    def test_name_the_extractor_and_the_bias(self):
        result = self.score((0, 9), (1, 8))
        assert result.distance.startswith("toy@")
        assert result.warnings == ("fewer-than-3-shapes-per-feature",)
        arrays = result.arrays
        values = [distance(arrays["reference_features"], arrays["sample_features"]) for distance in
                  (frechet_distance, kernel_distance)]  # fmt: skip
        assert [result.estimates[name].value for name in ("fpd", "kpd")] == values
        assert all(estimate.interval for estimate in result.estimates.values())

    def test_few_shapes_have_no_interval_and_one_no_value(self):
        assert self.score((0, 4), (1, 8)).estimates["fpd"].interval is None
        assert self.score((0, 1), (1, 8)).estimates["fpd"].value is None


@needs_golden
def test_golden_end_to_end(tmp_path):
    """From clouds to FPD with the recorded (random) weights."""
    network = PointNet2()
    network.load_state_dict(load_file(GOLDEN / "pointnet2" / "pointnet2_ssg_state_dict.safetensors"))
    save_extractor("golden", network, {}, tmp_path / "features")
    extractor = load_extractor("golden", tmp_path)
    with np.load(GOLDEN / "fid" / "fpd_end_to_end.npz", allow_pickle=False) as data:
        recorded = dict(data)
    expected = golden_values("fid/fpd_end_to_end.npz")
    stored = frechet_distance(recorded["real_features"], recorded["fake_features"])
    assert stored == pytest.approx(expected["fpd_exact_svd_of_stored_features"], rel=1e-8)
    ours = (extract_features(recorded[f"{role}_pcs"], extractor, progress=Progress()) for role in ("ref", "sample"))
    # The recording's tolerance: a neighbour at the very edge of a ball may be decided otherwise.
    assert frechet_distance(*ours) == pytest.approx(expected["fpd"], rel=1e-3)


def golden_values(name):
    manifest = json.loads((GOLDEN / "manifest.json").read_text())["files"]
    entries = manifest.values() if isinstance(manifest, dict) else manifest
    return next(entry["values"] for entry in entries if entry["file"] == name)
