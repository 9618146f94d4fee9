import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hdbench.errors import HdbenchError
from hdbench.metrics.divergence import jsd, occupied_nodes
from hdbench.metrics.frechet import frechet_distance, kernel_distance
from hdbench.metrics.nearest import lists_from_matrix, set_values
from hdbench.metrics.paired import scored_set, splits_of
from hdbench.metrics.scoring import Statistics
from hdbench.metrics.uncertainty import compare

SHAPES = 40


def statistics_of(rng, *, reference, shift=0.0, family="emd_published"):
    """What scoring keeps of samples whose features, points and distances are those of Gaussian vectors."""
    samples = rng.normal(size=reference.shape) + shift
    union = np.concatenate([reference, samples]).reshape(2 * SHAPES, -1)
    lists = lists_from_matrix(cdist(union, union) ** 2, reference_count=SHAPES)
    arrays = {f"p/{family}/{name}": array for name, array in lists.arrays().items()}
    for role, points in (("reference", reference), ("sample", samples)):
        arrays[f"p/features/{role}_features"] = points.reshape(SHAPES, -1)[:, :6].astype(np.float32)
        arrays[f"p/jsd/{role}_nodes"] = occupied_nodes((points / 8).astype(np.float32))
    return Statistics(arrays)


@pytest.fixture
def reference():
    return np.random.default_rng(0).normal(size=(SHAPES, 20, 3))


def test_values_are_those_that_scoring_gives(reference):
    stored = statistics_of(np.random.default_rng(1), reference=reference)
    arrays = stored.arrays
    features = arrays["p/features/reference_features"], arrays["p/features/sample_features"]
    expected = {
        "fpd": frechet_distance(*features),
        "kpd": kernel_distance(*features),
        "jsd": jsd(arrays["p/jsd/reference_nodes"], arrays["p/jsd/sample_nodes"]),
    }
    lists = stored.nearest_lists("p", "emd_published")
    for name, value in set_values(lists)._asdict().items():
        stem, _, half = name.partition("_")
        expected[f"{stem}_emd_published{half and '_'}{half}"] = value
    assert len(expected) == 9
    for metric, value in expected.items():
        assert float(scored_set(stored, "p", metric).value) == pytest.approx(value, rel=1e-12), metric


@pytest.mark.parametrize("metric", ["mmd_cd", "nna_emd", "novelty_p", "mmd", "mmd_cd_", "nna_emd_published_x", ""])
def test_what_the_statistics_lack_is_none(reference, metric):
    stored = statistics_of(np.random.default_rng(1), reference=reference)
    assert scored_set(stored, "p", metric) is None
    assert scored_set(Statistics({}), "p", "jsd") is None
    assert scored_set(stored, "another protocol", "fpd") is None


@pytest.mark.parametrize("metric", ["jsd", "fpd", "kpd", "mmd_emd_published"])
def test_equal_models_are_rarely_called_different_and_worse_ones_are(reference, metric):
    verdicts = {}
    for shift in (0.0, 0.6):
        verdicts[shift] = []
        for seed in range(12):
            a, b = (
                scored_set(
                    statistics_of(np.random.default_rng([seed, side]), reference=reference, shift=side * shift),
                    "p",
                    metric,
                )
                for side in range(2)
            )
            verdicts[shift].append(compare([a], [b], metric=metric, target="lower", seed=0, splits=50).better)
    assert sum(better is not None for better in verdicts[0.0]) <= 2  # 5 % of 12 is 0.6; 3 or more happen in 2 %
    assert verdicts[0.6].count("a") >= 10
    assert "b" not in verdicts[0.6]


def test_the_same_samples_differ_by_nothing(reference):
    stored = statistics_of(np.random.default_rng(1), reference=reference)
    for metric in ("jsd", "fpd", "nna_emd_published"):
        one = scored_set(stored, "p", metric)
        result = compare([one], [one], metric=metric, target="lower", seed=3, splits=splits_of(metric))
        assert (result.difference, result.deviation, result.p_value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("features/sample_features", np.full((SHAPES, 6), np.nan, np.float32)),
        ("features/sample_features", np.zeros((SHAPES, 5), np.float32)),
        ("features/sample_features", np.zeros((0, 6), np.float32)),
        ("features/sample_features", np.array([["a"] * 6] * SHAPES)),
        ("jsd/sample_nodes", np.full((SHAPES, 20), 20_000, np.int32)),
        ("jsd/sample_nodes", np.full((SHAPES, 20), -1, np.int16)),
        ("jsd/sample_nodes", np.zeros((SHAPES, 20))),
        ("emd_published/sample_count", np.array([3, 4])),
        ("emd_published/sample_count", np.array(-1)),
        ("emd_published/reference_index", np.full((2 * SHAPES, 3), SHAPES)),
        ("emd_published/sample_distance", np.array("x")),
    ],
)
def test_what_no_scoring_has_written_is_refused(reference, name, array):
    stored = statistics_of(np.random.default_rng(1), reference=reference)
    spoilt = Statistics({**stored.arrays, f"p/{name}": array})
    metric = {"features": "fpd", "jsd": "jsd"}.get(name.partition("/")[0], "cov_emd_published")
    with pytest.raises(HdbenchError, match="not what hdbench writes"):
        scored_set(spoilt, "p", metric)
