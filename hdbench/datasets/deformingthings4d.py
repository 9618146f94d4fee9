"""DeformingThings4D: animated animals and humanoids, as they are released.

    <path>/animals/<object>_<action>/<object>_<action>.anime       1,772 clips
    <path>/humanoids/<object>_<action>/<object>_<action>.anime       200 clips

`path` may also be `animals` or `humanoids` itself. The data is given away on request only, for research, and may not be
passed on. Source: Li et al. 2021, "4DComplete: Non-Rigid Motion Estimation Beyond the Observable Surface".

A clip becomes 16 frames, `floor(i F / 16)` of its F; each is centred on the mean of its vertices, then one scale takes
the clip to largest |coordinate| 0.475, as in HyperDiffusion (FACTS a.2). Axes are as released.
"""

import re
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from hdbench.datasets.anime import read_anime
from hdbench.datasets.base import split_of
from hdbench.datasets.collection import Collection
from hdbench.datasets.manifest import MANIFEST, Manifest
from hdbench.datasets.readers import Entry, natural_order
from hdbench.errors import HdbenchError, unknown_name
from hdbench.progress import Progress
from hdbench.shapes import Mesh, Sequence, Shape
from hdbench.store import Store

FRAMES = 16
HALF_EXTENT = 0.475
_FOLDERS = {"animal": "animals", "humanoid": "humanoids"}
_WHERE = "ask for it at https://github.com/rabbityl/DeformingThings4D and unpack it there"


class DeformingThings4D(Collection):
    """The clips of one category in `path` (see the module): animal, humanoid, or a species such as `fox`.

    Clips stand in the split that `manifest.csv` in `path` gives them (columns `id` and `split`); without one, in that
    of their animal (see `animal_of`), so that none stands on both sides. A clip that is missing, cut off or absurd is
    named in `skipped`; with `strict` it is an error.

    Raises HdbenchError when `path` is not laid out so, or has no clips of `category`.
    """

    name = "deformingthings4d"
    layout: ClassVar[str] = "deformingthings4d"

    def __init__(
        self,
        path: Path | str,
        category: str = "animal",
        *,
        strict: bool = False,
        store: Store | None = None,
        progress: Progress | None = None,
        workers: int | None = None,
    ) -> None:
        self.path, self.category = Path(path), category
        root, clips = _clips_of(self.path, category)
        found = [Entry(clip.name, (clip / f"{clip.name}.anime",), partial(_read, clip)) for clip in clips]
        whole = [entry for entry in found if entry.files[0].is_file()]
        if not whole:
            raise _misplaced(root)
        self._read(whole, in_box, store=store, progress=progress, workers=workers)
        missing = {entry.name: f"{entry.files[0]} is missing; {_WHERE}" for entry in found if entry not in whole}
        self.skipped = {**missing, **self.skipped}
        manifest = Manifest.find(root) or Manifest.find(self.path)
        splits = {
            entry.name: manifest.split(entry.name, category) if manifest else split_of(animal_of(entry.name))
            for entry in found
        }
        self._settle(
            splits,
            unlisted=f"not listed in {MANIFEST}",
            strict=strict,
            mend=f"unpack more of it, or list all clips in {MANIFEST}",
        )


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
    return read_anime(clip / f"{clip.name}.anime", FRAMES)


def _clips_of(path: Path, category: str) -> tuple[Path, list[Path]]:
    """The folder that holds the clips of `category`, and each clip's own folder, in natural order."""
    if not path.is_dir():
        raise HdbenchError(f"There is no folder {path} with DeformingThings4D; {_WHERE}.")
    named = {kind: path / folder for kind, folder in _FOLDERS.items() if (path / folder).is_dir()}
    if category in _FOLDERS:
        root = named.get(category, path)
        if root == path and (named or path.name in set(_FOLDERS.values()) - {_FOLDERS[category]}):
            raise HdbenchError(f"{path} holds no folder {_FOLDERS[category]}; {_WHERE}.")
        return root, _folders(root)
    roots = list(named.values()) or [path]
    for root in roots:
        if chosen := [clip for clip in _folders(root) if species_of(clip.name) == category]:
            return root, chosen
    known = {species_of(clip.name) for root in roots for clip in _folders(root)}
    raise unknown_name(f"category in {path}", category, {*named, *known} or _FOLDERS)


def _folders(root: Path) -> list[Path]:
    found = [child for child in root.iterdir() if child.is_dir() and not child.name.startswith(".")]
    return sorted(found, key=lambda child: natural_order(child.name))


def _misplaced(root: Path) -> HdbenchError:
    return HdbenchError(f"{root} holds no clips <object>_<action>/<object>_<action>.anime; {_WHERE}.")
