"""The shapes of a run as small pictures, some of them with a model to turn in the browser."""

import base64
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from pathlib import Path

from hdbench.geometry.rendering import GENERATED, REAL, Color, encode_webp, render, render_strip
from hdbench.progress import Progress
from hdbench.reporting.distances import LineStatistics
from hdbench.reporting.merging import Record
from hdbench.reporting.summary import Nearness, nearness
from hdbench.reporting.tables import NOISE, Board, Line
from hdbench.reporting.viewer import to_glb
from hdbench.results import Neighbours, Row
from hdbench.shape_files import ShapeSet
from hdbench.shapes import Sequence

SIZE = 192
"""Pixels along each side: sharp on a fine screen at half that width."""
TILES, CONTROL_TILES = 20, 10
"""Shapes shown of a model or the reference, and of a control."""
MODELS, CONTROL_MODELS = 8, 2
"""How many of them can be turned."""
CLIPS, CONTROL_CLIPS = 8, 4
"""Likewise where shapes are sequences, whose pictures and models are larger."""
CLIP_MODELS, CONTROL_CLIP_MODELS = 3, 1
STRIP, STRIP_SIZE = 8, 160
"""Frames in the moving picture of a sequence, and pixels along each side of them."""
NEAR, CONTROL_NEAR = 4, 2
"""Samples shown with their nearest training shapes."""
EXTREMES = 5
"""Samples of a model shown as its best, and as its worst."""
SHOWN = 8
"""Models whose shapes are shown: a report of many runs would not fit into a page."""


@dataclass(frozen=True)
class Tile:
    """One shape on the page."""

    name: str
    picture: str = ""
    """data: URL; empty for an invalid shape, and for one the run's folder does not hold."""
    frames: int = 1
    """How many frames of a sequence stand in the picture, side by side."""
    model: str = ""
    """glTF in base64; empty where the shape is only a picture."""
    reason: str = ""
    """Why the shape is invalid; empty when it is not."""


@dataclass(frozen=True)
class Gallery:
    """The first shapes of one set."""

    title: str
    line: Line | None
    """None for the reference shapes."""
    tiles: tuple[Tile, ...]
    best: tuple[tuple[Tile, float], ...] = ()
    """The samples nearest to a reference shape, each with its distance, the nearest first."""
    worst: tuple[tuple[Tile, float], ...] = ()
    """The samples farthest from all reference shapes, the farthest first."""


@dataclass(frozen=True)
class Near:
    """A sample, and its nearest training shapes with their distances."""

    sample: Tile
    training: tuple[tuple[Tile, float], ...]


@dataclass(frozen=True)
class Pictures:
    """Everything of a run that is drawn from its shapes."""

    portraits: dict[str, str]
    """One picture per method, by its name."""
    galleries: tuple[Gallery, ...]
    near: tuple[tuple[Nearness, tuple[Near, ...]], ...]


def shown_lines(board: Board) -> tuple[Line, ...]:
    """The first `SHOWN` models, and the controls."""
    return board.models[:SHOWN] + board.controls


def draw_pictures(record: Record, board: Board, statistics: Several[LineStatistics], *, progress: Progress) -> Pictures:
    """Draw the shapes that the report of `record` shows.

    Sets of shapes that the runs' folders no longer hold are left out; `statistics` say which samples are extreme.
    """
    lines = shown_lines(board)
    near = [
        entry
        for entry in nearness(record.results, board)
        if entry.line.method != NOISE and any(entry.line is line for line in lines)
    ]
    total = sum(CONTROL_TILES if line.is_control else TILES + 2 * EXTREMES for line in lines) + TILES
    total += sum(3 * (CONTROL_NEAR if entry.line.is_control else NEAR) for entry in near)
    with progress.task("Drawing shapes", total) as task:
        reference = _Album(_first_with(record.folders, "reference"), REAL, task.advance)
        galleries = [Gallery("Reference shapes", None, reference.first(is_control=False))]
        known = {id(one.line): one for one in statistics}
        shown = []
        for line in lines:
            album = _sample_album(record, line.rows[0], task.advance)
            galleries.append(_gallery(line, album, known.get(id(line))))
            training = _Album(record.home(line.rows[0]) / "neighbours", REAL, task.advance)
            for entry in near:
                if entry.line is line:
                    chosen = entry.entries[: CONTROL_NEAR if line.is_control else NEAR]
                    shown.append((entry, tuple(_near(album, training, neighbours) for neighbours in chosen)))
    portraits: dict[str, str] = {}
    for gallery in galleries:
        picture = next((tile.picture for tile in gallery.tiles if tile.picture), "")
        if gallery.line:
            portraits.setdefault(gallery.line.method, picture)
    return Pictures(portraits, tuple(gallery for gallery in galleries if gallery.tiles), tuple(shown))


