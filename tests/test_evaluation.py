"""Anyone's shapes in any form, scored by the one evaluation path."""

import numpy as np
import pytest
import torch
import trimesh

import hdbench
from hdbench.distances.chamfer import cd_sq_matrix
from hdbench.errors import HdbenchError
from hdbench.evaluation import nearest_training, open_point_set
from hdbench.metrics.protocols import get_protocol
from hdbench.metrics.scoring import Statistics
from hdbench.progress import PlainProgress, Progress
from hdbench.results import load_scores
from hdbench.shape_files import write_shape_set
from hdbench.shapes import PointCloud


def clouds(count=10, points=2048, seed=0):
    rng = np.random.default_rng(seed)
    stretch = rng.uniform(0.2, 1.0, (count, 1, 3))
    return (rng.standard_normal((count, points, 3)) * stretch).astype(np.float32)


@pytest.fixture(scope="module")
def sets():
    return clouds(seed=1), clouds(seed=2)


def values(evaluation):
    return [(score.metric, score.value, score.interval) for score in evaluation.scores]


def test_arrays_tensors_and_files_give_the_same_values(sets, tmp_path):
    samples, reference = sets
    np.savez(tmp_path / "samples.npz", points=samples)
    np.save(tmp_path / "reference.npy", reference)
    expected = hdbench.evaluate(samples, reference, metrics=["cd"])
    assert values(hdbench.evaluate(torch.from_numpy(samples), list(reference), metrics=["cd"])) == values(expected)
    from_files = hdbench.evaluate(tmp_path / "samples.npz", tmp_path / "reference.npy", metrics=["cd"])
    assert values(from_files) == values(expected)


def test_values_are_those_of_the_definition(sets):
    samples, reference = sets
    evaluation = hdbench.evaluate(samples, reference, protocol="hdbench", metrics=["cd"])
    a, b = (
        (points - points.mean(1, keepdims=True)) / (points - points.mean(1, keepdims=True)).std((1, 2), keepdims=True)
        for points in (reference, samples)
    )
    matrix = cd_sq_matrix(a.astype(np.float32), b.astype(np.float32))
    assert evaluation["mmd_cd"].value == pytest.approx(matrix.min(1).mean(), rel=1e-5)
    assert evaluation["cov_cd"].value == len(set(matrix.argmin(0))) / len(reference)


def test_meshes_are_sampled_on_their_surface():
    spheres = [trimesh.creation.icosphere(3, radius=radius) for radius in (0.5, 1.0, 2.0)]
    points = open_point_set(spheres, role="samples").points
    assert points.shape == (3, 2048, 3)
    assert np.allclose(np.linalg.norm(points, axis=-1), [[0.5], [1.0], [2.0]], rtol=0.02)


def test_names_decide_nothing(tmp_path):
    """Samples that are named as references are, on the same triangles, would else get the same points of them."""
    values = {}
    for prefix in ("", "generated-"):
        for role, scale in (("reference", 1.0), ("samples", 1.01)):
            folder = tmp_path / f"{prefix}{role}"
            folder.mkdir()
            for index in range(8):
                sphere = trimesh.creation.icosphere(2, radius=scale * (1 + index / 10))
                sphere.export(folder / f"{prefix if role == 'samples' else ''}{index}.ply")
        sets = (tmp_path / f"{prefix}{role}" for role in ("samples", "reference"))
        values[prefix] = hdbench.evaluate(*sets, metrics=["cd"])["mmd_cd"].value
    assert values[""] == pytest.approx(values["generated-"], rel=0.2)


def test_a_set_written_by_hdbench_is_scored_by_its_own_points(tmp_path):
    written = write_shape_set(
        tmp_path, [(str(i), PointCloud(p)) for i, p in enumerate(clouds(4))], kind="points", point_count=2048, seed=0
    )
    opened = open_point_set(tmp_path, role="samples", seed=7)
    assert np.array_equal(opened.points, written.points)
    assert opened.is_ours


def test_large_clouds_keep_the_points_that_the_protocol_says():
    large = clouds(3, points=3000)
    assert np.array_equal(open_point_set(large, role="samples", keep="first").points, large[:, :2048])
    chosen = open_point_set(large, role="samples", keep="random").points
    assert chosen.shape == (3, 2048, 3)
    assert not np.array_equal(chosen, large[:, :2048])


