"""Samples and reference in, scores out: the one evaluation path, for runs and for anyone's shapes alike."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from hdbench.datasets.registry import open_split
from hdbench.distances.chamfer import cd_sq_matrix
from hdbench.errors import HdbenchError, unknown_name
from hdbench.geometry.normalisation import Moments, moments
from hdbench.geometry.sampling import Reduction, shape_points
from hdbench.metrics.protocols import Protocol, get_protocol, usual_protocol
from hdbench.metrics.scoring import Statistics, score_points
from hdbench.npz import one_line
from hdbench.progress import Progress
from hdbench.provenance import provenance
from hdbench.results import Neighbours, Score, Scores, SetInfo, to_json
from hdbench.seeds import generator
from hdbench.shape_files import ShapeSet
from hdbench.shapes import Float32, Shape, defect
from hdbench.store import atomic_path, file_digest, refuse_unwritable, write_atomic
from hdbench.text import as_utf8

NEAREST = 3
"""Training shapes named for each sample: the paper's novelty figure shows three."""

POINT_COUNT = 2048
"""Surface points taken of a mesh: what every published protocol asks for."""


@dataclass(frozen=True, eq=False)
class PointSet:
    """The valid shapes of a source as points, and the names of the others."""

    points: Float32 = field(repr=False)
    """(N, P, 3), or (N, T, P, 3) for sequences."""
    ids: tuple[str, ...]
    path: str
    invalid: dict[str, str]
    """Reason by id for the shapes left out."""
    is_ours: bool = False
    """Written by hdbench, and so in the coordinates of the data."""
    moments: Callable[[], Moments | None] | None = None
    """What published models of these shapes normalise by, where a dataset says so."""

    @classmethod
    def of(cls, shapes: ShapeSet, path: str) -> "PointSet":
        """The points of a set on disk."""
        ids = tuple(name for name, valid in zip(shapes.ids, shapes.valid, strict=True) if valid)
        return cls(shapes.points[shapes.valid], ids, path, shapes.invalid, is_ours=True)

    def select(self, ids: Iterable[str]) -> "PointSet":
        """The subset called `ids`, in the order of this set."""
        wanted = set(ids)
        chosen = [index for index, name in enumerate(self.ids) if name in wanted]
        invalid = {name: reason for name, reason in self.invalid.items() if name in wanted}
        ids = tuple(self.ids[index] for index in chosen)
        return replace(self, points=self.points[chosen], ids=ids, invalid=invalid)

    def thinned(self, count: int) -> "PointSet":
        """At most `count` points of each shape, chosen at random: clouds may be stored in an order of their own."""
        total = self.points.shape[-2]
        if total <= count:
            return self
        chosen = [np.sort(generator(0, "thinned", name).permutation(total)[:count]) for name in self.ids]
        points = [shape[..., places, :] for shape, places in zip(self.points, chosen, strict=True)]
        return replace(self, points=np.stack(points))

    @cached_property
    def info(self) -> SetInfo:
        """What the result records of this set."""
        digest = hashlib.sha256(np.ascontiguousarray(self.points).data).hexdigest()
        count, invalid = len(self.ids), len(self.invalid)
        return SetInfo(path=as_utf8(self.path), sha256=digest, count=count, invalid=invalid, invalid_ids=self.invalid)


