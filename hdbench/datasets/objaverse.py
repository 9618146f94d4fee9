"""Objaverse, and other folders of glTF scenes with a licence for each object.

    <path>/**/<uid>.glb, <uid>.gltf, or <uid>/scene.gltf     the objects; below glbs/ if there is such a folder
    <path>/annotations.json, or metadata/*.json              {uid: {"license": "by", "name", "user", "viewerUrl"}}
    <path>/lvis-annotations.json                             {category: [uid, …]}; without it all are of one category
    <path>/manifest.csv                                      splits, in the columns id and split; if there is one

Each JSON file may be packed, as `.json.gz`: the `objaverse` package writes all but the last so. An object without a
licence is left out. Source: Deitke et al. 2023, "Objaverse: A Universe of Annotated 3D Objects".

All meshes of a scene, placed by its nodes, make one shape, in a unit box: bounding box centred on 0, longest side 1.
Textures are not looked at; parts need not be watertight.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hdbench.datasets.base import split_of
from hdbench.datasets.folder import in_unit_box
from hdbench.datasets.gltf import refuse_unsound
from hdbench.datasets.manifest import MANIFEST, Manifest
from hdbench.datasets.published import Finding, Published
from hdbench.datasets.readers import Entry, natural_order, read_shape
from hdbench.errors import HdbenchError, unknown_name
from hdbench.npz import one_line
from hdbench.progress import Progress
from hdbench.recipe import first_complaint
from hdbench.shapes import can_name_shape
from hdbench.store import Store

LARGEST_JSON = 1 << 29
"""Bytes that an annotation file may unpack to; Objaverse's own have some 40 MB."""
_RELEASE = "hf-objaverse-v1"
_SCENES = ("scene.gltf", "scene.glb")
_LICENCES = {
    "cc0": "CC0-1.0",
    **{code: f"CC-{code.upper()}-4.0" for code in ("by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd")},
}
"""What Objaverse's codes mean, as SPDX identifiers; any other licence is kept as it is written."""


class Annotation(BaseModel):
    """What is known of an object beside its geometry."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    license: str | None = None
    name: str | None = None
    user: dict[str, Any] | str | None = None
    viewerUrl: str | None = None
    uri: str | None = None

    @property
    def licence(self) -> str | None:
        """The SPDX identifier where there is one, else the words; None where no licence is given."""
        words = " ".join((self.license or "").split())
        return _LICENCES.get(words.lower(), words) or None

    @property
    def credit(self) -> str:
        """Title, author, licence and address in one line, as licences want it."""
        user = self.user if isinstance(self.user, dict) else {"username": self.user}
        author = user.get("displayName") or user.get("username")
        parts = (f"{self.name!r}" if self.name else "", f"by {author}" if author else "", self.licence or "")
        return " ".join(", ".join(part for part in (*parts, self.viewerUrl or self.uri) if part).split())


class Objaverse(Published):
    """The objects of one category in `path` (see the module), each with its licence in `licences` and `credits`.

    Without `manifest.csv` the hash of an object's uid gives its split. Raises HdbenchError when `path` is not laid out
    so, or has no objects of `category`.
    """

    layout: ClassVar[str] = "objaverse"
    title: ClassVar[str] = "Objaverse's objects and annotations"
    obtain: ClassVar[str] = "`pip install objaverse` (load_objects, load_annotations, load_lvis_annotations)"
    licences: dict[str, str]
    """SPDX identifier, or words, by object."""

    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        self.path = _root(self.path)
        scenes = _of_category(_scenes(self.path), self.path, self.category)
        annotations = _annotations(self.path, scenes)
        self.licences = {uid: licence for uid in scenes if (licence := annotations[uid].licence)}
        self.credits = {uid: annotations[uid].credit for uid in self.licences}
        licensed = [Entry(uid, _files(scenes[uid]), partial(read_shape, scenes[uid])) for uid in self.licences]
        if not licensed:
            raise self.missing(f"The annotations in {self.path} give none of its {len(scenes)} objects a licence")
        manifest = Manifest.find(self.path)
        splits = {uid: manifest.split(uid, self.category) if manifest else split_of(uid) for uid in scenes}
        self._read(licensed, in_unit_box, store=store, progress=progress, workers=workers)
        unlicensed = {uid: "no licence in the annotations" for uid in scenes if uid not in self.licences}
        self.skipped = {**unlicensed, **self.skipped}
        mend = f"add objects, or list these in {MANIFEST}"
        self._settle(splits, unlisted=f"not listed in {MANIFEST}", strict=strict, mend=mend)

    @classmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """See `Published.inspect`; objects that cannot be loaded are told of without being read."""
        path = _root(path)
        scenes = _scenes(path)
        yield Finding("ok", f"{len(scenes)} objects")
        for scene in scenes.values():
            try:
                refuse_unsound(scene)
            except HdbenchError as error:
                yield Finding("wrong", str(error))
        licences = Counter(annotation.licence or "" for annotation in _annotations(path, scenes).values())
        if unlicensed := licences.pop("", 0):
            yield Finding("wrong", f"{unlicensed} objects without a licence in the annotations")
        yield from (Finding("ok", f"{licence}: {count} objects") for licence, count in licences.most_common())
        for category, uids in _categories(path).items():
            if present := sum(uid in scenes for uid in uids):
                yield Finding("ok", f"{category}: {present} of {len(uids)} objects")

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`; licences belong to it, as results show them."""
        return {**super().fingerprint(), "credits": [[uid, self.credits[uid]] for uid in sorted(self.credits)]}


