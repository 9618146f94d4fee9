from pathlib import Path

import numpy as np
import pytest

from hdbench.errors import HdbenchError
from hdbench.geometry import normalisation
from hdbench.geometry.normalisation import (
    bounding_box,
    centred_frames,
    denormalise,
    moments,
    unit_deviation,
    unit_deviation_uncentred,
)

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "norm"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden data beside the repository ({GOLDEN.name})")


def golden(name):
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as stored:
        return dict(stored)


@needs_golden
def test_hyperdiffusion_3d_agrees_with_the_original():
    data = golden("hd_protocol3d_test")
    references = data["ref_npy"][..., :3].astype(np.float32)
    np.testing.assert_allclose(unit_deviation_uncentred(references), data["ref_pcs"], atol=1e-6)
    kept = np.delete(data["mesh_samples"], data["empty_mesh_index"], axis=0)[:10].astype(np.float32)
    np.testing.assert_allclose(unit_deviation_uncentred(2 * kept), data["sample_pcs"], atol=2e-6)


@needs_golden
def test_hyperdiffusion_4d_agrees_with_the_original():
    data = golden("hd_protocol4d_test")
    samples = data["mesh_samples"].astype(np.float32)
    for sequence, frame in data["empty_frames"]:
        samples[sequence, frame] = 0
    np.testing.assert_allclose(centred_frames(samples), data["sample_pcs"], atol=1e-6)


@needs_golden
def test_dpc_agrees_with_the_original():
    data = golden("dpc_scale_modes")
    np.testing.assert_allclose(bounding_box(data["h5_test"]), data["test_gen_shape_bbox"], atol=1e-6)
    np.testing.assert_allclose(unit_deviation_uncentred(data["h5_test"]), data["test_gen_shape_unit"], atol=1e-6)


@needs_golden
@pytest.mark.parametrize("code", ["PVD", "PointFlow"])
def test_global_moments_agree_with_the_original(code):
    data = golden("pc15k")
    training = np.stack([data[f"raw_train_m{index}"] for index in range(3)]).astype(np.float32)
    found = moments(training)
    np.testing.assert_allclose(found.mean, data[f"{code}_globalnorm_mean"].ravel(), atol=2e-5)
    np.testing.assert_allclose(found.deviation, data[f"{code}_globalnorm_std"].item(), rtol=1e-5)
    first = data[f"{code}_val_item0_test_points_first32"]
    np.testing.assert_allclose(denormalise(first, found), data[f"{code}_val_item0_denorm_first32"], atol=1e-4)


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(5, 40, 3)) * [0.3, 0.1, 0.2] + rng.normal(size=(5, 1, 3))).astype(np.float32)


def test_unit_deviation_is_invariant_under_translation_and_scale(clouds):
    normalised = unit_deviation(clouds)
    np.testing.assert_allclose(normalised.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose((normalised**2).mean((1, 2)), 1, rtol=1e-6)
    moved = (3 * clouds + [1, -2, 0.5]).astype(np.float32)
    np.testing.assert_allclose(unit_deviation(moved), normalised, atol=2e-6)


def test_the_uncentred_deviation_depends_on_where_a_shape_lies():
    cloud = np.random.default_rng(1).normal(size=(1, 5000, 3)).astype(np.float32) * np.float32([0.3, 0.1, 0.2])
    centred = cloud - cloud.mean(1, keepdims=True)
    moved = centred + np.float32([0, -0.2, 0.1])
    ratio = np.abs(unit_deviation_uncentred(centred)).sum() / np.abs(unit_deviation_uncentred(moved)).sum()
    assert ratio == pytest.approx(1.151, abs=0.01)  # FACTS e.3


def test_bounding_box_fills_the_box(clouds):
    for half_extent in (1.0, 0.5):
        boxed = bounding_box(clouds, half_extent=half_extent)
        low, high = boxed.min(1), boxed.max(1)
        np.testing.assert_allclose(low, -high, atol=1e-6)
        np.testing.assert_allclose(high.max(1), half_extent, rtol=1e-6)


def test_a_sequence_keeps_its_motion_except_where_frames_are_centred():
    rng = np.random.default_rng(2)
    body = rng.normal(size=(1, 1, 60, 3))
    walk = (body + np.arange(4)[None, :, None, None] * [1.0, 0, 0]).astype(np.float32)
    for normalise in (unit_deviation, unit_deviation_uncentred, bounding_box):
        steps = np.diff(normalise(walk).mean(2), axis=1)[0]
        assert (steps[:, 0] > 0.1).all()
        np.testing.assert_allclose(steps, steps[:1].repeat(3, 0), atol=1e-5)
    still = centred_frames(walk)
    np.testing.assert_allclose(still[0], still[0, :1].repeat(4, 0), atol=1e-6)
    assert np.abs(still).max() == pytest.approx(0.95)


@pytest.mark.parametrize("place", [0.0, 1.0, 0.1, [0.1, 0.2, 0.3]])
@pytest.mark.parametrize("normalise", [unit_deviation, unit_deviation_uncentred, bounding_box])
def test_a_shape_without_extent_is_refused(clouds, normalise, place):
    clouds[3] = place
    with pytest.raises(HdbenchError, match="Shape 3 of 5"):
        normalise(clouds)


@pytest.mark.parametrize("normalise", [unit_deviation, unit_deviation_uncentred, bounding_box])
def test_no_shapes_give_no_shapes(normalise):
    assert normalise(np.zeros((0, 8, 3), np.float32)).shape == (0, 8, 3)


@pytest.mark.parametrize("place", [unit_deviation, unit_deviation_uncentred, bounding_box])
def test_no_bit_depends_on_how_many_shapes_are_held_at_once(place, monkeypatch):
    points = (np.random.default_rng(0).normal(size=(7, 300, 3)) * 3 + 1).astype(np.float32)
    together = place(points)
    for size in (1, 2, 3):
        monkeypatch.setattr(normalisation, "BLOCK", size)
        assert np.array_equal(place(points), together)
    monkeypatch.setattr(normalisation, "BLOCK", 2)
    points[5] = 1.0
    with pytest.raises(HdbenchError, match="Shape 5 of 7 has no extent"):
        place(points)
