"""DeformingThings4D: animated animals and humanoids, as they are released.

    <path>/animals/<object>_<action>/<object>_<action>.anime       1,772 clips
    <path>/humanoids/<object>_<action>/<object>_<action>.anime       200 clips

`path` may also be the folder with DeformingThings4D/ in it, or `animals` or `humanoids` itself. The data is given away
on request only, for research, and may not be passed on. Source: Li et al. 2021, "4DComplete: Non-Rigid Motion
Estimation Beyond the Observable Surface".

A clip becomes 16 frames, `floor(i F / 16)` of its F; each is centred on the mean of its vertices, then one scale takes
the clip to largest |coordinate| 0.475, as in HyperDiffusion (FACTS a.2). Axes are as released.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from hdbench.datasets.anime import read_anime, read_header
from hdbench.datasets.base import split_of
from hdbench.datasets.manifest import MANIFEST, Manifest
from hdbench.datasets.published import Finding, Published, compared
from hdbench.datasets.readers import Entry, natural_order
from hdbench.errors import HdbenchError, unknown_name
from hdbench.progress import Progress
from hdbench.shapes import Mesh, Sequence, Shape
from hdbench.store import Store

FRAMES = 16
HALF_EXTENT = 0.475
COUNTS = {"animal": 1772, "humanoid": 200}
"""Clips that were published."""
_FOLDERS = {"animal": "animals", "humanoid": "humanoids"}


class DeformingThings4D(Published):
    """The clips of one category in `path` (see the module): animal, humanoid, or a species such as `fox`.

    Clips stand in the split that `manifest.csv` in `path` gives them (columns `id` and `split`); without one, in that
    of their animal (see `animal_of`), so that none stands on both sides. A clip that is missing, cut off or absurd is
    named in `skipped`; with `strict` it is an error.

    Raises HdbenchError when `path` is not laid out so, or has no clips of `category`.
    """

    layout: ClassVar[str] = "deformingthings4d"
    title: ClassVar[str] = "DeformingThings4D"
    obtain: ClassVar[str] = "the form at github.com/rabbityl/DeformingThings4D"

    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        root, clips = _clips_of(self.path, self.category)
        whole = [Entry(clip.name, (_file(clip),), partial(_read, clip)) for clip in clips if _file(clip).is_file()]
        if not whole:
            raise self.missing(f"{root} holds no clips <object>_<action>/<object>_<action>.anime")
        manifest = Manifest.find(root) or Manifest.find(self.path)
        splits = {
            clip.name: manifest.split(clip.name, self.category) if manifest else split_of(animal_of(clip.name))
            for clip in clips
        }
        self._read(whole, in_box, store=store, progress=progress, workers=workers)
        missing = {clip.name: f"{_file(clip)} is missing" for clip in clips if not _file(clip).is_file()}
        self.skipped = {**missing, **self.skipped}
        mend = f"unpack more of it, or list all clips in {MANIFEST}"
        self._settle(splits, unlisted=f"not listed in {MANIFEST}", strict=strict, mend=mend)

    @classmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """See `Published.inspect`; the header of every clip is read, and held against the size of its file."""
        for category, root in _roots(path).items():
            clips = _folders(root)
            yield compared(f"{category} clips", len(clips), COUNTS[category])
            for clip in clips:
                try:
                    read_header(_file(clip))
                except HdbenchError as error:
                    yield Finding("wrong", str(error))
            yield Finding("note", f"{len({animal_of(clip.name) for clip in clips})} {category}s move in them")


def animal_of(clip: str) -> str:
    """Who moves in a clip: `foxXAT` in `foxXAT_Rotate180R`; in names with a double underscore, all before that."""
    return clip.partition("__" if "__" in clip else "_")[0]


def species_of(clip: str) -> str:
    """What moves in a clip: `fox` in `foxXAT_Rotate180R`."""
    name = re.match("[a-z]+", animal_of(clip))
    return name[0] if name else animal_of(clip)


def in_box(clip: Shape) -> Sequence:
    """`clip` (a sequence of meshes) with each frame centred on the mean of its vertices, in one scale for all."""
    from hdbench.geometry.normalisation import centred_frames

    assert isinstance(clip, Sequence)
    meshes = [frame for frame in clip.frames if isinstance(frame, Mesh)]
    vertices = centred_frames(np.stack([mesh.vertices for mesh in meshes])[None])[0] * np.float32(HALF_EXTENT / 0.95)
    return Sequence(tuple(Mesh(moved, mesh.faces) for moved, mesh in zip(vertices, meshes, strict=True)))


def _read(clip: Path) -> Shape:
    return read_anime(_file(clip), FRAMES)


def _file(clip: Path) -> Path:
    return clip / f"{clip.name}.anime"


def _roots(path: Path) -> dict[str, Path]:
    """The folders with clips by category: those in `path`, or `path` itself."""
    if not path.is_dir():
        raise DeformingThings4D.missing(f"There is no folder {path}")
    path = path / "DeformingThings4D" if (path / "DeformingThings4D").is_dir() else path
    named = {category: path / folder for category, folder in _FOLDERS.items() if (path / folder).is_dir()}
    if not named and not any(_file(child).is_file() for child in _folders(path)):
        raise DeformingThings4D.missing(f"{path} holds no animals/<object>_<action>/<object>_<action>.anime")
    return named or {"humanoid" if path.name == "humanoids" else "animal": path}


def _clips_of(path: Path, category: str) -> tuple[Path, list[Path]]:
    """The folder that holds the clips of `category`, and each clip's own folder, in natural order."""
    roots = _roots(path)
    if category in roots:
        return roots[category], _folders(roots[category])
    if category in _FOLDERS:
        raise DeformingThings4D.missing(f"{path} holds no {_FOLDERS[category]}")
    for root in roots.values():
        if chosen := [clip for clip in _folders(root) if species_of(clip.name) == category]:
            return root, chosen
    known = {species_of(clip.name) for root in roots.values() for clip in _folders(root)}
    raise unknown_name(f"category in {path}", category, {*roots, *known})


def _folders(root: Path) -> list[Path]:
    found = [child for child in root.iterdir() if child.is_dir() and not child.name.startswith(".")]
    return sorted(found, key=lambda child: natural_order(child.name))