def _root(path: Path) -> Path:
    """Where the release lies: `path`, or what the objaverse package makes in it."""
    return path / _RELEASE if (path / _RELEASE).is_dir() else path


def _scenes(path: Path) -> dict[str, Path]:
    """The file of each object by uid, in natural order."""
    if not path.is_dir():
        raise Objaverse.missing(f"There is no folder {path}")
    root = path / "glbs" if (path / "glbs").is_dir() else path
    found: dict[str, Path] = {}
    for file in sorted(file for suffix in ("*.glb", "*.gltf") for file in root.rglob(suffix)):
        uid = file.parent.name if file.name in _SCENES and file.parent != root else file.stem
        if not file.is_file() or file.name.startswith(".") or not can_name_shape(uid):
            continue
        if uid in found:
            raise HdbenchError(f"{file} and {found[uid]} are both called {uid!r}; remove one of them.")
        found[uid] = file
    if not found:
        raise Objaverse.missing(f"{root} holds no .glb and no .gltf files")
    return {uid: found[uid] for uid in sorted(found, key=natural_order)}


def _files(scene: Path) -> tuple[Path, ...]:
    """What an object is read from: its scene and, where that is text, the buffers beside it."""
    return (scene, *sorted(scene.parent.glob("*.bin"))) if scene.suffix == ".gltf" else (scene,)


def _of_category(scenes: dict[str, Path], path: Path, category: str) -> dict[str, Path]:
    """The objects that the LVIS annotations give this category; all where there are none."""
    categories = _categories(path)
    if not categories:
        return scenes
    if category not in categories:
        raise unknown_name(f"category in {path}", category, categories)
    chosen = set(categories[category])
    found = {uid: scene for uid, scene in scenes.items() if uid in chosen}
    if not found:
        raise Objaverse.missing(f"{path} holds none of the {len(chosen)} objects of category {category!r}")
    return found


def _categories(path: Path) -> dict[str, list[str]]:
    """The uids of each category; empty where there are no LVIS annotations."""
    categories: dict[str, list[str]] = {}
    for file in _json_files(path, "lvis-annotations"):
        for category, uids in _read_json(file).items():
            if not isinstance(uids, list):
                raise HdbenchError(f"{file}: {category!r} is no list of uids; download it again.")
            categories.setdefault(category, []).extend(map(str, uids))
    return categories


def _annotations(path: Path, scenes: Mapping[str, Path]) -> dict[str, Annotation]:
    """What the annotation files say of each of these objects."""
    files = [*_json_files(path, "annotations"), *_metadata(path / "metadata", scenes)]
    if not files:
        raise Objaverse.missing(
            f"{path} has neither annotations.json nor metadata/*.json, which give each object's licence"
        )
    found = dict.fromkeys(scenes, Annotation())
    for file in files:
        for uid, record in _read_json(file).items():
            if uid in found:
                try:
                    found[uid] = Annotation.model_validate(record)
                except ValidationError as error:
                    raise HdbenchError(f"{file}, {uid!r}: {first_complaint(error)}.") from error
    return found


def _metadata(folder: Path, scenes: Mapping[str, Path]) -> Sequence[Path]:
    """The metadata files: those called like the objects' folders, as in the release, else all."""
    files, folders = _json_files(folder, "*"), {scene.parent.name for scene in scenes.values()}
    return [file for file in files if file.name.partition(".")[0] in folders] or files


def _json_files(folder: Path, pattern: str) -> Sequence[Path]:
    return sorted(file for suffix in (".json", ".json.gz") for file in folder.glob(pattern + suffix))


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, packed or not."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise ValueError(f"more than {LARGEST_JSON} bytes")
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("no JSON object")
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise HdbenchError(f"{path} cannot be read ({one_line(error)}); download it again.") from error
    return document
