import dataclasses
import json

import numpy as np
import pytest

from hdbench.errors import HdbenchError
from hdbench.geometry.normalisation import Moments
from hdbench.metrics.protocols import PROTOCOLS, get_protocol, set_warnings, signature


def clouds(count=3, points=50):
    return np.random.default_rng(0).normal(size=(count, points, 3)).astype(np.float32)


def test_the_registry_holds_the_papers():
    expected = {"hyperdiffusion", "hyperdiffusion-4d", "dpc", "pvd", "pointflow", "lion", "lion-box", "hdbench"}
    assert set(PROTOCOLS) == expected
    assert all(get_protocol(name).name == name for name in expected)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_are_frozen_and_fingerprint_as_json(name):
    protocol = get_protocol(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.point_count = 1
    with pytest.raises(TypeError):
        protocol.distances["cd"] = "cd_l2"
    print_of = json.loads(json.dumps(protocol.fingerprint()))
    assert print_of["point_count"] == 2048
    changed = dataclasses.replace(protocol, point_count=1024)
    assert changed.fingerprint() != protocol.fingerprint()


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(HdbenchError, match="Did you mean 'hyperdiffusion'"):
        get_protocol("hyperdifusion")


def test_reduction_takes_the_first_points_or_a_seeded_choice():
    points = clouds(points=3000)
    assert np.array_equal(get_protocol("pvd").reduce(points, seed=0, role="samples"), points[:, :2048])
    chosen = get_protocol("hdbench").reduce(points, seed=0, role="samples")
    assert chosen.shape == (3, 2048, 3)
    assert np.array_equal(chosen, get_protocol("hdbench").reduce(points, seed=0, role="samples"))
    assert not np.array_equal(chosen, get_protocol("hdbench").reduce(points, seed=1, role="samples"))
    for cloud, kept in zip(points, chosen, strict=True):
        assert len(np.unique(kept, axis=0)) == 2048
        assert set(map(tuple, kept)) <= set(map(tuple, cloud))
    # Each shape's choice is its own, whatever stands beside it.
    assert np.array_equal(get_protocol("hdbench").reduce(points[:1], seed=0, role="samples"), chosen[:1])
    assert np.array_equal(get_protocol("hdbench").reduce(points[:, :99], seed=0, role="samples"), points[:, :99])


def test_a_sequence_keeps_the_same_points_in_all_frames():
    frames = np.repeat(clouds(2, 2500)[:, None], 4, axis=1)
    chosen = get_protocol("hyperdiffusion-4d").reduce(frames, seed=3, role="samples")
    assert chosen.shape == (2, 4, 2048, 3)
    assert np.array_equal(chosen[:, :1].repeat(4, 1), chosen)


def test_layouts_a_protocol_does_not_know_are_refused():
    with pytest.raises(HdbenchError, match=r"scores clouds, not sequences; use hyperdiffusion-4d, hdbench"):
        get_protocol("pvd").reduce(clouds()[:, None], seed=0, role="samples")
    with pytest.raises(HdbenchError, match="scores sequences, not clouds"):
        get_protocol("hyperdiffusion-4d").reduce(clouds(), seed=0, role="samples")
    with pytest.raises(HdbenchError, match="reference: expected points"):
        get_protocol("hdbench").reduce(clouds()[0], seed=0, role="reference")


def test_moments_act_only_where_the_protocol_denormalises():
    moments = Moments((1.0, 2.0, 3.0), 0.5)
    points = clouds()
    expected = points * 0.5 + np.float32([1, 2, 3])
    np.testing.assert_allclose(get_protocol("pvd").normalise(points, moments=moments), expected, rtol=1e-6)
    assert np.array_equal(get_protocol("pvd").normalise(points), points)
    dpc = get_protocol("dpc")
    assert np.array_equal(dpc.normalise(points, moments=moments), dpc.normalise(points))


def test_signature_is_one_line_in_fixed_order_and_tells_apart():
    given = {"distance": "cd_sq", "points": 2048, "reference": 405, "samples": 405}
    line = signature("mmd_cd", get_protocol("pvd"), **given, data="pointflow15k/airplane/val", interval="halves-400")
    assert line == (
        "mmd_cd|protocol:pvd|distance:cd_sq|normalisation:none|points:2048|reference:405|samples:405"
        "|data:pointflow15k/airplane/val|interval:halves-400|version:1"
    )
    moments = Moments((0.01, -0.2, 0.0), 0.28421)
    assert "normalisation:none+moments(0.01 -0.2 0 0.284)|" in signature(
        "mmd_cd", get_protocol("pvd"), **given, moments=moments
    )
    assert "+moments" not in signature("mmd_cd", get_protocol("dpc"), **given, moments=moments)
    assert "\n" not in line
    assert signature("jsd", get_protocol("pvd"), **given, data="a|b").count("|") == line.count("|") - 1


def test_the_published_emd_stands_in_tables_as_the_exact_one_does():
    dpc = get_protocol("dpc")
    assert dpc.scale("mmd_emd_published") == dpc.scale("mmd_emd") == 10
    assert dpc.scale("nna_emd_published") == 100


def test_small_sets_are_warned_about():
    pvd = get_protocol("pvd")
    assert set_warnings(pvd, points=2048, reference=405, samples=405) == ()
    few = set_warnings(pvd, points=512, reference=20, samples=10)
    assert few == ("fewer-points-than-2048", "fewer-samples-than-reference", "fewer-than-30-shapes")
    assert "warning:fewer-points" in signature(
        "mmd_cd", pvd, distance="cd_sq", points=512, reference=20, samples=10, warnings=few
    )
