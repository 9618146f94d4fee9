"""Does a method keep the contract of `hdbench.method`? The check that anyone can run on theirs.

It needs nothing but the method: a handful of boxes and ellipsoids stand in for a dataset, with no validation split,
and the method is fitted with its `smoke` preset.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdbench.datasets.base import Dataset, LearningView, Split
from hdbench.errors import HdbenchError
from hdbench.interrupts import interrupts_deferred
from hdbench.method import Context, Method, get_method, method_names
from hdbench.progress import Progress, Task
from hdbench.recipe import Recipe
from hdbench.seeds import generator
from hdbench.shapes import Bool, Float32, Kind, Mesh, PointCloud, Shape
from hdbench.shapes import Sequence as Frames

FIT_SEED = 7
SAMPLE_SEED = 11
OTHER_SEEDS = (12, 13, 14)
"""More than one: a model with few shapes to choose from may draw the same from two seeds, but hardly from four."""
SAMPLED = 3
SUFFIXES = {".safetensors", ".json", ".npz", ".toml", ".txt", ".md"}
"""Files a model may consist of: none of them can run code when it is read."""
_GROWTH = np.array([0.6, 0.8, 1.0], np.float32)
_KINDS: dict[Kind, type[Shape]] = {"mesh": Mesh, "points": PointCloud, "sequence": Frames}


@dataclass(frozen=True)
class Check:
    """One clause of the contract, and whether it is kept."""

    name: str
    passed: bool
    detail: str
    """What was found: the mend where it failed, a figure where it passed."""


class ToySolids(Dataset):
    """Boxes and ellipsoids: five to train on, none to validate with, eight to test on."""

    name = "toy solids"
    category = "solid"

    def __init__(self, kind: Kind = "mesh") -> None:
        self.kind = kind
        self.skipped: dict[str, str] = {}

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`."""
        numbers = {"train": range(5), "val": range(0), "test": range(5, 13)}[split]
        return tuple(f"{'box' if number % 2 else 'ellipsoid'}-{number}" for number in numbers)

    def shape(self, name: str) -> Shape:
        """See `Dataset.shape`: a mesh, its vertices, or three frames of it growing, as `kind` says."""
        with interrupts_deferred():
            import trimesh

        solid = trimesh.creation.box((2, 2, 2)) if name.startswith("box") else trimesh.creation.icosphere(3)
        vertices, faces = np.asarray(solid.vertices * self._half_extents(name), np.float32), solid.faces
        if self.kind == "mesh":
            return Mesh(vertices, faces)
        if self.kind == "points":
            return PointCloud(trimesh.sample.sample_surface(trimesh.Trimesh(vertices, faces), 2048, seed=0)[0])
        return Frames(tuple(Mesh(vertices * growth, faces) for growth in _GROWTH))

    def occupancy(self, name: str, points: Float32, *, frame: int = 0) -> Bool:
        """See `Dataset.occupancy`."""
        if self.kind == "points":
            raise HdbenchError(f"{name} is a cloud of points and encloses nothing.")
        growth = 1.0 if self.kind == "mesh" else _GROWTH[frame]
        scaled = np.abs(points / (self._half_extents(name) * growth))
        reach = scaled.max(axis=1) if name.startswith("box") else np.square(scaled).sum(axis=1)
        return np.asarray(reach <= 1)

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`."""
        return {"name": self.name, "kind": self.kind}

    def _half_extents(self, name: str) -> npt.NDArray[np.float64]:
        return generator("toy solids", name).uniform(0.2, 0.5, 3)


def check_method(
    method: type[Method], *, workspace: Path, progress: Progress, recipe: Recipe | None = None
) -> list[Check]:
    """Check `method` clause by clause, with each kind of shapes it says it can learn from.

    What a failure makes impossible to check is left out. `workspace` is an empty folder for its models. `recipe`
    takes the place of the preset `smoke`. The method is fitted about two and a half times for each kind. Errors of
    the method are failed checks, never raised.
    """
    return list(_checks(method, workspace, progress, recipe))


def _checks(method: type[Method], workspace: Path, progress: Progress, recipe: Recipe | None) -> Iterator[Check]:
    kinds: list[Kind] = []
    described = _outcome("is described", lambda: _description(method))
    yield described
    if described.passed:
        yield _outcome("says what it supports", lambda: _support(method, kinds))
    for kind in kinds:
        examination = _Examination(method, ToySolids(kind), workspace / kind, progress, recipe)
        for check in examination.run():
            yield replace(check, name=f"{check.name} ({kind})") if len(kinds) > 1 else check


def _description(method: type[Method]) -> str:
    for attribute in ("name", "title", "output"):
        _demand(hasattr(method, attribute), f"the class variable `{attribute}` is missing")
    _demand(method.output in _KINDS, f"output is {method.output!r}, not one of {', '.join(_KINDS)}")
    _demand(
        method.name not in method_names() or get_method(method.name) is method,
        f"{method.name!r} is the name of another method; set `name` in the class {method.__name__}",
    )
    missing = sorted(method.__abstractmethods__)
    _demand(not missing, f"not implemented: {', '.join(missing)}")
    return f"{method.title} makes {method.output}, version {method.version}"


def _support(method: type[Method], kinds: list[Kind]) -> str:
    """Fill `kinds` with those of the toy datasets that the method can learn from."""
    refusals = []
    for kind in _KINDS:
        answer = method.supports(ToySolids(kind))
        _demand(answer is None or (isinstance(answer, str) and answer != ""), f"it answers {answer!r}, no reason")
        if answer is None:
            kinds.append(kind)
        else:
            refusals.append(f"{kind}: {answer}")
    _demand(bool(kinds), f"it supports none of the toy datasets ({'; '.join(refusals)})")
    return f"learns from datasets of kind {', '.join(kinds)}"


class _Broken(Exception):
    """The contract is not kept; says how."""


def _demand(kept: bool, complaint: str) -> None:
    if not kept:
        raise _Broken(complaint)


class _Interruption(BaseException):
    """Stands in for a killed process. No Exception, so that no method takes it for a problem of its own."""


class _Counted(Progress):
    """Counts what a method reports, passes it on, and raises `_Interruption` after `stop_after` reports."""

    def __init__(self, shown: Progress, stop_after: int | None = None) -> None:
        self.shown, self.stop_after = shown, stop_after
        self.reports = 0
        self.overrun = ""

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        with self.shown.task(description, total, done=done) as task:
            counted = _CountedTask(self, task, done)
            yield counted
        if counted.done > total:
            self.overrun = f"{description!r} reported {counted.done} steps of {total}"

    def say(self, message: str) -> None:
        """See `Progress.say`."""
        self.shown.say(message)


class _CountedTask:
    def __init__(self, progress: _Counted, task: Task, done: int) -> None:
        self.progress, self.task, self.done = progress, task, done

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.progress.reports += 1
        self.task.advance(steps, note)
        if self.progress.reports == self.progress.stop_after:
            raise _Interruption


class _Examination:
    """One method being checked with one kind of shapes.

    Each clause raises `_Broken` with what is wrong, or returns what was found.
    """

    recipe: Recipe
    fitted: Method
    fitting: _Counted
    loaded: Method
    indices: list[int]
    samples: list[Shape]

    def __init__(
        self, method: type[Method], dataset: Dataset, folder: Path, progress: Progress, recipe: Recipe | None
    ) -> None:
        self.method, self.dataset, self.folder, self.progress = method, dataset, folder, progress
        self.given_recipe = recipe

    def run(self) -> Iterator[Check]:
        """Every check that can be made."""
        essential: list[tuple[str, Callable[[], str]]] = [
            ("has a smoke preset", self.has_a_recipe),
            ("fits", self.fits),
            ("saves", self.saves),
            ("loads", self.loads),
            ("samples", self.draws),
        ]
        further: list[tuple[str, Callable[[], str]]] = [
            ("reports progress", self.reports_progress),
            ("saves the same bytes again", self.saves_alike),
            ("samples the same from the same seed", self.repeats_itself),
            ("samples each shape alone", self.draws_each_alone),
            ("samples others from another seed", self.heeds_the_seed),
            ("makes finite shapes of its kind", self.makes_its_kind),
            ("survives interruptions unchanged", self.survives_interruptions),
        ]
        for name, clause in essential:
            check = _outcome(name, clause)
            yield check
            if not check.passed:
                return
        for name, clause in further:
            yield _outcome(name, clause)

    def has_a_recipe(self) -> str:
        self.recipe = self.given_recipe or self.method.load_recipe("smoke", (self.dataset.kind, self.dataset.category))
        return ", ".join(f"{key}={value}" for key, value in self.recipe.model_dump().items())[:200] or "no parameters"

    def fits(self) -> str:
        self.fitting = _Counted(self.progress)
        self.fitted = self._fit("undisturbed", self.fitting)
        return f"with {len(self.dataset.ids('train'))} shapes to learn from"

    def saves(self) -> str:
        self.fitted.save(self.folder / "saved")
        files = _files(self.folder / "saved")
        _demand(bool(files), "the folder is empty")
        foreign = sorted(name for name in files if Path(name).suffix not in SUFFIXES)
        _demand(not foreign, f"{', '.join(foreign)}: keep weights as safetensors and the rest as JSON")
        return f"{len(files)} files, {sum(map(len, files.values()))} bytes"

    def loads(self) -> str:
        self.loaded = self.method.load(self.folder / "saved", self._context("loading", Progress()))
        _demand(type(self.loaded) is self.method, f"load returns a {type(self.loaded).__name__}")
        return "the saved model"

    def draws(self) -> str:
        limit = self.loaded.sample_limit
        self.indices = list(range(SAMPLED if limit is None else min(SAMPLED, limit)))
        self.samples = self._draw(self.loaded, self.indices)
        _demand(not self._draw(self.loaded, []), "no indices should give no shapes")
        return f"{len(self.samples)} shapes"

    def reports_progress(self) -> str:
        _demand(self.fitting.reports > 0, "fit opened no task of context.progress, or never advanced one")
        _demand(not self.fitting.overrun, self.fitting.overrun)
        return f"{self.fitting.reports} reports while fitting"

    def saves_alike(self) -> str:
        if self.recipe.sampling_fields:
            self.loaded.sample_by(self.recipe)
        self.loaded.save(self.folder / "resaved")
        _demand_same_files(self.folder / "saved", self.folder / "resaved", "after loading, ")
        return "byte by byte"

    def repeats_itself(self) -> str:
        _stir_global_randomness()
        again = self._draw(self.loaded, self.indices)
        _demand(_same(self.samples, again), "the loaded model draws other shapes the second time")
        fresh = self._draw(self.fitted, self.indices)
        _demand(_same(self.samples, fresh), "the fitted model draws other shapes than the loaded one")
        return "twice, and before and after loading"

    def draws_each_alone(self) -> str:
        last = self.indices[-1]
        _demand(
            _same(self.samples[-1:], self._draw(self.loaded, [last])),
            f"shape {last} alone is another than shape {last} of a batch; derive each shape's seed from its index",
        )
        backwards = self._draw(self.loaded, self.indices[::-1])
        _demand(_same(self.samples, backwards[::-1]), "a shape depends on the order in which indices are asked for")
        return "alone, in a batch, and backwards"

    def heeds_the_seed(self) -> str:
        others = (self._draw(self.loaded, self.indices, seed=seed) for seed in OTHER_SEEDS)
        _demand(any(not _same(self.samples, other) for other in others), "every seed gives the same shapes")
        return f"seeds {', '.join(map(str, (SAMPLE_SEED, *OTHER_SEEDS)))}"

    def makes_its_kind(self) -> str:
        kind = self.loaded.sample_kind
        for index, shape in zip(self.indices, self.samples, strict=True):
            found = type(shape).__name__
            _demand(isinstance(shape, _KINDS[kind]), f"shape {index} is a {found}, and the kind is {kind!r}")
            _demand(_finite(shape), f"shape {index} has coordinates that are not finite")
        return kind

    def survives_interruptions(self) -> str:
        _stir_global_randomness()
        stride = max(1, self.fitting.reports // 4)
        interrupted = 0
        for _ in range(3):
            try:
                model = self._fit("interrupted", _Counted(self.progress, stop_after=stride))
            except _Interruption:
                interrupted += 1
            else:
                break
        else:
            model = self._fit("interrupted", _Counted(self.progress))
        _demand(interrupted > 0, "the fit could not be interrupted: it swallows what the progress callback raises")
        model.save(self.folder / "recovered")
        _demand_same_files(self.folder / "saved", self.folder / "recovered", f"after {interrupted} interruptions, ")
        return f"interrupted {interrupted} times"

    def _fit(self, workspace: str, progress: Progress) -> Method:
        model = self.method()
        view = self.dataset if self.method.is_control else LearningView(self.dataset)
        model.fit(view, self.recipe, self._context(workspace, progress))
        return model

    def _draw(self, model: Method, indices: Sequence[int], *, seed: int = SAMPLE_SEED) -> list[Shape]:
        shapes = list(model.sample(indices, seed, self._context("sampling", self.progress)))
        _demand(len(shapes) == len(indices), f"{len(indices)} indices gave {len(shapes)} shapes")
        return shapes

    def _context(self, workspace: str, progress: Progress) -> Context:
        folder = self.folder / workspace
        folder.mkdir(parents=True, exist_ok=True)
        return Context("cpu", progress, folder, workers=1, seed=FIT_SEED)


def _outcome(name: str, clause: Callable[[], str]) -> Check:
    try:
        return Check(name, True, clause())
    except _Broken as broken:
        return Check(name, False, str(broken))
    except Exception as error:  # of the method's own code: what it is, is the finding
        return Check(name, False, f"raised {type(error).__name__}: {error}")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _demand_same_files(first: Path, second: Path, when: str) -> None:
    before, after = _files(first), _files(second)
    differing = sorted(name for name in before | after if before.get(name) != after.get(name))
    _demand(not differing, f"{when}{', '.join(differing)} differ")


def _same(first: Sequence[Shape], second: Sequence[Shape]) -> bool:
    """Whether two lists of shapes are equal to the last bit."""
    pairs = zip(map(_arrays, first), map(_arrays, second), strict=True)
    return all([array.tobytes() for array in a] == [array.tobytes() for array in b] for a, b in pairs)


def _arrays(shape: Shape) -> list[npt.NDArray[Any]]:
    if isinstance(shape, Mesh):
        return [shape.vertices, shape.faces]
    if isinstance(shape, PointCloud):
        return [shape.points]
    return [array for frame in shape.frames for array in _arrays(frame)]


def _finite(shape: Shape) -> bool:
    return all(np.isfinite(array).all() for array in _arrays(shape))


def _stir_global_randomness() -> None:
    """Move every global random state, so that whoever reads one gives himself away."""
    random.random()
    np.random.random()  # noqa: NPY002 - it is the global state that is meant
    if torch := sys.modules.get("torch"):
        torch.rand(1)
