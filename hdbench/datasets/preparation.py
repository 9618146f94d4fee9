"""Reads every shape of a dataset once: normalised, turned the right way out, its inside measured.

Meshes are kept in the store in parts of a few shapes, so that nobody parses their files again and a killed
preparation goes on where it stopped. Clouds stay where they are: reading them costs nothing. What cannot be read,
is absurd, or is of another kind than most is left out, by name and with the reason.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdbench.datasets.readers import Entry
from hdbench.errors import HdbenchError
from hdbench.execution import cpu_count, run_units
from hdbench.progress import Progress
from hdbench.seeds import generator
from hdbench.shapes import Kind, Mesh, PointCloud, Shape
from hdbench.shapes import Sequence as Frames
from hdbench.store import Artefact, Key, Store, is_sound, sealed_path, write_atomic

VERSION = 1
"""Raised whenever the same files would be prepared otherwise."""

FEWEST_FACES = 4
"""Of a mesh with fewer nothing can be told; a tetrahedron has four."""
PART = 4
"""Shapes per unit of work, and per file in the store."""
FEW_PARTS = 4
"""So many are done sooner than processes are started."""
BOX_PROBES = 16_384
"""Places in the bounding box where a mesh is asked for its winding number."""
SURFACE_PROBES = 24_576
"""The same near its surface: where fields learn most of what they know."""
SURFACE_NOISE = 0.01
"""How far from it, as a share of the longest side: HyperDiffusion's."""

Normalise = Callable[[Shape], Shape]


@dataclass(frozen=True)
class Inside:
    """What winding numbers say of a mesh (of a sequence: of its first frame)."""

    faces: int
    inverted: bool
    """Its faces looked inwards as a whole, and were turned over."""
    filled: float
    """Share of the bounding box that lies inside."""
    doubtful: float
    """Share of the places near the surface whose winding number is between 0.1 and 0.9: there are holes and gaps."""


@dataclass(frozen=True)
class Record:
    """What preparation found out about one shape."""

    name: str
    kind: Kind | None = None
    form: str = ""
    """In words, what shapes of one dataset must have in common."""
    reason: str | None = None
    """Why it was left out, if it was."""
    inside: Inside | None = None


@dataclass(frozen=True)
class Prepared:
    """Every usable shape of a dataset, read, normalised and checked."""

    kind: Kind
    skipped: Mapping[str, str]
    inside: Mapping[str, Inside]
    """Of each mesh, where there is a store."""
    entries: Mapping[str, Entry] = field(repr=False)
    """By name, without those skipped."""
    normalise: Normalise = field(repr=False)
    kept: Artefact | None = None
    """Where the meshes are, if they are kept."""
    places: Mapping[str, int] = field(default_factory=dict, repr=False)
    """Number of each kept mesh among all entries."""

    def shape(self, name: str) -> Shape:
        """The shape called `name`, normalised."""
        if self.kept is not None and name in self.places:
            part, row = divmod(self.places[name], PART)
            return _unpacked(_part(self.kept.folder, part), row)
        return prepared_shape(self.entries[name], self.normalise)[0]


def prepare_entries(
    found: Sequence[Entry],
    where: Path,
    normalise: Normalise,
    content: str,
    *,
    store: Store | None,
    progress: Progress,
    workers: int | None = None,
) -> Prepared:
    """Read, check and normalise the shapes of `found` (which lie in `where`), in all of `workers` processes.

    `content` is the digest of what they are read from; `store` keeps the meshes and what was found out under it.
    Without a store every call reads the shapes again. Raises HdbenchError when none of them can be used.
    """
    workers = cpu_count() if workers is None else workers
    if store is None:
        return _judged(found, where, normalise, _checked(found, progress), None)
    key = Key(
        "shapes",
        VERSION,
        {"path": str(where.resolve()), "content": content, "normalise": f"{normalise.__module__}.{_name(normalise)}"},
    )

    def make(workspace: Path) -> None:
        parts = [
            _Part(workspace, number, tuple(found[start : start + PART]), normalise)
            for number, start in enumerate(range(0, len(found), PART))
        ]
        missing = [part for part in parts if not part.is_done]
        done = len(found) - sum(len(part.entries) for part in missing)
        description = f"Preparing the shapes of {where.name}"
        for _ in run_units(
            _prepare_part,
            missing,
            workers=workers if len(missing) > FEW_PARTS else 1,
            progress=progress,
            description=description,
            weight=lambda part: len(part.entries),
            total=len(found),
            done=done,
        ):
            pass
        records = list(chain.from_iterable(_read_records(part.record.read_text(encoding="utf-8")) for part in parts))
        if all(record.reason for record in records):
            _judged(found, where, normalise, records, None)  # an error, which is not kept
        write_atomic(workspace / "records.json", json.dumps([asdict(record) for record in records], indent=1))
        for part in parts:
            part.record.unlink()

    kept = store.get_or_make(key, make)
    records = _read_records((kept.folder / "records.json").read_text(encoding="utf-8"))
    return _judged(found, where, normalise, records, kept)


