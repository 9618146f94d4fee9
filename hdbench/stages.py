"""The rooms a run walks through: prepare, obtain, sample; then `hdbench.scoring`. Each leaves an artefact in the store.

Every stage is keyed by its own version number (raised when its output changes), its inputs and its seed.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdbench.cost import measured
from hdbench.datasets.base import Dataset, LearningView
from hdbench.drawing import drawn_shapes, load_model
from hdbench.errors import HdbenchError
from hdbench.evaluation import POINT_COUNT
from hdbench.execution import LOCAL, Engine, run_units
from hdbench.geometry.sampling import shape_points
from hdbench.method import Context, Method
from hdbench.progress import Progress
from hdbench.recipe import Recipe
from hdbench.results import Cost
from hdbench.shape_files import ShapeSet, load_shape, save_shape, write_shape_set
from hdbench.shapes import Float32, Kind, Mesh, PointCloud, Sequence, Shape
from hdbench.store import Artefact, Key, Store, copy_tree, digest, file_digest, is_sound, sealed_path, write_atomic

PREPARE_VERSION = 1
MODEL_VERSION = 1
SAMPLE_VERSION = 1

FIT = "fit.json"
"""File of a model's artefact: what `FitRecord` holds."""

CHUNK = 32
"""Shapes prepared per unit of work."""
CHUNK_AT_HAND = 512
"""The same of datasets whose shapes are read in a few milliseconds: few enough are not worth a pool of processes."""


@dataclass(frozen=True)
class Workshop:
    """What every stage works with."""

    store: Store
    progress: Progress
    device: str
    workers: int
    engine: Engine = LOCAL

    def context(self, workspace: Path, seed: int) -> Context:
        """The context of a method that works in `workspace`."""
        return Context(self.device, self.progress, workspace, self.workers, seed, self.store, self.engine)


@dataclass(frozen=True)
class Entrant:
    """A method with the recipe it takes part with."""

    method: type[Method]
    recipe: Recipe
    changes: tuple[str, ...] = ()
    """What the recipe was told to set otherwise than its preset."""

    @property
    def name(self) -> str:
        """The name of the method."""
        return self.method.name

    @property
    def title(self) -> str:
        """What tables call it: changed recipes do not pass for the method as it is."""
        return f"{self.method.title} ({', '.join(self.changes)})" if self.changes else self.method.title


def prepare(workshop: Workshop, dataset: Dataset, names: tuple[str, ...], *, keep_meshes: bool, title: str) -> ShapeSet:
    """The named shapes with `POINT_COUNT` surface points each, and with their meshes if `keep_meshes`."""
    inputs = {"dataset": dataset.fingerprint(), "names": list(names), "points": POINT_COUNT, "meshes": keep_meshes}

    def make(workspace: Path) -> None:
        size = CHUNK_AT_HAND if dataset.is_at_hand else CHUNK
        units = [_Chunk(dataset, names[start : start + size], keep_meshes) for start in range(0, len(names), size)]
        parts = run_units(
            _prepare_chunk,
            units,
            workers=workshop.workers,
            progress=workshop.progress,
            description=f"Preparing the {title}",
            weight=lambda unit: len(unit.names),
            engine=workshop.engine,
        )
        kind = dataset.kind if keep_meshes or dataset.kind == "sequence" else "points"
        points: dict[str, Float32] = {}

        def shapes() -> Iterator[tuple[str, Shape]]:
            for name, shape, its_points in (item for part in parts for item in part):
                points[name] = its_points
                yield name, shape

        write_shape_set(workspace, shapes(), kind=kind, point_count=POINT_COUNT, seed=0, points_of=points.pop)

    return ShapeSet.open(workshop.store.get_or_make(Key("prepare", PREPARE_VERSION, inputs), make).folder)


@dataclass(frozen=True)
class _Chunk:
    dataset: Dataset
    names: tuple[str, ...]
    keep_meshes: bool


def _prepare_chunk(chunk: _Chunk) -> list[tuple[str, Shape, Float32]]:
    """Name, what is kept, and points of each shape."""
    return [_prepare_shape(chunk.dataset, name, keep_mesh=chunk.keep_meshes) for name in chunk.names]


def _prepare_shape(dataset: Dataset, name: str, *, keep_mesh: bool) -> tuple[str, Shape, Float32]:
    compared = dataset.reference_shape(name)
    points = shape_points(compared, POINT_COUNT, seed=0, name=name, keep=dataset.reduction)
    if not keep_mesh or dataset.kind == "points":
        return name, _as_points(points), points
    return name, compared if isinstance(compared, Mesh | Sequence) else dataset.shape(name), points


