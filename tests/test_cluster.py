"""What a run does on a cluster, with an engine that passes for one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hdbench import models, stages
from hdbench.benchmark import Plan, Run
from hdbench.cli_options import engine_called
from hdbench.cluster import fit_ahead
from hdbench.datasets.folder import Folder
from hdbench.datasets.procedural.dataset import Procedural
from hdbench.drawing import BATCH, draw_batch, drawn_shapes
from hdbench.errors import HdbenchError
from hdbench.execution import LOCAL, LocalEngine
from hdbench.method import Context, Method, get_method
from hdbench.models import FitPlan, fit_model
from hdbench.progress import Progress
from hdbench.ray_engine import RayEngine
from hdbench.shape_files import ShapeSet
from hdbench.shapes import PointCloud
from hdbench.stages import Entrant, Workshop
from hdbench.store import Artefact, Key, Store

MODEL = Artefact(Key("model", 1, {}), Path("nowhere"), fresh=False)


class PassesForCluster(LocalEngine):
    """Runs units here, one after another, and remembers them."""

    is_cluster = True

    def __init__(self):
        self.units = []

    def results(self, function, units, *, workers, device, finished):
        for unit in units:
            self.units.append((function, unit, device))
            yield function(unit)
            finished(unit)


class Lists(PassesForCluster):
    """Takes units, and works on none."""

    def results(self, function, units, **options):
        self.units += [(function, unit, options["device"]) for unit in units]
        return iter(())


class Elsewhere(PassesForCluster):
    """A cluster whose workers write to a store that is not the driver's."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def results(self, function, units, **options):
        moved = [replace(unit, workshop=replace(unit.workshop, store=Store(self.folder))) for unit in units]
        return super().results(function, moved, **options)


class Numbered(Method):
    """Sample i is a point at i; remembers which samples were asked for together."""

    name, title, output = "numbered", "Numbered", "points"
    asked: list[tuple[int, ...]] = []  # noqa: RUF012

    def fit(self, dataset, recipe, context):
        raise NotImplementedError

    def sample(self, indices, seed, context):
        self.asked.append(tuple(indices))
        assert context.workers == 1
        for index in indices:
            yield PointCloud(np.full((1, 3), index + seed, np.float32))

    def save(self, folder):
        raise NotImplementedError

    @classmethod
    def load(cls, folder, context):
        return cls()