def prepared_shape(entry: Entry, normalise: Normalise) -> tuple[Shape, bool]:
    """The shape of `entry`, normalised, and whether its faces looked inwards; they look outwards now.

    Raises HdbenchError when it cannot be read or is absurd.
    """
    return _turned_outwards(normalise(_read(entry)))


def _read(entry: Entry) -> Shape:
    shape = entry.read()
    meshes = [frame for frame in _frames(shape) if isinstance(frame, Mesh)]
    if meshes and (fewest := min(len(mesh.faces) for mesh in meshes)) < FEWEST_FACES:
        raise HdbenchError(f"{entry.files[0]}: {fewest} faces; a shape has at least {FEWEST_FACES}. Remove it.")
    return shape


def _turned_outwards(shape: Shape) -> tuple[Shape, bool]:
    from hdbench.geometry.occupancy import flipped, is_inverted

    if isinstance(shape, PointCloud):
        return shape, False
    if isinstance(shape, Mesh):
        return (flipped(shape), True) if is_inverted(shape) else (shape, False)
    first = shape.frames[0]
    if isinstance(first, Mesh) and _share_faces(shape):  # what moves does not turn inside out
        if not is_inverted(first):
            return shape, False
        return Frames(tuple(flipped(frame) for frame in shape.frames if isinstance(frame, Mesh))), True
    turned = [_turned_outwards(frame) for frame in shape.frames]
    frames = tuple(frame for frame, _ in turned if not isinstance(frame, Frames))
    return Frames(frames), any(inverted for _, inverted in turned)


def _checked(found: Sequence[Entry], progress: Progress) -> list[Record]:
    records = []
    with progress.task("Reading every shape once", len(found)) as task:
        for entry in found:
            try:
                records.append(Record(entry.name, *_form(_read(entry))))
            except HdbenchError as error:
                records.append(Record(entry.name, reason=str(error)))
            task.advance()
    return records


def measure_inside(mesh: Mesh, *, inverted: bool = False) -> Inside:
    """What winding numbers at random places in and around `mesh` say of it; the same call gives the same."""
    from hdbench.geometry.occupancy import THRESHOLD, winding_number

    rng = generator(0, "inside")
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    in_box = rng.uniform(low, high, (BOX_PROBES, 3))
    near = _on_surface(mesh, SURFACE_PROBES, rng) + rng.normal(
        0, SURFACE_NOISE * (high - low).max(), (SURFACE_PROBES, 3)
    )
    winding = winding_number(mesh, np.concatenate([in_box, near]).astype(np.float32))
    doubtful = (winding[BOX_PROBES:] > 0.1) & (winding[BOX_PROBES:] < 0.9)
    filled = winding[:BOX_PROBES] >= THRESHOLD
    return Inside(len(mesh.faces), inverted, float(filled.mean()), float(doubtful.mean()))


def _on_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Points (count, 3), uniform on the surface. Not trimesh's: importing that takes a worker longer than its part."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    reach = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    chosen = np.searchsorted(reach, rng.uniform(0, reach[-1], count), side="right").clip(max=len(reach) - 1)
    across, along = np.sqrt(rng.uniform(size=(count, 1))), rng.uniform(size=(count, 1))
    return a[chosen] + across * ((b - a)[chosen] + along * (c - b)[chosen])


@dataclass(frozen=True)
class _Part:
    folder: Path
    number: int
    entries: tuple[Entry, ...]
    normalise: Normalise

    @property
    def record(self) -> Path:
        """Written last: the part is done when it is there."""
        return _part(self.folder, self.number).with_suffix(".json")

    @property
    def is_done(self) -> bool:
        """Whether the record is there, and it and the meshes, where there are any, are as they were written."""
        meshes = _part(self.folder, self.number)
        return is_sound(self.record) and (not meshes.exists() or is_sound(meshes))


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.npz"