def open_point_set(
    source: Any, *, role: str, seed: int = 0, keep: Reduction = "random", progress: Progress | None = None
) -> PointSet:
    """Read `source` into points; shapes that cannot be scored are left out and named in `invalid`.

    `source` is a path (see `hdbench.datasets.readers`), `dataset@category/split` (see `hdbench.datasets.registry`), a
    `PointSet`, a `ShapeSet`, an array or tensor (N, P, 3) or (N, T, P, 3), or arrays, trimesh objects, hdbench shapes
    and paths, one a shape. `role` ("samples", "reference", "train") names it in errors. Meshes are sampled at 2,048
    points, each from (seed, its id) alone, and from `role` unless that is "reference": the same points of the same
    triangles in a sample and a reference of one name and topology would make them seem closer than they are. Of clouds
    with more points, a random choice or the first ones are kept.

    Raises HdbenchError when nothing valid is left or when the shapes differ in their number of points.
    """
    if isinstance(source, PointSet):
        return source
    if isinstance(source, ShapeSet):
        return PointSet.of(source, str(source.folder))
    if isinstance(source, str | Path) and ShapeSet.is_one(Path(source)):
        return PointSet.of(ShapeSet.open(Path(source)), str(source))
    path = str(source) if isinstance(source, str | Path) else f"{role} (in memory)"
    points = np.empty((0, 0, 3), np.float32)
    layouts: set[tuple[int, ...]] = set()
    ids: list[str] = []
    invalid: dict[str, str] = {}
    progress = progress or Progress()
    split = open_split(str(source), progress=progress) if isinstance(source, str | Path) else None
    entries = _entries(source, role) if split is None else split.shapes
    with progress.task(f"reading the {role}", len(entries)) as task:
        for name, read in entries:
            try:
                shape = read()
                reason = defect(shape)
            except HdbenchError as error:
                reason = str(error)
            if reason is None:
                stream = name if role == "reference" else f"{role}/{name}"  # references have the points of runs
                row = shape_points(shape, POINT_COUNT, seed=seed, name=stream, keep=keep)
                if not layouts:  # room for all at once: rows that are stacked in the end would be there twice
                    points = np.empty((len(entries), *row.shape), np.float32)
                layouts.add(row.shape)
                if len(layouts) == 1:
                    points[len(ids)] = row
                ids.append(name)
            else:
                invalid[name] = reason
            task.advance()
    if not ids:
        first = next((f"; the first: {name}: {reason}" for name, reason in invalid.items()), "")
        raise HdbenchError(f"{role}: {path} holds no shape that can be scored ({len(invalid)} invalid{first}).")
    if len(layouts) > 1:
        raise HdbenchError(f"{role}: {_unlike(path, layouts)}")
    return PointSet(points[: len(ids)], tuple(ids), path, invalid, moments=split.moments if split else None)


def _unlike(path: str, layouts: Iterable[tuple[int, ...]]) -> str:
    """In what the shapes of one set differ, and how to mend it; `layouts` are (P, 3), and (T, P, 3) of sequences."""
    counts = ", ".join(" x ".join(map(str, layout[:-1])) for layout in sorted(layouts)[:4])
    if len({len(layout) for layout in layouts}) > 1:
        return f"{path} holds sequences and single shapes ({counts} points); keep those of one kind."
    if len({layout[:-2] for layout in layouts}) > 1:
        return f"the sequences in {path} differ in their frames ({counts} points); give each as many as the others."
    return (
        f"the shapes in {path} differ in their number of points ({counts}); "
        f"give each at least {POINT_COUNT} points, or all the same number."
    )


def _entries(source: Any, role: str) -> list[tuple[str, Callable[[], Shape]]]:
    """Name of each shape of `source`, and what reads it or raises HdbenchError."""
    from hdbench.datasets.arrays import row_names
    from hdbench.datasets.readers import entries

    if isinstance(source, str | Path):
        return [(entry.name, entry.read) for entry in entries(Path(source))]
    items = _items(source, role)
    for item in items:
        if isinstance(item, str | Path) and not Path(item).is_file():
            raise HdbenchError(f"{role}: there is no file {item}; correct its path, or leave it out.")
    return [
        (name, partial(_shape_of, item, f"{role} {name}"))
        for name, item in zip(row_names(len(items)), items, strict=True)
    ]


def _items(source: Any, role: str) -> list[Any]:
    """The items of a set in memory; HdbenchError for what is none, such as a single mesh."""
    try:
        items = None if isinstance(source, Mapping) or hasattr(source, "vertices") else iter(source)
    except TypeError:
        items = None
    if items is None:
        raise HdbenchError(
            f"{role}: {type(source).__name__} is no set of shapes; give a path, an array (N, P, 3) or a list of shapes."
        )
    return list(items)