@pytest.fixture
def dataset(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for index in range(5):
            points = np.random.default_rng(index).standard_normal((2048, 3)).astype(np.float32)
            np.save(tmp_path / "data" / split / f"{split}-{index}.npy", points)
    return Folder(tmp_path / "data", "blob")


def workshop_with(engine, folder: Path) -> Workshop:
    return Workshop(Store(folder), Progress(), "cpu", 2, engine)


def entrants(*names: str, preset: str = "default") -> list[Entrant]:
    return [Entrant(get_method(name), get_method(name).load_recipe(preset)) for name in names]


def test_batches_keep_to_the_blocks_that_methods_draw_together():
    engine = PassesForCluster()
    context = Context("cpu", Progress(), Path("nowhere"), 2, seed=0, engine=engine)
    Numbered.asked.clear()
    indices = [3, BATCH - 1, BATCH, 5 * BATCH, 5 * BATCH + 1]
    drawn = drawn_shapes(Numbered, MODEL, indices, seed=7, context=context)
    assert [shape.points[0, 0] for shape in drawn] == [index + 7 for index in indices]
    assert Numbered.asked == [(3, BATCH - 1), (BATCH,), (5 * BATCH, 5 * BATCH + 1)]
    assert {function for function, _, _ in engine.units} == {draw_batch}


def test_elsewhere_than_on_a_cluster_one_call_draws_all():
    context = Context("cpu", Progress(), Path("nowhere"), 1, seed=0)
    Numbered.asked.clear()
    assert len(list(drawn_shapes(Numbered, MODEL, range(70), seed=0, context=context))) == 70
    assert Numbered.asked == [tuple(range(70))]


def test_whole_methods_are_units_and_their_models_those_of_one_machine(dataset, tmp_path):
    here, there = workshop_with(LOCAL, tmp_path / "a"), workshop_with(PassesForCluster(), tmp_path / "b")
    named = entrants("noise", "train-copy")
    fit_ahead(there, dataset, named, seed=3)
    assert [unit.entrant for _, unit, _ in there.engine.units] == named
    for entrant in named:
        alone, together = (stages.obtain(shop, dataset, entrant, seed=3) for shop in (here, there))
        assert alone.fresh
        assert not together.fresh
        assert alone.key.digest == together.key.digest
        drawn = [stages.draw(shop, entrant.method, alone, count=5, seed=1) for shop in (here, there)]
        assert np.array_equal(*(ShapeSet.open(samples.folder).points for samples in drawn))


def test_the_longest_fit_begins_and_what_cores_can_share_comes_last(tmp_path):
    engine, chairs = Lists(), Procedural("chair")
    named = entrants("dpc", "hyperdiffusion", "pvd")
    seconds = {one.name: one.method.estimate_seconds(chairs, one.recipe, 0) for one in named}
    assert seconds["dpc"] < seconds["hyperdiffusion"]  # else it would come last by its length
    fit_ahead(workshop_with(engine, tmp_path / "store"), chairs, named, seed=3)
    assert [unit.entrant.name for _, unit, _ in engine.units] == ["pvd", "dpc", "hyperdiffusion"]


def test_what_is_in_the_store_is_not_fitted_again(dataset, tmp_path):
    workshop = workshop_with(PassesForCluster(), tmp_path / "store")
    fit_ahead(workshop, dataset, entrants("noise"), seed=3)
    fit_ahead(workshop, dataset, entrants("noise", "train-copy"), seed=3)
    assert [unit.entrant.name for _, unit, _ in workshop.engine.units] == ["noise", "train-copy"]


def test_controls_and_a_single_method_wait_for_their_turn_on_one_machine(dataset, tmp_path):
    workshop = workshop_with(LOCAL, tmp_path / "store")
    named = [*entrants("noise", "train-copy"), *entrants("dpc", preset="smoke")]
    fit_ahead(workshop, dataset, named, seed=3)
    assert stages.obtain(workshop, dataset, named[0], seed=3).fresh
    assert stages.obtain(workshop, dataset, named[2], seed=3).fresh


def test_one_machine_fits_methods_at_once_on_its_cores_and_to_the_same_bits(dataset, tmp_path):
    named = entrants("dpc", "pvd", preset="smoke")
    one, two = (replace(workshop_with(LOCAL, tmp_path / str(n)), workers=n) for n in (1, 2))
    for workshop in (one, two):
        fit_ahead(workshop, dataset, named, seed=3)
    for entrant in named:
        alone, together = (stages.obtain(workshop, dataset, entrant, seed=3) for workshop in (one, two))
        assert alone.fresh
        assert not together.fresh
        files = [sorted((model.folder / "model").iterdir()) for model in (alone, together)]
        assert [path.name for path in files[0]] == [path.name for path in files[1]]
        assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def test_a_store_that_is_not_shared_is_told(dataset, tmp_path):
    workshop = workshop_with(Elsewhere(tmp_path / "theirs"), tmp_path / "ours")
    with pytest.raises(HdbenchError, match="set HDBENCH_STORE to a folder that all nodes share"):
        fit_ahead(workshop, dataset, entrants("noise"), seed=3)


def test_a_single_fit_is_a_unit_too(dataset, tmp_path, monkeypatch):
    workshop = workshop_with(PassesForCluster(), tmp_path / "store")
    plan = FitPlan(method="noise", category="blob", dataset=str(tmp_path / "data"))
    monkeypatch.setattr(models, "open_limited", lambda *_, **__: dataset)
    folder = fit_model(plan, workshop, tmp_path / "model")
    assert (folder / "hdbench.json").is_file()
    assert len(workshop.engine.units) == 1


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("local", LOCAL),
        ("ray", RayEngine()),
        ("ray://", RayEngine()),
        ("ray://auto", RayEngine("auto")),
        ("ray://10.0.0.1:6379", RayEngine("10.0.0.1:6379")),
    ],
)
def test_engines_are_called_by_name(name, engine):
    assert engine_called(name) == engine


@pytest.mark.parametrize("name", ["", "rays", "dask", "ray:/x"])
def test_an_unknown_engine_is_refused(name):
    with pytest.raises(HdbenchError, match="choose local, ray"):
        engine_called(name)


def test_a_run_on_a_cluster_has_the_rows_of_one_on_this_machine(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "_report", lambda run: None)
    monkeypatch.setattr("hdbench.other_protocols.other_protocols", lambda *_: ())
    plan = Plan("blob", dataset=str(tmp_path / "data"), methods=("noise", "train-copy"), protocol="pvd", count=3)
    results, engine = [], PassesForCluster()
    for name, chosen in (("here", LOCAL), ("there", engine)):
        store = Store(tmp_path / f"store-{name}")
        results.append(Run(plan, store=store, folder=tmp_path / name, progress=Progress(), engine=chosen).execute())
    assert [row.scores for row in results[0].rows] == [row.scores for row in results[1].rows]
    counts = Counter(function.__name__ for function, _, _ in engine.units)
    assert (counts["fit_entrant"], counts["draw_batch"], counts["score_unit"]) == (2, 2, 2)
    engine.units.clear()
    Run(plan, store=store, folder=tmp_path / "there", progress=Progress(), engine=engine).execute()
    assert engine.units == []
