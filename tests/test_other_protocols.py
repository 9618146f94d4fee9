import numpy as np
import pytest

from hdbench.evaluation import PointSet
from hdbench.metrics.protocols import get_protocol
from hdbench.metrics.scoring import score_points
from hdbench.other_protocols import other_protocols, score_under_others
from hdbench.progress import Progress
from hdbench.stages import Workshop
from hdbench.store import Store


def point_set(count: int, seed: int, frames: tuple[int, ...] = ()) -> PointSet:
    points = np.random.default_rng(seed).normal(size=(count, *frames, 40, 3)).astype(np.float32) * 0.2
    return PointSet(points, tuple(map(str, range(count))), "here", {}, is_ours=True)


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Store(tmp_path), Progress(), "cpu", 1)


def test_every_protocol_of_the_layout_but_the_runs_own_is_there():
    names = [other.name for other in other_protocols(get_protocol("hyperdiffusion"), "clouds")]
    assert names == ["dpc", "pvd", "pointflow", "lion", "lion-box", "hdbench"]
    assert [other.name for other in other_protocols(get_protocol("hyperdiffusion-4d"), "sequences")] == ["hdbench"]


def test_only_what_is_quick_is_computed():
    for other in other_protocols(get_protocol("hyperdiffusion"), "clouds"):
        assert {"mmd_cd", "cov_cd", "nna_cd", "jsd"} <= set(other.metrics)
        assert not [name for name in other.metrics if "emd" in name or name in ("fpd", "kpd", "novelty_ratio")]


@pytest.mark.parametrize("frames", [(), (2,)])
def test_scores_are_those_of_each_protocol_alone_signature_and_bits(workshop, frames):
    """Protocols with the same effect are computed once: what they get in their name must be their own."""
    samples, reference = point_set(9, 1, frames), point_set(10, 2, frames)
    own = get_protocol("hyperdiffusion-4d" if frames else "hyperdiffusion")
    found = score_under_others(workshop, samples, reference, protocol=own, data="d", seed=3)
    alone = [
        score
        for other in other_protocols(own, "sequences" if frames else "clouds")
        for score in score_points(
            samples.points, reference.points, protocol=other, metrics=other.metrics, data="d", seed=3
        )[0]
    ]
    assert found == alone


def test_what_the_store_has_is_not_made_again(workshop, monkeypatch):
    samples, reference = point_set(8, 1), point_set(8, 2)
    arguments = {"protocol": get_protocol("hyperdiffusion"), "data": "d", "seed": 0}
    first = score_under_others(workshop, samples, reference, **arguments)
    monkeypatch.setattr("hdbench.other_protocols.score_points", None)
    assert score_under_others(workshop, samples, reference, **arguments) == first


def test_a_set_without_a_valid_shape_has_reasons_instead_of_values(workshop):
    empty = PointSet(np.zeros((0, 40, 3), np.float32), (), "here", {"0": "no faces"}, is_ours=True)
    arguments = {"protocol": get_protocol("hyperdiffusion"), "data": "d", "seed": 0}
    found = score_under_others(workshop, empty, point_set(8, 2), **arguments)
    assert {(score.value, score.reason) for score in found} == {(None, "none of 1 samples is valid")}
