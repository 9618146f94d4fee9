import numpy as np
import pytest
import trimesh
from hdbench_baselines.controls.method import ControlRecipe, HeldOut, Noise, NoiseRecipe, TrainCopy

from hdbench.datasets.base import Dataset, LearningView
from hdbench.errors import HdbenchError
from hdbench.method import Context, get_method
from hdbench.progress import Progress
from hdbench.recipe import load_recipe
from hdbench.shapes import Mesh, PointCloud, Sequence


class Numbered(Dataset):
    """Shapes that tell their number by their size: `train` of them, then `test`, and fresh ones from 1000 on."""

    name, category, skipped = "numbered", "box", {}

    def __init__(self, *, train=5, test=7, kind="mesh", makes_more=False):
        self.counts, self.kind, self.makes_more = {"train": train, "val": 0, "test": test}, kind, makes_more

    def ids(self, split):
        first = 0 if split == "train" else self.counts["train"]
        return tuple(f"s{first + index}" for index in range(self.counts[split]))

    def shape(self, name):
        box = trimesh.creation.box(extents=(1, 1, 1 + int(name[1:])))
        if self.kind == "points":
            return PointCloud(box.vertices)
        meshes = Mesh(box.vertices, box.faces), Mesh(box.vertices + 1, box.faces)
        return meshes[0] if self.kind == "mesh" else Sequence(meshes)

    def occupancy(self, name, points, *, frame=0):
        raise NotImplementedError

    def fingerprint(self):
        return dict(self.counts)

    def fresh(self, count, seed):
        names = [f"s{1000 * (1 + seed) + index}" for index in range(count)]
        return [(name, self.shape(name)) for name in names] if self.makes_more else None


def number(shape) -> int:
    """The number of a shape of `Numbered`."""
    frame = shape.frames[0] if isinstance(shape, Sequence) else shape
    return round(float(np.ptp((frame.points if isinstance(frame, PointCloud) else frame.vertices)[:, 2]))) - 1


@pytest.fixture
def context(tmp_path):
    return Context(device="cpu", progress=Progress(), workspace=tmp_path / "workspace", workers=1, seed=0)


def fitted(method, dataset, context, **recipe):
    model = method()
    model.fit(dataset, method.recipe_type(**recipe), context)
    return model


def with_seed(context, seed):
    return Context(context.device, context.progress, context.workspace, context.workers, seed)


@pytest.mark.parametrize("name", ["train-copy", "held-out", "noise"])
def test_are_found_like_any_method(name):
    method = get_method(name)
    assert method.name == name
    assert method.is_control
    assert isinstance(load_recipe(method.recipe_type, "hdbench_baselines.controls", "smoke"), ControlRecipe)


class TestTrainCopy:
    def test_hands_out_training_shapes_once_before_twice(self, context):
        model = fitted(TrainCopy, Numbered(), context)
        drawn = [number(shape) for shape in model.sample(range(10), 0, context)]
        assert sorted(drawn[:5]) == [0, 1, 2, 3, 4]
        assert drawn[5:] == drawn[:5]
        assert model.sample_limit is None
        assert model.reference_ids is None

    def test_needs_no_test_split(self, context):
        assert TrainCopy.supports(Numbered(test=0)) is None
        assert len(fitted(TrainCopy, Numbered(test=0), context).shapes) == 5

    def test_keeps_as_many_as_asked_for(self, context):
        assert len(fitted(TrainCopy, Numbered(train=90), context, count=8).shapes) == 8
        assert len(fitted(TrainCopy, Numbered(train=90), context).shapes) == 64
        assert len(fitted(TrainCopy, Numbered(train=90, test=70), context).shapes) == 70

    def test_which_are_kept_depends_on_the_seed_of_the_fit(self, context):
        kept = {fitted(TrainCopy, Numbered(train=90), with_seed(context, seed), count=8).ids for seed in (0, 1, 2)}
        assert len(kept) == 3

    def test_each_name_goes_with_its_shape(self, context):
        model = fitted(TrainCopy, Numbered(), context)
        assert [f"s{number(shape)}" for shape in model.shapes] == list(model.ids)


