import json

import numpy as np
import pytest

from hdbench.extractor_training import Settings, augmented, labelled_clouds, train_embedded
from hdbench.extractors import EMBEDDED, load_extractor
from hdbench.features.extraction import extract_features
from hdbench.geometry.normalisation import unit_deviation
from hdbench.progress import Progress
from hdbench.seeds import generator

SMALL = Settings(shapes_per_category=20, points=64, pool=128, epochs=1, batch=16)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def embedded():
    return load_extractor(EMBEDDED)


def test_the_same_call_makes_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        train_embedded(tmp_path / folder, settings=SMALL, progress=Progress())
    weights, description = (f"{EMBEDDED}.{suffix}" for suffix in ("safetensors", "json"))
    assert (tmp_path / "a" / weights).read_bytes() == (tmp_path / "b" / weights).read_bytes()
    facts = json.loads((tmp_path / "a" / description).read_text())
    assert facts["settings"] == vars(SMALL)
    assert 0 <= facts["accuracy"] <= 1


def test_held_out_shapes_are_not_trained_on():
    classes, train, test = labelled_clouds(SMALL, Progress())
    assert len(classes) == len(set(classes)) == len(set(train.labels.tolist()))
    assert len(train.labels) == len(train.pools) == 3 * 17
    assert len(test.labels) <= 3 * 3
    together = {pool.tobytes() for pool in np.concatenate([train.pools, test.pools])}
    assert len(together) == len(train.pools) + len(test.pools)


def test_augmented_clouds_are_normalised_as_the_metrics_feed_them():
    pools = np.random.default_rng(0).normal(size=(3, 128, 3)).astype(np.float32) + 5
    clouds = augmented(pools, SMALL, generator(0, "test"))
    assert clouds.shape == (3, 64, 3)
    np.testing.assert_allclose(clouds.mean(1), 0, atol=1e-6)
    assert np.abs(np.log(clouds.std((1, 2)))).max() < 4 * SMALL.scale
    assert not np.array_equal(clouds, augmented(pools, SMALL, generator(1, "test")))


class TestEmbedded:
    def test_it_tells_kinds_of_shapes_apart(self, embedded):
        assert embedded.info["classes"] == sorted(set(embedded.info["classes"]))
        assert embedded.info["accuracy"] > 0.8  # twenty-odd classes: one in twenty by chance

    def test_features_of_categories_lie_apart(self, embedded):
        from hdbench.datasets.procedural.dataset import Procedural
        from hdbench.geometry.sampling import sample_surface

        features = {}
        for category in ("airplane", "chair"):
            dataset = Procedural(category, seed=3, size=6)
            points = [sample_surface(dataset.shape(name), 2048, seed=1) for name in dataset.ids("train")[:4]]
            features[category] = extract_features(unit_deviation(np.stack(points)), embedded, progress=Progress())
        between = np.linalg.norm(features["airplane"][:, None] - features["chair"], axis=-1)
        within = [np.linalg.norm(rows[:, None] - rows, axis=-1).mean() for rows in features.values()]
        assert between.min() > max(within)
