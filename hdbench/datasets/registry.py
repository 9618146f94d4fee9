"""Datasets by name or by path."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hdbench.datasets.base import Dataset
from hdbench.datasets.readers import SUFFIXES
from hdbench.errors import HdbenchError, unknown_name
from hdbench.progress import Progress
from hdbench.store import Store

_DATASETS = {
    "procedural": "hdbench.datasets.procedural.dataset:Procedural",
}
"""`module:class` by name. The class is called with the category, and `seed` and `size` where these are given."""


def dataset_names() -> list[str]:
    """Names that `open_dataset` knows."""
    return sorted(_DATASETS)


def describe_datasets() -> list[tuple[str, str, str]]:
    """(name, categories, what it is) of each dataset, and of what else `open_dataset` takes."""
    from hdbench.datasets.procedural.dataset import CATEGORIES

    return [
        ("procedural", ", ".join(CATEGORIES), "watertight parametric solids, animals move; unlimited, no download"),
        ("PATH", "any", "a folder, or an .npz, of your own meshes or point clouds"),
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
) -> Dataset:
    """The dataset of this name, or the one in a folder or archive (see `hdbench.datasets.folder.Folder`).

    A name goes before a folder of the same name; write `./name` for that. `seed` and `size` (None: as many as usual)
    are for datasets that are made, not read; `strict` makes files that cannot be read an error; `store` remembers which
    these are.
    Raises HdbenchError for an unknown name or category, and for data that cannot be used.
    """
    if name_or_path in _DATASETS:
        dataset = _load(_DATASETS[name_or_path])
        return dataset(category, seed=seed) if size is None else dataset(category, seed=seed, size=size)
    if not _is_path(name_or_path):
        raise unknown_name("dataset", name_or_path, [*_DATASETS, "any folder or .npz of shapes"])
    if size is not None:
        raise HdbenchError(f"{name_or_path} holds as many shapes as it does; a size is for datasets that are made.")
    from hdbench.datasets.folder import Folder

    return Folder(name_or_path, category, strict=strict, store=store, progress=progress)


def _is_path(text: str) -> bool:
    return Path(text).exists() or "/" in text or "\\" in text or text.lower().endswith(SUFFIXES)


def _load(reference: str) -> Callable[..., Dataset]:
    module, _, name = reference.partition(":")
    factory: Callable[..., Dataset] = getattr(import_module(module), name)
    return factory