class TestHeldOut:
    def test_hands_out_half_of_the_test_split(self, context):
        dataset = Numbered(test=7)
        model = fitted(HeldOut, dataset, context)
        drawn = {f"s{number(shape)}" for shape in model.sample(range(3), 0, context)}
        assert model.sample_limit == 3
        assert len(drawn) == len(model.reference_ids) == 3
        assert drawn | set(model.reference_ids) < set(dataset.ids("test"))
        assert not drawn & set(model.reference_ids)

    def test_halves_differ_between_seeds(self, context):
        halves = {fitted(HeldOut, Numbered(test=12), with_seed(context, seed)).reference_ids for seed in (0, 1, 2)}
        assert len(halves) == 3

    def test_hands_out_fresh_shapes_where_there_are_any(self, context):
        dataset = Numbered(makes_more=True, test=0)
        assert HeldOut.supports(dataset) is None
        model = fitted(HeldOut, dataset, with_seed(context, 2), count=4)
        assert sorted(number(shape) for shape in model.sample(range(4), 0, context)) == [3000, 3001, 3002, 3003]
        assert model.reference_ids is None

    def test_hands_out_nothing_twice(self, context):
        model = fitted(HeldOut, Numbered(), context)
        with pytest.raises(HdbenchError, match="kept 3 shapes and cannot draw 4"):
            model.sample([0, 3], 0, context)

    def test_needs_shapes_to_spare(self, context):
        assert "at least 4 test shapes" in HeldOut.supports(Numbered(test=3))
        assert HeldOut.supports(Numbered(test=4)) is None
        with pytest.raises(HdbenchError, match="at least 4 test shapes"):
            fitted(HeldOut, Numbered(test=3), context)

    def test_asks_for_the_test_split(self, context):
        with pytest.raises(RuntimeError, match="test split"):
            fitted(HeldOut, LearningView(Numbered()), context)


class TestNoise:
    def test_fills_the_box_of_the_training_shapes(self, context):
        model = fitted(Noise, Numbered(), context)
        points = np.stack([shape.points for shape in model.sample(range(20), 0, context)])
        assert points.shape == (20, 2048, 3)
        low, high = np.array([-0.5, -0.5, -2.5]), np.array([0.5, 0.5, 2.5])  # of s4, the longest of the five
        assert (points >= low).all()
        assert (points <= high).all()
        # 40,960 uniform draws: five standard errors are 5 * sqrt(1 / 12 / 40960) = 0.007 of the box
        assert np.allclose((points.reshape(-1, 3) - low).mean(axis=0) / (high - low), 0.5, atol=0.007)
        assert np.allclose((points.reshape(-1, 3)).std(axis=0) / (high - low), 12**-0.5, atol=0.007)

    def test_takes_the_layout_of_sequences(self, context):
        model = fitted(Noise, Numbered(kind="sequence"), context, points=10)
        (sequence,) = model.sample([0], 0, context)
        assert model.sample_kind == "sequence"
        assert [frame.points.shape for frame in sequence.frames] == [(10, 3), (10, 3)]
        assert max(frame.points.max() for frame in sequence.frames) > 2.6  # the second frame is moved by 1

    @pytest.mark.parametrize(("kind", "points"), [("mesh", 2048), ("sequence", 2048), ("points", 8)])
    def test_has_as_many_points_as_the_clouds_it_stands_beside(self, context, kind, points):
        assert fitted(Noise, Numbered(kind=kind), context).layout[-1] == points
        assert fitted(Noise, Numbered(kind=kind), context, points=10).layout[-1] == 10

    def test_has_no_more_points_than_usual_beside_large_clouds(self, context, monkeypatch):
        sizes = {"s0": 5000, "s1": 3000, "s2": 3001, "s3": 1 << 12, "s4": 2049}
        monkeypatch.setattr(
            Numbered, "shape", lambda self, name: PointCloud(np.eye(3).repeat(sizes[name], 0)[: sizes[name]])
        )
        assert fitted(Noise, Numbered(kind="points"), context).layout == (2048,)
        sizes["s3"] = 1000
        assert fitted(Noise, Numbered(kind="points"), context).layout == (1000,)

    def test_does_not_repeat_itself(self, context):
        model = fitted(Noise, Numbered(), context, points=10)
        points = np.concatenate([shape.points for shape in model.sample(range(50), 0, context)])
        assert len(np.unique(points, axis=0)) == 500


@pytest.mark.parametrize("kind", ["mesh", "points", "sequence"])
@pytest.mark.parametrize("method", [TrainCopy, HeldOut, Noise])
def test_samples_have_the_kind_of_the_data(method, kind, context):
    model = fitted(method, Numbered(kind=kind), context)
    wanted = {"mesh": Mesh, "points": PointCloud, "sequence": Sequence}
    expected = ("sequence" if kind == "sequence" else "points") if method is Noise else kind
    assert model.sample_kind == expected
    assert all(isinstance(shape, wanted[expected]) for shape in model.sample([0, 1], 0, context))


@pytest.mark.parametrize("method", [TrainCopy, HeldOut, Noise])
def test_a_folder_that_holds_no_control(method, tmp_path, context):
    with pytest.raises(HdbenchError, match=method.name):
        method.load(tmp_path, context)


def test_recipes_refuse_nonsense():
    with pytest.raises(ValueError, match="count"):
        ControlRecipe(count=0)
    with pytest.raises(ValueError, match="points"):
        NoiseRecipe(points=0)