def _prepare_part(part: _Part) -> None:
    records: list[Record] = []
    arrays: dict[str, Any] = {}
    for row, entry in enumerate(part.entries):
        try:
            shape, inverted = prepared_shape(entry, part.normalise)
        except HdbenchError as error:
            records.append(Record(entry.name, reason=str(error)))
            continue
        first = _frames(shape)[0]
        inside = measure_inside(first, inverted=inverted) if isinstance(first, Mesh) else None
        records.append(Record(entry.name, *_form(shape), inside=inside))
        if inside:
            arrays |= _packed(shape, row)
    if arrays:
        with sealed_path(_part(part.folder, part.number)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    with sealed_path(part.record) as temporary:
        temporary.write_text(json.dumps([asdict(record) for record in records]), encoding="utf-8")


def _packed(shape: Shape, row: int) -> dict[str, Any]:
    """`shape` as arrays, their keys beginning with its row: vertices and faces, these once where frames share them."""
    frames = [frame for frame in _frames(shape) if isinstance(frame, Mesh)]
    if not isinstance(shape, Frames):
        return {f"{row}/v": frames[0].vertices, f"{row}/f": frames[0].faces}
    if _share_faces(shape):
        return {f"{row}/v": np.stack([frame.vertices for frame in frames]), f"{row}/f": frames[0].faces}
    return {
        f"{row}/{number}/{key}": array
        for number, frame in enumerate(frames)
        for key, array in (("v", frame.vertices), ("f", frame.faces))
    }


def _unpacked(path: Path, row: int) -> Shape:
    with np.load(path, allow_pickle=False) as stored:
        if f"{row}/v" not in stored:
            count = sum(key.startswith(f"{row}/") for key in stored) // 2
            return Frames(tuple(Mesh(stored[f"{row}/{k}/v"], stored[f"{row}/{k}/f"]) for k in range(count)))
        vertices, faces = stored[f"{row}/v"], stored[f"{row}/f"]
    return Mesh(vertices, faces) if vertices.ndim == 2 else Frames(tuple(Mesh(frame, faces) for frame in vertices))


def _share_faces(shape: Frames) -> bool:
    first, *others = shape.frames
    return isinstance(first, Mesh) and all(
        isinstance(frame, Mesh)
        and frame.vertices.shape == first.vertices.shape
        and (frame.faces is first.faces or np.array_equal(frame.faces, first.faces))
        for frame in others
    )


def _read_records(text: str) -> list[Record]:
    return [
        Record(**{**fields, "inside": None if fields["inside"] is None else Inside(**fields["inside"])})
        for fields in json.loads(text)
    ]


def _judged(
    found: Sequence[Entry], where: Path, normalise: Normalise, records: Sequence[Record], kept: Artefact | None
) -> Prepared:
    """The usable shapes among `found`: those that can be read, and are what most are."""
    skipped = {record.name: record.reason for record in records if record.reason is not None}
    forms = {record.name: record for record in records if record.reason is None}
    if not forms:
        name, reason = next(iter(skipped.items()))
        raise HdbenchError(f"None of the {len(found)} shapes in {where} can be used. The first, {name}: {reason}")
    (kind, usual), _ = Counter((record.kind, record.form) for record in forms.values()).most_common(1)[0]
    assert kind is not None
    for record in forms.values():
        if record.form != usual:
            skipped[record.name] = f"a {record.form} where most are a {usual}"
    return Prepared(
        kind,
        skipped,
        {record.name: record.inside for record in records if record.inside and record.name not in skipped},
        {entry.name: entry for entry in found if entry.name not in skipped},
        normalise,
        kept,
        {record.name: number for number, record in enumerate(records) if record.inside and kept is not None},
    )


def _form(shape: Shape) -> tuple[Kind, str]:
    """The kind of a shape, and in words what shapes of one dataset must have in common."""
    if isinstance(shape, Mesh):
        return "mesh", "mesh"
    if isinstance(shape, PointCloud):
        return "points", "point cloud"
    return "sequence", f"sequence of {len(shape.frames)} {_form(shape.frames[0])[1]} frames"


def _frames(shape: Shape) -> tuple[Mesh | PointCloud, ...]:
    return shape.frames if isinstance(shape, Frames) else (shape,)


def _name(function: Normalise) -> str:
    return getattr(function, "__qualname__", repr(function))