def _gallery(line: Line, album: "_Album", statistics: LineStatistics | None) -> Gallery:
    first = album.first(is_control=line.is_control)
    if statistics is None or line.is_control:
        return Gallery(line.title, line, first)
    ranked = [(name, float(statistics.to_reference[index])) for index, name in album.scored(statistics.nearest_first)]
    best, worst = ranked[:EXTREMES], ranked[::-1][:EXTREMES]
    tiled = [tuple((album.named(name), distance) for name, distance in part) for part in (best, worst)]
    return Gallery(line.title, line, first, *tiled)


def _first_with(folders: Iterable[Path], name: str) -> Path:
    """The folder `name` of the first run that has it."""
    found = [folder / name for folder in folders]
    return next((one for one in found if (one / "points.npz").is_file()), found[0])


@dataclass
class _Album:
    """Draws each shape of one set at most once."""

    folder: Path
    color: Color
    advance: Callable[[], None]
    shapes: ShapeSet | None = field(init=False)
    drawn: dict[tuple[int, bool], Tile] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes = ShapeSet.open(self.folder) if (self.folder / "points.npz").is_file() else None

    def first(self, *, is_control: bool) -> tuple[Tile, ...]:
        """The first shapes, valid or not; the first valid ones of them can be turned. Sequences move."""
        if self.shapes is None:
            return ()
        count, models = (CONTROL_TILES, CONTROL_MODELS) if is_control else (TILES, MODELS)
        if self.shapes.kind == "sequence":
            count, models = (CONTROL_CLIPS, CONTROL_CLIP_MODELS) if is_control else (CLIPS, CLIP_MODELS)
        turned = [index for index in range(len(self.shapes)) if self.shapes.valid[index]][:models]
        return tuple(
            self._tile(self.shapes, index, with_model=index in turned, moving=True)
            for index in range(min(count, len(self.shapes)))
        )

    def scored(self, order: Iterable[int]) -> list[tuple[int, str]]:
        """The positions `order` among the valid shapes, each with the shape's name; nothing when they do not fit."""
        if self.shapes is None:
            return []
        valid = [name for name, valid in zip(self.shapes.ids, self.shapes.valid, strict=True) if valid]
        return [(index, valid[index]) for index in order if index < len(valid)]

    def named(self, name: str) -> Tile:
        """The shape called `name`, without a model; the middle frame of a sequence."""
        if self.shapes is None or name not in self.shapes.ids:
            return Tile(name)
        moving = self.shapes.kind != "sequence"  # else the same picture as in the gallery
        return self._tile(self.shapes, self.shapes.ids.index(name), with_model=False, moving=moving)

    def _tile(self, shapes: ShapeSet, index: int, *, with_model: bool, moving: bool) -> Tile:
        if (index, moving) not in self.drawn:
            self.drawn[index, moving] = self._draw(shapes, index, with_model=with_model, moving=moving)
            self.advance()
        return self.drawn[index, moving]

    def _draw(self, shapes: ShapeSet, index: int, *, with_model: bool, moving: bool) -> Tile:
        name = shapes.ids[index]
        if not shapes.valid[index]:
            return Tile(name, reason=shapes.invalid.get(name, "invalid"))
        shape = shapes.shape(index)
        frames = min(STRIP, len(shape.frames)) if isinstance(shape, Sequence) and moving else 1
        if isinstance(shape, Sequence) and frames > 1:
            picture = render_strip(shape, count=frames, size=STRIP_SIZE, color=self.color)
        else:
            middle = len(shape.frames) // 2 if isinstance(shape, Sequence) else 0
            picture = render(shape, size=SIZE, color=self.color, frame=middle)
        webp = base64.b64encode(encode_webp(picture)).decode()
        model = base64.b64encode(to_glb(shape, color=self.color)).decode() if with_model else ""
        return Tile(name, f"data:image/webp;base64,{webp}", frames, model)


def _sample_album(record: Record, row: Row, advance: Callable[[], None]) -> _Album:
    """The samples of `row`. Its method's name comes from a file, so only a plain name is followed."""
    is_plain = Path(row.method).name == row.method
    folder = record.home(row) / "samples" / (row.method if is_plain else "")
    seeded = folder / f"seed-{row.seed}"
    is_real = row.source == "control" and row.method != NOISE
    return _Album(seeded if seeded.is_dir() else folder, REAL if is_real else GENERATED, advance)


def _near(samples: _Album, training: _Album, neighbours: Neighbours) -> Near:
    pairs = zip(neighbours.training, neighbours.distances, strict=False)
    return Near(samples.named(neighbours.sample), tuple((training.named(name), distance) for name, distance in pairs))
