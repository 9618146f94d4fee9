import dataclasses

import numpy as np
import pytest

from hdbench.errors import HdbenchError
from hdbench.geometry.normalisation import Moments
from hdbench.metrics.protocols import PROTOCOLS, get_protocol
from hdbench.metrics.scoring import FAMILIES, Statistics, metric_named, score_points
from hdbench.metrics.uncertainty import paired_comparison

CD = ["mmd_cd", "mmd_cd_samples", "cov_cd", "nna_cd", "nna_cd_samples", "nna_cd_reference"]


def clouds(seed, count=20, points=64, *, stretch=0.4):
    """Ellipsoids of random proportions: a family of shapes with something to tell apart."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, points, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return (directions * np.exp(stretch * rng.normal(size=(count, 1, 3)))).astype(np.float32)


def by_name(scores):
    return {score.metric: score for score in scores}


def scored(samples, reference, **options):
    return by_name(score_points(samples, reference, **{"protocol": "hdbench", "metrics": ["cd"], **options})[0])


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_whatever_a_protocol_asks_for_some_family_computes(protocol):
    assert set(protocol.metrics) <= {metric.name for family in FAMILIES for metric in family.metrics}


def test_scores_carry_values_intervals_targets_and_signatures():
    scores, _ = score_points(clouds(0), clouds(1), protocol="hyperdiffusion", metrics=CD, data="toy/ellipsoid/test")
    assert [score.metric for score in scores] == CD
    for score in scores:
        assert score.protocol == "hyperdiffusion"
        assert score.interval[0] <= score.value <= score.interval[1]
        assert score.signature.startswith(f"{score.metric}|protocol:hyperdiffusion|distance:cd_sq|")
        assert "|reference:20|samples:20|data:toy/ellipsoid/test|interval:split-halves-400|" in score.signature
        assert "fewer-points-than-2048" in score.signature
    assert {score.metric: score.target for score in scores}["nna_cd"] == 0.5
    assert [score.unit for score in scores[:3]] == ["squared length", "squared length", "fraction"]


def test_known_answers_of_controls():
    reference, fresh = clouds(1, 40), clouds(2, 40)
    same = scored(fresh, reference)
    low, high = same["nna_cd"].interval
    assert low < 0.5 < high
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 64, 3)).astype(np.float32)
    assert scored(noise, reference)["nna_cd"].value > 0.9
    one_mode = np.repeat(fresh[:1], 40, 0) + np.random.default_rng(0).normal(0, 1e-3, (40, 64, 3)).astype(np.float32)
    dropped = scored(one_mode, reference)
    assert dropped["cov_cd"].value < same["cov_cd"].interval[0]
    assert scored(reference.copy(), reference)["mmd_cd"].value == 0


def test_threads_repetition_and_order_of_sets_change_no_bit():
    samples, reference = clouds(0), clouds(1)
    first = scored(samples, reference, workers=1, seed=7)
    assert first == scored(samples, reference, workers=2, seed=7)
    swapped = scored(reference, samples, seed=7)
    assert swapped["mmd_cd"].value == first["mmd_cd_samples"].value
    assert swapped["nna_cd"].value == first["nna_cd"].value


def test_search_and_matrix_give_the_same_scores(monkeypatch):
    samples, reference = clouds(0, 70), clouds(1, 60)
    searched = score_points(samples, reference, protocol="hdbench", metrics=["cd"])
    monkeypatch.setattr("hdbench.metrics.chamfer.SEARCH_FROM", 1000)
    measured = score_points(samples, reference, protocol="hdbench", metrics=["cd"])
    assert searched[0] == measured[0]
    for name, array in measured[1].arrays.items():
        assert np.array_equal(searched[1].arrays[name], array)


def test_translation_and_scale_do_not_matter_under_hdbench():
    samples, reference = clouds(0), clouds(1)
    moved = (samples * 3 + np.float32([1, -2, 0.5])).astype(np.float32)
    assert scored(moved, reference)["mmd_cd"].value == pytest.approx(scored(samples, reference)["mmd_cd"].value, 1e-4)
    raw = scored(moved, reference, protocol="pvd")["mmd_cd"].value
    assert raw > 2 * scored(samples, reference, protocol="pvd")["mmd_cd"].value


def test_sequences_are_scored():
    reference = np.repeat(clouds(1, 10)[:, None], 3, axis=1)
    samples = np.repeat(clouds(0, 10)[:, None], 3, axis=1)
    still = scored(samples, reference, protocol="hyperdiffusion-4d")
    alone = scored(
        samples[:, 0], reference[:, 0], protocol=dataclasses.replace(get_protocol("hyperdiffusion-4d"), layout="clouds")
    )
    assert still["mmd_cd"].value == pytest.approx(alone["mmd_cd"].value, rel=1e-6)


def test_moments_bring_samples_back():
    reference = clouds(1)
    moments = Moments((0.5, -1.0, 2.0), 0.25)
    trained_on = ((clouds(0) - np.float32(moments.mean)) / moments.deviation).astype(np.float32)
    direct = scored(clouds(0), reference, protocol="pvd")
    back = scored(trained_on, reference, protocol="pvd", moments=moments)
    assert back["mmd_cd"].value == pytest.approx(direct["mmd_cd"].value, rel=1e-5)
    assert "none+moments" in back["mmd_cd"].signature


def test_more_samples_than_references_are_cut_and_invalid_ones_counted():
    samples, reference = clouds(0, 25), clouds(1, 20)
    assert scored(samples, reference) == scored(samples[:20], reference)
    missing = scored(samples[:18], reference, invalid_samples=2)
    assert "|samples:20|" in missing["mmd_cd"].signature
    few = scored(samples[:18], reference)
    assert "|samples:18|" in few["mmd_cd"].signature
    assert "fewer-samples-than-reference" in few["mmd_cd"].signature
    assert "fewer-samples-than-reference" in missing["mmd_cd"].signature


def test_one_shape_has_no_1nna_and_few_have_no_interval():
    found = scored(clouds(0, 1), clouds(1, 5))
    assert found["nna_cd"].value is None
    assert "two shapes" in found["nna_cd"].reason
    assert found["mmd_cd"].value > 0
    assert found["mmd_cd"].interval is None
    assert "fewer than 8" in found["mmd_cd"].reason


def test_all_duplicates_are_scored():
    same = np.repeat(clouds(0, 1), 10, axis=0)
    found = scored(same, same)
    assert found["mmd_cd"].value == 0
    assert found["cov_cd"].value == 0.1
    assert found["nna_cd_reference"].value == 1.0  # ties go to the reference


def test_statistics_come_back_from_disk_and_suffice(tmp_path):
    reference = clouds(1, 30)
    statistics = []
    for seed, stretch in ((0, 0.4), (2, 1.5)):
        samples = clouds(seed, 30, stretch=stretch)
        _, made = score_points(samples, reference, protocol="hdbench", metrics=["cd"])
        path = tmp_path / f"{seed}.npz"
        made.save(path)
        content = path.read_bytes()
        made.save(path)
        assert path.read_bytes() == content
        statistics.append(Statistics.load(path))
    a, b = (one.nearest_lists("hdbench", "cd") for one in statistics)
    assert paired_comparison(a, b, "mmd_samples", seed=0).better == "a"
    assert statistics[0].nearest_lists("pvd", "cd") is None
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(HdbenchError, match="no statistics"):
        Statistics.load(tmp_path / "bad.npz")


def test_input_that_cannot_be_scored_is_refused_in_one_line():
    good = clouds(0)
    not_finite, constant = good.copy(), good.copy()
    not_finite[3, 5, 1], constant[4] = np.nan, 1
    cases = [
        ((not_finite, good), "samples 3 of 20 has coordinates that are not finite"),
        ((good, constant), "reference: Shape 4 of 20 has no extent"),
        ((good[:, :50], good), "Samples have 50 points per shape, the reference 64 points; .* at least 2048"),
        ((good[:0], good), "samples: there is no shape"),
        ((good, good[:0]), "reference: there is no shape"),
        ((good[:, None], good), "Samples have 1 frames .* Give both as sequences, or both as single shapes"),
        (
            (good.reshape(-1, 2, 32, 3), good.reshape(-1, 4, 16, 3)),
            "Give both the same number of frames and at least 2048 points",
        ),
        ((good.reshape(-1, 4, 16, 3)[:, :3], good.reshape(-1, 4, 16, 3)), r"Give both the same number of frames\.$"),
    ]
    for (samples, reference), message in cases:
        with pytest.raises(HdbenchError, match=message):
            score_points(samples, reference, protocol="hdbench")
    with pytest.raises(HdbenchError, match="Did you mean 'nna_cd'"):
        score_points(good, good, protocol="hdbench", metrics=["nna_dc"])
    with pytest.raises(HdbenchError, match="Unknown protocol"):
        score_points(good, good, protocol="hdbanch")


def test_metric_names_are_unique_and_known():
    names = [metric.name for family in FAMILIES for metric in family.metrics]
    assert len(names) == len(set(names))
    assert metric_named("cov_cd").target == "higher"