def test_what_cannot_be_scored_is_said(sets, capsys):
    samples, reference = (np.array(one) for one in sets)
    samples[[2, 4]] = np.nan
    hdbench.evaluate(samples, reference, metrics=["cd"], progress=PlainProgress())
    assert "samples: 2 of 10 cannot be scored; the first: 2: " in capsys.readouterr().err


def test_training_shapes_stand_in_the_signature_of_novelty(sets):
    lines = {hdbench.evaluate(*sets, train=train, metrics=["novelty"])["novelty_ratio"].signature for train in sets}
    assert len(lines) == 2
    assert all("|train:10@sha256:" in line for line in lines)


def test_thinned_clouds_are_thinner_everywhere():
    in_order = np.sort(clouds(3, points=3000), axis=1)
    whole = open_point_set(in_order, role="reference", keep="first")
    thinned = whole.thinned(500)
    assert thinned.points.shape == (3, 500, 3)
    np.testing.assert_allclose(thinned.points.mean(1), whole.points.mean(1), atol=0.15)
    assert whole.thinned(2048) is whole


def test_invalid_shapes_are_left_out_and_named():
    broken = clouds(4)
    broken[1] = 0.0
    broken[2, 5] = np.inf
    opened = open_point_set(broken, role="samples")
    assert opened.ids == ("0", "3")
    assert set(opened.invalid) == {"1", "2"}
    assert "not finite" in opened.invalid["2"]


def test_moments_bring_back_foreign_samples_but_not_our_own(tmp_path, sets):
    samples, reference = sets
    train = reference * 3 + 1
    ours = write_shape_set(
        tmp_path, [(str(i), PointCloud(p)) for i, p in enumerate(samples)], kind="points", point_count=2048, seed=0
    )
    foreign = hdbench.evaluate(samples, reference, train=train, protocol="pvd", metrics=["mmd_cd"])["mmd_cd"]
    native = hdbench.evaluate(ours, reference, train=train, protocol="pvd", metrics=["mmd_cd"])["mmd_cd"]
    without = hdbench.evaluate(samples, reference, protocol="pvd", metrics=["mmd_cd"])["mmd_cd"]
    assert "moments" in foreign.signature
    assert "moments" not in native.signature
    assert native.value == without.value != foreign.value


def test_it_is_said_when_samples_are_denormalised(sets):
    said = []

    class Shown(Progress):
        def say(self, message):
            said.append(message)

    for protocol in ("hyperdiffusion", "pvd"):
        hdbench.evaluate(*sets, train=sets[1], protocol=protocol, metrics=["mmd_cd"], progress=Shown())
    assert said == ["Samples are de-normalised with the moments of the training shapes: protocol pvd has it so."]


def test_another_back_end_agrees_and_signs_its_values(sets):
    expected = hdbench.evaluate(*sets, metrics=["cd"])
    by_torch = hdbench.evaluate(*sets, metrics=["cd"], backend="torch")
    assert by_torch["mmd_cd"].value == pytest.approx(expected["mmd_cd"].value, rel=1e-6)
    assert by_torch["nna_cd"].value == expected["nna_cd"].value
    assert "backend:torch" in by_torch["mmd_cd"].signature
    assert "backend" not in expected["mmd_cd"].signature
    for train in (None, sets[1]):
        novelty = hdbench.evaluate(*sets, train=train, metrics=["novelty"], backend="torch")
        assert "backend:torch" in novelty["duplicates"].signature


def test_without_a_protocol_the_layout_decides():
    rng = np.random.default_rng(0)
    clouds, clips = rng.normal(size=(2, 10, 32, 3)), rng.normal(size=(2, 10, 3, 32, 3))
    assert hdbench.evaluate(*clouds, metrics=["cd"])["nna_cd"].protocol == "hyperdiffusion"
    assert hdbench.evaluate(*clips, metrics=["cd"])["nna_cd"].protocol == "hyperdiffusion-4d"


def test_several_protocols_in_one_call(sets):
    evaluation = hdbench.evaluate(*sets, protocol=["hyperdiffusion", "pvd"], metrics=["cd"])
    assert {score.protocol for score in evaluation.scores} == {"hyperdiffusion", "pvd"}
    assert evaluation["mmd_cd"].protocol == "hyperdiffusion"