def _as_points(points: Float32) -> Shape:
    return PointCloud(points) if points.ndim == 2 else Sequence(tuple(map(PointCloud, points)))


def obtain(workshop: Workshop, dataset: Dataset, entrant: Entrant, *, seed: int) -> Artefact:
    """The model of `entrant`, fitted on `dataset` where the store has none; its folder holds model/ and fit.json.

    Controls see every split of the dataset, methods all but the test split. It may have been fitted by a recipe with
    other `sampling_fields`: what is drawn from it is told which.
    """
    view = dataset if entrant.method.is_control else LearningView(dataset)
    key = model_key(workshop, dataset, entrant, seed=seed)
    return _fitted(workshop, entrant, seed, key, lambda model, context: model.fit(view, entrant.recipe, context))


def model_key(workshop: Workshop, dataset: Dataset, entrant: Entrant, *, seed: int) -> Key:
    """The key under which `obtain` leaves a model."""
    return _fit_key(workshop, entrant, seed, dataset=dataset.fingerprint())


def obtain_from_fields(workshop: Workshop, fields: Path, entrant: Entrant, *, seed: int) -> Artefact:
    """The model of `entrant`, fitted on the neural fields in the folder `fields` where the store has none."""
    key = _fit_key(workshop, entrant, seed, fields=folder_digest(fields))
    return _fitted(
        workshop, entrant, seed, key, lambda model, context: model.fit_from_fields(fields, entrant.recipe, context)
    )


def adopt(workshop: Workshop, method: type[Method], folder: Path) -> Artefact:
    """The saved model in `folder`, whoever fitted it, as an artefact that `draw` takes.

    The store gets a copy: workers of a cluster see it and not the folder, and samples that take hours are of the bytes
    they are filed under, whatever becomes of the folder meanwhile.
    """
    return _adopted(workshop, method, folder_digest(folder), lambda target: copy_tree(folder, target))


def adopt_files(
    workshop: Workshop, method: type[Method], files: Mapping[str, str], write: Callable[[Path], None]
) -> Artefact:
    """The model that `write(folder)` brings, as an artefact that `draw` takes; `files` are its sha256s by path."""
    return _adopted(workshop, method, digest(files), write)


def _adopted(workshop: Workshop, method: type[Method], files: str, write: Callable[[Path], None]) -> Artefact:
    inputs = {
        "method": method.name,
        "method_version": method.version,
        "files": files,
        "device": workshop.device,  # on which its samples will be drawn
    }

    def make(workspace: Path) -> None:
        write(workspace / "model")
        model = method.load(workspace / "model", workshop.context(workspace, seed=0))
        _record_fit(workspace, model, fit_s=None, peak_memory_bytes=None)

    return workshop.store.get_or_make(Key("adopted", MODEL_VERSION, inputs), make)


def folder_digest(folder: Path) -> str:
    """sha256 over the names and bytes of all files below `folder`; HdbenchError where there is no such folder."""
    if not folder.is_dir():
        raise HdbenchError(f"There is no folder {folder}.")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})


def _fit_key(workshop: Workshop, entrant: Entrant, seed: int, **learnt_from: Any) -> Key:
    inputs = {
        "method": entrant.name,
        "class": f"{entrant.method.__module__}.{entrant.method.__qualname__}",
        "method_version": entrant.method.version,
        "recipe": entrant.recipe.of_fit(),
        "seed": seed,
        "device": workshop.device,
    }
    return Key("model", MODEL_VERSION, inputs | learnt_from)


def _fitted(
    workshop: Workshop,
    entrant: Entrant,
    seed: int,
    key: Key,
    learn: Callable[[Method, Context], None],
) -> Artefact:
    def make(workspace: Path) -> None:
        scratch = workspace / "scratch"
        resumed = scratch.exists()
        scratch.mkdir(exist_ok=True)
        model = entrant.method()
        with measured(workshop.device) as cost:
            learn(model, workshop.context(scratch, seed))
        model.save(workspace / "model")
        earlier = None if resumed else model.reused_seconds  # an interrupted fit has no honest time of its own
        seconds = None if earlier is None else earlier + cost.seconds
        _record_fit(workspace, model, fit_s=seconds, peak_memory_bytes=cost.peak_memory_bytes)
        shutil.rmtree(scratch)

    return workshop.store.get_or_make(key, make)


