import json
from pathlib import Path

import numpy as np
import pytest

from hdbench.distances.emd import emd_l2_matrix
from hdbench.metrics.emd import emd_nearest_lists, published_matrix
from hdbench.metrics.nearest import lists_from_matrix, set_values
from hdbench.metrics.scoring import score_points

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside the repository")
ORIGINAL = {
    "mmd": "lgan_mmd-EMD",
    "mmd_samples": "lgan_mmd_smp-EMD",
    "cov": "lgan_cov-EMD",
    "nna": "1-NN-EMD-acc",
    "nna_reference": "1-NN-EMD-acc_t",
    "nna_samples": "1-NN-EMD-acc_f",
}


def sets(seed, count, points=60):
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-1, 1, (2, 2 * count, points))
    bend = rng.uniform(0.3, 3, (2 * count, 1))
    clouds = np.stack([u, v * bend / 3, np.sin(bend * u)], -1).astype(np.float32)
    return clouds[:count], clouds[count:]


def golden_cases(kind):
    manifest = json.loads((GOLDEN / "manifest.json").read_text()) if GOLDEN.is_dir() else {"files": []}
    return [file for file in manifest["files"] if kind in file.get("values", {})]


def comparable(case):
    """Names of ours and of the original; the original's 1-NN picks arbitrarily among exact duplicates."""
    return [pair for pair in ORIGINAL.items() if "duplicates" not in case["file"] or not pair[0].startswith("nna")]


@needs_golden
@pytest.mark.parametrize("case", golden_cases("pointflow_exact_emd"), ids=lambda case: case["file"])
def test_exact_values_are_those_of_the_original(case):
    data = np.load(GOLDEN / case["file"], allow_pickle=False)
    values = set_values(emd_nearest_lists(data["ref_pcs"], data["sample_pcs"]))
    for name, original in comparable(case):
        assert getattr(values, name) == pytest.approx(case["values"]["pointflow_exact_emd"][original], rel=1e-5)


@needs_golden
@pytest.mark.parametrize("kind", ["pointflow_approx_emd", "pvd_cuda_kernels"])
def test_published_values_are_those_of_the_original(kind):
    cases = golden_cases(kind)
    assert cases
    for case in cases:
        data = np.load(GOLDEN / case["file"], allow_pickle=False)
        matrix = published_matrix(data["ref_pcs"], data["sample_pcs"], squared=kind == "pvd_cuda_kernels")
        values = set_values(lists_from_matrix(matrix, reference_count=len(data["ref_pcs"])))
        for name, original in comparable(case):
            # The manifest's tolerance of approximate EMD matrices is 2e-3.
            assert getattr(values, name) == pytest.approx(case["values"][kind][original], rel=2e-3)


def test_scores_of_the_family():
    reference, samples = sets(0, 12)
    scores, statistics = score_points(samples, reference, protocol="hdbench", metrics=["emd"])
    by_name = {score.metric: score for score in scores}
    assert set(by_name) == {f"{name.split('_')[0]}_emd" + name.removeprefix(name.split("_")[0]) for name in ORIGINAL}
    for score in scores:
        assert score.interval is not None
        assert score.interval[0] <= score.value <= score.interval[1]
        assert "emd_l2" in score.signature
    assert by_name["mmd_emd"].unit == "length"
    lists = statistics.nearest_lists("hdbench", "emd")
    assert set_values(lists).cov == by_name["cov_emd"].value


def test_published_scores_only_where_the_protocol_has_them():
    reference, samples = sets(1, 8, points=32)
    scores, _ = score_points(samples, reference, protocol="pvd", metrics=["emd_published"])
    assert all(score.value is not None for score in scores)
    assert "emd_approxmatch_sq" in scores[0].signature
    scores, _ = score_points(samples, reference, protocol="hdbench", metrics=["emd_published"])
    assert all(score.value is None and "no published EMD" in score.reason for score in scores)


def test_the_nearest_is_that_of_the_full_matrix():
    reference, samples = sets(2, 15)
    matrix = emd_l2_matrix(np.concatenate([reference, samples]))
    expected = set_values(lists_from_matrix(matrix, reference_count=15))
    assert set_values(emd_nearest_lists(reference, samples)) == pytest.approx(expected, rel=1e-12)
    assert set_values(emd_nearest_lists(reference, samples, length=1)) == pytest.approx(expected, rel=1e-12)