def _replayable(source: Any) -> Any:
    """`source`, a list where it can be gone through but once: protocols read it again."""
    return list(source) if isinstance(source, Iterator) else source


def _names(given: Any, kind: str) -> tuple[str, ...]:
    """One name or several; HdbenchError for none, and for what is no name."""
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise HdbenchError(f"Name at least one {kind}, not {given!r}; or give None for the usual.")
    return names


def _shape_of(item: Any, where: str) -> Shape:
    """An item in memory as a shape: arrays and tensors of points, trimesh objects, hdbench's own shapes, paths."""
    from hdbench.datasets.arrays import shape_from_mesh, shape_from_points
    from hdbench.datasets.readers import read_shape, shape_from_trimesh

    if isinstance(item, Shape):
        return item
    if isinstance(item, str | Path):
        return read_shape(Path(item))
    if hasattr(item, "vertices") and hasattr(item, "faces"):
        return shape_from_mesh(np.asarray(item.vertices), np.asarray(item.faces), where)
    if hasattr(item, "vertices"):
        return shape_from_points(np.asarray(item.vertices), where)
    if hasattr(item, "geometry"):
        return shape_from_trimesh(item, where)
    if hasattr(item, "detach"):
        item = item.detach().cpu()
        item = item.float() if item.is_floating_point() and item.element_size() < 4 else item  # no bfloat16 in NumPy
    try:
        points = np.asarray(item)
    except ValueError as error:
        raise HdbenchError(f"{where}: no array of points ({one_line(error)}); give points (P, 3).") from error
    return shape_from_points(points, where)