def _record_fit(folder: Path, model: Method, *, fit_s: float | None, peak_memory_bytes: int | None) -> None:
    record = {
        "fit_s": fit_s,
        "peak_memory_bytes": peak_memory_bytes,
        "loss_curve": model.loss_curve(),
        "sample_kind": model.sample_kind,
        "sample_limit": model.sample_limit,
        "reference_ids": model.reference_ids,
    }
    write_atomic(folder / FIT, json.dumps(record))


@dataclass(frozen=True)
class FitRecord:
    """What is known of a fitted model without loading it; `fit.json` in its artefact."""

    fit_s: float | None
    peak_memory_bytes: int | None
    loss_curve: list[tuple[int, float]]
    sample_kind: Kind
    sample_limit: int | None
    reference_ids: list[str] | None

    @classmethod
    def of(cls, model: Artefact) -> "FitRecord":
        """The record of the model in `model`."""
        return cls(**json.loads((model.folder / FIT).read_text(encoding="utf-8")))


def draw(
    workshop: Workshop,
    method: type[Method],
    model: Artefact,
    *,
    count: int,
    seed: int,
    recipe: Recipe | None = None,
) -> Artefact:
    """`count` samples of `model` (or as many as it can draw) as a shape set, and cost.json.

    They are drawn as the `sampling_fields` of `recipe` say, without one as the model says itself. Shapes are kept one
    by one while they are drawn: an interrupted stage draws only the others.
    """
    record = FitRecord.of(model)
    count = min(count, record.sample_limit or count)
    inputs = {"model": model.key.digest, "count": count, "seed": seed, "points": POINT_COUNT, **sampling_of(recipe)}

    def make(workspace: Path) -> None:
        parts = workspace / "parts"
        parts.mkdir(exist_ok=True)
        missing = [index for index in range(count) if not is_sound(_part(parts, index))]
        with measured(workshop.device) as cost:
            _draw_missing(workshop, method, model, missing, parts, count=count, seed=seed, recipe=recipe)
        shapes = ((f"{index:05d}", load_shape(_part(parts, index))) for index in range(count))
        write_shape_set(workspace, shapes, kind=record.sample_kind, point_count=POINT_COUNT, seed=seed)
        took = {
            "sample_s_per_shape": cost.seconds / len(missing) if missing else None,
            "peak_memory_bytes": cost.peak_memory_bytes,
        }
        write_atomic(workspace / "cost.json", json.dumps(took))
        shutil.rmtree(parts)

    return workshop.store.get_or_make(Key("samples", SAMPLE_VERSION, inputs), make)


def sampling_of(recipe: Recipe | None) -> dict[str, Any]:
    """What a recipe adds to the key of what is drawn by it: nothing, where it has no `sampling_fields`."""
    sampling = recipe.of_sampling() if recipe else {}
    return {"sampling": sampling} if sampling else {}


def save_model(method: type[Method], model: Path, recipe: Recipe, folder: Path, context: Context) -> None:
    """Write the model saved in `model` into `folder`, as one that samples as `recipe` says."""
    if recipe.sampling_fields:
        load_model(method, model, recipe, context).save(folder)
    else:
        copy_tree(model, folder)


def _part(folder: Path, index: int) -> Path:
    return folder / f"{index}.npz"


def _draw_missing(
    workshop: Workshop,
    method: type[Method],
    model: Artefact,
    missing: list[int],
    parts: Path,
    *,
    count: int,
    seed: int,
    recipe: Recipe | None,
) -> None:
    if not missing:
        return
    context = workshop.context(parts, seed)
    shapes = drawn_shapes(method, model, missing, seed=seed, context=context, recipe=recipe)
    with workshop.progress.task(f"Sampling {method.title}", count, done=count - len(missing)) as task:
        for index, shape in zip(missing, shapes, strict=True):
            with sealed_path(_part(parts, index)) as path:
                save_shape(path, shape)
            task.advance()


def cost_of(model: Artefact, samples: Artefact, device: str) -> Cost:
    """What a row took, as its two artefacts recorded it when they were made."""
    fit = FitRecord.of(model)
    drawing = json.loads((samples.folder / "cost.json").read_text(encoding="utf-8"))
    peaks = [peak for peak in (fit.peak_memory_bytes, drawing["peak_memory_bytes"]) if peak]
    return Cost(
        fit_s=fit.fit_s,
        sample_s_per_shape=drawing["sample_s_per_shape"],
        peak_memory_bytes=max(peaks, default=None),
        device=device,
    )
