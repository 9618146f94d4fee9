"""Datasets by name or by path.

shapenet                 what lies in $HDBENCH_DATA under one of its usual names; else downloaded, where it can be
shapenet:/data/mine      what lies there
/data/ShapeNetCore.v2    recognised by how it is laid out; a folder of shapes like any other if it is not
shapenet@chair/test      one category of any of these, and one split: for `hdbench evaluate`
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hdbench.datasets.base import SPLITS, Dataset, Split
from hdbench.datasets.readers import SUFFIXES
from hdbench.errors import HdbenchError, unknown_name
from hdbench.geometry.normalisation import Moments
from hdbench.progress import Progress
from hdbench.shapes import Shape
from hdbench.store import Store

if TYPE_CHECKING:
    from hdbench.datasets.published import Finding

HOME = "HDBENCH_DATA"
"""The environment variable that names the folder in which the user keeps datasets."""
MADE = "procedural"
"""The dataset that is made, not read."""


@dataclass(frozen=True)
class _Known:
    """One dataset by name. Its class is called with a path and a category, and what `open_dataset` is given beside."""

    reference: str
    """`module:class`."""
    categories: str
    about: str
    usual: tuple[str, ...] = ()
    """What its folder or file is called in $HDBENCH_DATA."""
    marks: tuple[str, ...] = ()
    """Patterns of which a folder with this dataset holds at least one."""
    files: tuple[str, ...] = ()
    """Patterns of files that are this dataset as a whole."""


_SYNSET = "[0-9]" * 8
_SHAPENET_CATEGORIES = "airplane, car, chair and 52 others, or synset ids"
_DATASETS = {
    "deformingthings4d": _Known(
        "hdbench.datasets.deformingthings4d:DeformingThings4D",
        "animal, humanoid, or a species",
        "DeformingThings4D: clips of moving meshes, 16 frames each",
        ("DeformingThings4D",),
        ("animals/*/*.anime", "humanoids/*/*.anime", "*_*/*.anime"),
    ),
    "dpc": _Known(
        "hdbench.datasets.dpc:DPCShapes",
        _SHAPENET_CATEGORIES,
        "DPC's shapenet.hdf5: 2,048 points a shape",
        ("shapenet.hdf5", "diffusion-point-cloud/data/shapenet.hdf5"),
        ("shapenet.hdf5",),
        ("*.hdf5", "*.h5"),
    ),
    "hyperdiffusion": _Known(
        "hdbench.datasets.hyperdiffusion:HyperDiffusionRelease",
        "airplane, car, chair",
        "HyperDiffusion's release: clouds, split lists, meshes, fields",
        ("HyperDiffusion",),
        (f"{_SYNSET}_2048_pc", f"data/{_SYNSET}_2048_pc"),
    ),
    "modelnet40": _Known(
        "hdbench.datasets.modelnet40:ModelNet40",
        "airplane, bathtub, … (40 classes)",
        "ModelNet40 as text, OFF or hdf5",
        ("modelnet40_normal_resampled", "ModelNet40", "modelnet40_ply_hdf5_2048"),
        ("modelnet40_shape_names.txt", "ply_data_train*.h5", "*/train/*_[0-9][0-9][0-9][0-9].off"),
    ),
    "objaverse": _Known(
        "hdbench.datasets.objaverse:Objaverse",
        "those of its LVIS annotations",
        "Objaverse, or other folders of glTF scenes with a licence each",
        ("hf-objaverse-v1", ".objaverse/hf-objaverse-v1"),
        ("glbs/*/*.glb", "lvis-annotations.json*"),
    ),
    "pointflow15k": _Known(
        "hdbench.datasets.pointflow15k:PointFlow15k",
        _SHAPENET_CATEGORIES,
        "PointFlow's PC15k: 15,000 points a shape of ShapeNetCore v2",
        ("ShapeNetCore.v2.PC15k",),
        (f"{_SYNSET}/train/*.npy", f"ShapeNetCore.v2.PC15k/{_SYNSET}"),
    ),
    "shapenet": _Known(
        "hdbench.datasets.shapenet:ShapeNet",
        _SHAPENET_CATEGORIES,
        "ShapeNetCore v1 or v2: its folder or its zips; from the hub for those who may",
        ("ShapeNetCore.v2", "ShapeNetCore.v1", "ShapeNetCore", "ShapeNetCore.v2.zip", "ShapeNetCore.v1.zip"),
        (f"{_SYNSET}.zip", f"{_SYNSET}/*/models/model_normalized.obj", f"{_SYNSET}/*/model.obj"),
        ("*.zip",),
    ),
}


@dataclass(frozen=True)
class Named:
    """What someone wrote to name a dataset: `name:path@category/split`, all but one of name and path optional."""

    name: str | None
    path: Path | None
    category: str | None = None
    split: Split | None = None


class OpenSplit(NamedTuple):
    """One split of a dataset, to be compared with."""

    shapes: list[tuple[str, Callable[[], Shape]]]
    """Name of each, and what reads it."""
    moments: Callable[[], Moments | None]
    """See `Dataset.moments`."""


def parse_name(text: str) -> Named | None:
    """What `text` names, or None where it neither begins with a dataset's name nor ends with a category."""
    match = re.fullmatch(
        r"(?:(?P<name>[a-z0-9]+)(?=[:@]|$):?)?(?P<path>.*?)(?:@(?P<category>[^@/\\]+)(?:/(?P<split>train|val|test))?)?",
        text,
    )
    if match is None:
        return None
    name, path = match["name"], match["path"]
    if name not in (*_DATASETS, MADE):
        name, path = None, (f"{name}:{path}" if name and path else name or path)
    if name is None and (match["category"] is None or not Path(path).exists()):
        return None
    split: Any = match["split"]
    return Named(name, Path(path) if path else None, match["category"], split)