def test_scores_and_statistics_are_written_together(sets, tmp_path):
    evaluation = hdbench.evaluate(*sets, metrics=["cd"])
    evaluation.write(tmp_path / "scores.json")
    read = load_scores(tmp_path / "scores.json")
    assert read == evaluation.document.model_copy(update={"statistics": read.statistics})
    (name,) = read.statistics
    assert name == "scores.statistics.npz"
    lists = Statistics.load(tmp_path / name).nearest_lists("hyperdiffusion", "cd")
    assert lists is not None
    assert lists.reference_count == len(sets[1])


def test_names_with_dots_keep_their_own_statistics(sets, tmp_path):
    evaluation = hdbench.evaluate(*sets, metrics=["cd"])
    for name in ("model.v1", "model.v2"):
        assert evaluation.write(str(tmp_path / name)) == tmp_path / name
        assert list(load_scores(tmp_path / name).statistics) == [f"{name}.statistics.npz"]


def test_the_nearest_training_shapes_are_found():
    train = open_point_set(clouds(12, seed=3), role="train")
    samples = open_point_set(train.points[[7, 2]], role="samples")
    found = nearest_training(
        samples, train, protocol=get_protocol("hyperdiffusion"), shown=2, workers=1, progress=Progress()
    )
    assert [entry.training[0] for entry in found] == [train.ids[7], train.ids[2]]
    assert all(entry.distances == sorted(entry.distances) for entry in found)


def test_half_precision_and_scenes_are_read():
    points = torch.from_numpy(clouds(3))
    for dtype in (torch.bfloat16, torch.float16):
        opened = open_point_set(points.to(dtype), role="samples")
        assert np.array_equal(opened.points, points.to(dtype).float().numpy())
    parts = [trimesh.creation.box(), trimesh.creation.box().apply_translation((3, 0, 0))]
    joined = open_point_set([trimesh.Scene(parts), trimesh.Scene()], role="samples")
    assert np.ptp(joined.points[0], axis=0) == pytest.approx([4, 1, 1], abs=0.01)
    assert "cannot be read" in joined.invalid["1"]


def test_one_metric_and_shapes_that_come_one_by_one(sets):
    expected = hdbench.evaluate(*sets, protocol=["hyperdiffusion", "pvd"], metrics=["cd"])
    lazy = (iter(points) for points in sets)
    assert values(hdbench.evaluate(*lazy, protocol=["hyperdiffusion", "pvd"], metrics="cd")) == values(expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "NoneType is no set of shapes"),
        (3, "int is no set of shapes"),
        ({"a": np.eye(3)}, "dict is no set of shapes"),
        (trimesh.creation.box(), "Trimesh is no set of shapes"),
        (trimesh.PointCloud(np.eye(3)), "PointCloud is no set of shapes"),
        (PointCloud(np.eye(3)), "PointCloud is no set of shapes"),
        ([np.eye(3), "nowhere.npy"], "there is no file nowhere.npy"),
        ([[[0, 0, 0], [1, 1]]], "no array of points"),
    ],
)
def test_what_is_no_set_of_shapes_is_refused(source, expected):
    with pytest.raises(HdbenchError, match=expected):
        open_point_set(source, role="samples")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"protocol": "pvdd"}, "Did you mean 'pvd'"),
        ({"protocol": []}, "at least one protocol"),
        ({"protocol": 3}, "at least one protocol, not 3"),
        ({"metrics": ["mmd_cdd"]}, "Did you mean 'mmd_cd'"),
        ({"metrics": []}, "at least one metric"),
    ],
)
def test_wrong_names_are_refused(sets, arguments, expected):
    with pytest.raises(HdbenchError, match=expected):
        hdbench.evaluate(*sets, **arguments)


def test_shapes_with_different_numbers_of_points_are_refused():
    with pytest.raises(HdbenchError, match="differ in their number of points"):
        open_point_set([np.eye(3), np.eye(3)[:2]], role="samples")
    with pytest.raises(HdbenchError, match=r"holds sequences and single shapes \(2 x 3, 3 points\)"):
        open_point_set([np.eye(3), np.eye(3)[None].repeat(2, 0)], role="samples")
    with pytest.raises(HdbenchError, match=r"differ in their frames \(1 x 3, 2 x 3 points\)"):
        open_point_set([np.eye(3)[None], np.eye(3)[None].repeat(2, 0)], role="samples")


def test_an_unknown_attribute_is_one():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = hdbench.nonsense