def evaluate(
    samples: Any,
    reference: Any,
    *,
    train: Any = None,
    protocol: str | Iterable[str] | None = None,
    metrics: str | Iterable[str] | None = None,
    extractor: str | None = None,
    backend: str | None = None,
    data: str = "",
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> "Evaluation":
    """Score generated shapes against real ones.

    Args:
        samples: What a model made: a path, an array or tensor (N, P, 3) or (N, T, P, 3), or arrays, `trimesh.Trimesh`
            and `trimesh.Scene` objects or paths, one a shape.
        reference: The real shapes to compare with, in any of these forms.
        train: The shapes the model learnt from, for novelty, and for protocols that de-normalise samples with them
            (not those of an hdbench run, which are in the coordinates of the data).
        protocol: One name or several, see `hdbench protocols list`; the same samples are scored under each. None is
            `hyperdiffusion`, or `hyperdiffusion-4d` for sequences.
        metrics: One or several metrics or families (`cd`, `emd`, `emd_published`, …) to compute; None is what the
            protocols ask for.
        extractor: The feature extractor of FPD and KPD; None is the published one where it was imported, else the
            embedded one.
        backend: Which code computes Chamfer distances: `numba`, `torch`, `triton` or `pytorch3d`; None is the exact
            search on the CPU, which is faster than any of them.
        data: What the reference is, for the signatures ("shapenet/airplane/test"); the hash of its points if not said.
        seed: Of surface points, of the choice of points and of the intervals.
        workers: Threads; None is one per core.
        progress: Where to show how far it is.

    Raises:
        HdbenchError: For anything that cannot be read or compared, saying what, where and how to mend it.
    """
    progress = progress or Progress()
    samples, reference, train = map(_replayable, (samples, reference, train))
    metrics = None if metrics is None else _names(metrics, "metric or family")
    if protocol is None:
        reference = open_point_set(reference, role="reference", seed=seed, progress=progress)
        protocol = usual_protocol("sequences" if reference.points.ndim == 4 else "clouds")
    protocols = [get_protocol(name) for name in _names(protocol, "protocol")]
    sources = {"samples": samples, "reference": reference} | ({} if train is None else {"train": train})
    # Protocols that keep other points of large clouds read the shapes anew.
    opened = {
        keep: {
            role: open_point_set(source, role=role, seed=seed, keep=keep, progress=progress)
            for role, source in sources.items()
        }
        for keep in dict.fromkeys(entry.reduction for entry in protocols)
    }
    shown = opened[protocols[0].reduction]
    for role, points in shown.items():
        if points.invalid:
            name, reason = next(iter(points.invalid.items()))
            total = len(points.ids) + len(points.invalid)
            progress.say(f"{role}: {len(points.invalid)} of {total} cannot be scored; the first: {name}: {reason}")
    scores: list[Score] = []
    statistics = Statistics({})
    for entry in protocols:
        sets = opened[entry.reduction]
        learnt = sets.get("train")
        brought_back = None
        if entry.denormalises and learnt is not None and not sets["samples"].is_ours:
            brought_back = _moments_of(learnt)
            progress.say(
                f"Samples are de-normalised with the moments of the training shapes: protocol {entry.name} has it so."
            )
        values, made_from = score_points(
            sets["samples"].points,
            sets["reference"].points,
            protocol=entry,
            metrics=metrics,
            data=data or f"sha256:{sets['reference'].info.sha256[:12]}",
            invalid_samples=len(sets["samples"].invalid),
            moments=brought_back,
            train=None if learnt is None else learnt.points,
            trained_on="" if learnt is None else f"sha256:{learnt.info.sha256[:12]}",
            extractor=extractor,
            backend=backend,
            seed=seed,
            workers=workers,
            progress=progress,
        )
        scores += values
        statistics = statistics.merged(made_from)
    document = Scores(
        samples=shown["samples"].info,
        reference=shown["reference"].info,
        train=shown["train"].info if "train" in shown else None,
        scores=scores,
        provenance=provenance([seed]),
    )
    return Evaluation(document, statistics)


def _moments_of(train: PointSet) -> Moments:
    """The published moments of the training shapes, else those of their points."""
    return (train.moments and train.moments()) or moments(train.points)


@dataclass(frozen=True)
class Evaluation:
    """Scores with all that is needed to compare them later."""

    document: Scores
    statistics: Statistics = field(repr=False)
    """What intervals and comparisons are made from, without the shapes."""

    @property
    def scores(self) -> list[Score]:
        """Every value, protocol by protocol."""
        return self.document.scores

    def __getitem__(self, metric: str) -> Score:
        """The first score called `metric` (that of the first protocol asked for which has it)."""
        for score in self.scores:
            if score.metric == metric:
                return score
        raise unknown_name("metric", metric, {score.metric for score in self.scores})

    def write(self, path: Path | str) -> Path:
        """Write the scores as JSON to `path`, and beside it `<name>.statistics.npz`, its sha256 in the JSON.

        Of the name only `.json` is left out: `model.v1` and `model.v2` have statistics of their own.
        """
        path = Path(path)
        refuse_unwritable(path)
        statistics = path.with_name(f"{path.name.removesuffix('.json')}.statistics.npz")
        with atomic_path(statistics) as temporary:
            self.statistics.save(temporary)
        document = self.document.model_copy(update={"statistics": {statistics.name: file_digest(statistics)}})
        write_atomic(path, to_json(document))
        return path


def nearest_training(
    samples: PointSet, train: PointSet, *, protocol: Protocol, shown: int, workers: int, progress: Progress
) -> list[Neighbours]:
    """The nearest training shapes, by `cd_sq` as `protocol` normalises, of the first `shown` samples."""
    drawn, learnt = (
        protocol.normalise(protocol.reduce(points, seed=0, role=role))
        for role, points in (("samples", samples.points[:shown]), ("train", train.points))
    )
    distances = cd_sq_matrix(drawn, learnt, workers=workers, progress=progress)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEAREST]
    return [
        Neighbours(
            sample=samples.ids[row],
            training=[train.ids[column] for column in columns],
            distances=distances[row, columns].tolist(),
        )
        for row, columns in enumerate(nearest)
    ]