def dataset_names() -> list[str]:
    """Names that `open_dataset` knows."""
    return sorted((*_DATASETS, MADE))


def describe_datasets() -> list[tuple[str, str, str, str]]:
    """(name, categories, what it is, where it lies here) of each dataset, and of what else `open_dataset` takes."""
    from hdbench.datasets.procedural.dataset import CATEGORIES

    made = "watertight parametric solids, animals move; unlimited, no download"
    return [
        (MADE, ", ".join(CATEGORIES), made, "built in"),
        *(
            (name, known.categories, known.about, str(_at_hand(known) or f"not in ${HOME}"))
            for name, known in _DATASETS.items()
        ),
        ("PATH", "any", "a folder, or an .npz, of your own meshes or point clouds", ""),
    ]


def open_dataset(
    name_or_path: str,
    category: str,
    *,
    seed: int = 0,
    size: int | None = None,
    strict: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Dataset:
    """The dataset of this name, or the one in a folder or archive (see the module).

    A name goes before a folder of the same name; write `./name` for that. `seed` and `size` (None: as many as usual)
    are for datasets that are made, not read; `strict` makes files that cannot be read an error; `store` keeps what was
    read, and `workers` processes (None: one per core) read it.
    Raises HdbenchError for an unknown name or category, and for data that cannot be used.
    """
    if name_or_path == MADE:
        from hdbench.datasets.procedural.dataset import Procedural

        return Procedural(category, seed=seed) if size is None else Procedural(category, seed=seed, size=size)
    if size is not None:
        raise HdbenchError(f"{name_or_path} holds as many shapes as it does; a size is for datasets that are made.")
    progress = progress or Progress()
    named = _named(name_or_path)
    if named.category not in (None, category) or named.split:
        raise HdbenchError(f"{name_or_path}: the category is {category} and all splits are read; leave out the @.")
    name, path = _located(named, category, progress)
    if name is None:
        from hdbench.datasets.folder import Folder

        return Folder(path, category, strict=strict, store=store, progress=progress, workers=workers)
    dataset = _load(_DATASETS[name].reference)
    opened: Dataset = dataset(path, category, strict=strict, store=store, progress=progress, workers=workers)
    return opened


def open_split(text: str, *, progress: Progress) -> OpenSplit | None:
    """The shapes of `dataset@category/split`, of the test split if none is said; None where `text` names no such.

    Raises HdbenchError as `open_dataset` does.
    """
    if Path(text).exists():
        return None
    named = parse_name(text)
    _refuse_unknown_split(text, named)
    if named is None:
        return None
    if named.category is None:
        raise HdbenchError(f"{text}: of which category, and split? Write {text}@airplane/test.")
    dataset = open_dataset(text.rpartition("@")[0], named.category, store=Store(progress=progress), progress=progress)
    names = dataset.ids(named.split or "test")
    if named.split in (None, "test"):
        names = names[: dataset.natural_count]  # those that runs and leaderboards compare with
    return OpenSplit([(name, partial(dataset.reference_shape, name)) for name in names], dataset.moments)


def _refuse_unknown_split(text: str, named: Named | None) -> None:
    """Raise HdbenchError where `text` ends like `@category/split` but for the split, and is no path."""
    match = re.fullmatch(r"(.+@[^@/\\]+)/([^@/\\]*)", text)
    is_path = named is not None and named.path is not None and named.path.exists()
    if match and (named is None or named.category is None) and not is_path and parse_name(match[1]):
        raise unknown_name(f"split of {match[1]}", match[2], SPLITS)


def verify_dataset(text: str, path: Path | None, category: str | None, *, progress: Progress) -> "list[Finding]":
    """What is there and what is missing of the dataset `text`, in `path` if that is given.

    Raises HdbenchError when it is not there at all, or is none that has a layout to check.
    """
    from hdbench.datasets.published import Finding, Published, verify

    named = Named(text, path) if path is not None and text in _DATASETS else _named(text)
    if named.name == MADE:
        raise HdbenchError(f"{MADE} is made here: there is nothing to verify.")
    name, where = _located(named, category, progress)
    if name is None:
        known = ", ".join(_DATASETS)
        raise HdbenchError(f"{where} is laid out like none of {known}; name the one it should be, and then its path.")
    dataset = _load(_DATASETS[name].reference)
    if issubclass(dataset, Published):
        return list(verify(dataset, where))
    if category is None:
        raise HdbenchError(f"{name} is checked by reading it; say which --category.")
    opened = dataset(where, category, progress=progress)
    counts = ", ".join(f"{len(opened.ids(split))} {split}" for split in ("train", "val", "test"))
    left_out = [Finding("wrong", f"{shape}: {reason}") for shape, reason in opened.skipped.items()]
    return [Finding("ok", f"{opened.category}: {counts}"), *left_out]


def _named(text: str) -> Named:
    """What `text` names; HdbenchError where it is neither a name nor a path."""
    if named := parse_name(text):
        return named
    if not _is_path(text):
        raise unknown_name("dataset", text, [*_DATASETS, MADE, "any folder or .npz of shapes"])
    return Named(None, Path(text))


def _located(named: Named, category: str | None, progress: Progress) -> tuple[str | None, Path]:
    """Name (None: a folder of shapes like any other) and path of a dataset, found; or downloaded, given a category."""
    if named.name == MADE:
        raise HdbenchError(f"{MADE} is made, it lies nowhere; leave out its path.")
    if named.path is not None:
        return named.name or _recognised(named.path), named.path
    assert named.name is not None
    known = _DATASETS[named.name]
    if found := _at_hand(known):
        return named.name, found
    dataset = _load(known.reference)
    if category is not None and (on_hub := getattr(dataset, "on_hub", None)):
        fetched: Path = on_hub(category).fetch(progress)
        return named.name, fetched
    places = " or ".join(known.usual) or "its folder"
    home = os.environ.get(HOME)
    looked = f"{home} holds no {places}" if home else f"${HOME} is not set (a folder with {places})"
    obtain = getattr(dataset, "obtain", "")
    raise HdbenchError(
        f"Where is {named.name}? {looked}. Write {named.name}:/where/it/lies"
        + (f"; get it from {obtain}." if obtain else "; see docs/datasets.md.")
    )


def _at_hand(known: _Known) -> Path | None:
    """Where the dataset lies in $HDBENCH_DATA, if it does."""
    home = os.environ.get(HOME)
    return next((path for name in known.usual if (path := Path(home) / name).exists()), None) if home else None


def _recognised(path: Path) -> str | None:
    """Which of the published datasets `path` is laid out like."""
    return next((name for name, known in _DATASETS.items() if _is_like(path, known)), None)


def _is_like(path: Path, known: _Known) -> bool:
    if path.is_dir():
        return _has_any(path, known.marks) or any(_has_any(path / name, known.marks) for name in known.usual)
    return path.is_file() and any(fnmatch(path.name.lower(), pattern) for pattern in known.files)


def _has_any(folder: Path, patterns: Sequence[str]) -> bool:
    return folder.is_dir() and any(next(folder.glob(pattern), None) for pattern in patterns)


def _is_path(text: str) -> bool:
    return Path(text).exists() or "/" in text or "\\" in text or text.lower().endswith(SUFFIXES)


def _load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
