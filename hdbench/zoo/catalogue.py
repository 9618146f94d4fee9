"""Where published models lie, and which of them fits what a run asks for.

Models are folders with a `model.toml`: those that come with hdbench (`hdbench_zoo`), and those below the folders in
$HDBENCH_ZOO, which go first.
"""

import importlib.resources
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hdbench.errors import HdbenchError, unknown_name
from hdbench.store import digest
from hdbench.zoo.manifest import MANIFEST, Manifest, read_manifest

if TYPE_CHECKING:
    from hdbench.datasets.base import Dataset
    from hdbench.recipe import Recipe


@dataclass(frozen=True)
class Entry:
    """A published model: its folder and what model.toml says."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """What it is called: the folder's name."""
        return self.folder.name


def zoo_folders() -> tuple[Path, ...]:
    """Folders of models, the user's own first."""
    own = [Path(part) for part in os.environ.get("HDBENCH_ZOO", "").split(os.pathsep) if part]
    return (*own, own_folder())


def own_folder() -> Path:
    """The folder of the models that come with hdbench."""
    return Path(str(importlib.resources.files("hdbench_zoo")))


def entries() -> list[Entry]:
    """All published models, sorted by name; of two with one name the first found.

    Raises HdbenchError where one cannot be read.
    """
    found: dict[str, Entry] = {}
    for zoo in zoo_folders():
        for path in sorted(zoo.glob(f"*/{MANIFEST}")):
            if path.parent.name not in found:
                found[path.parent.name] = open_entry(path.parent)
    return [found[name] for name in sorted(found)]


def open_entry(folder: Path) -> Entry:
    """The model in `folder`."""
    return Entry(folder, read_manifest(folder / MANIFEST))


def get_entry(name: str) -> Entry:
    """The model called `name`, or in the folder `name`; HdbenchError when there is none, with the nearest name."""
    if (Path(name) / MANIFEST).is_file():
        return open_entry(Path(name).resolve())
    for zoo in zoo_folders():
        if name and name == Path(name).name and (zoo / name / MANIFEST).is_file():
            return open_entry(zoo / name)
    if Path(name).is_dir():
        raise HdbenchError(
            f"The folder {name} holds no {MANIFEST}, so it is no published model; name one that does, or a model of "
            "hdbench zoo list."
        )
    if name and name != Path(name).name:
        raise HdbenchError(f"There is no folder {name}; name one with a {MANIFEST}, or a model of hdbench zoo list.")
    available = {path.parent.name for zoo in zoo_folders() for path in zoo.glob(f"*/{MANIFEST}")}
    raise unknown_name("model of the zoo", name, available)


def recipe_hash(recipe: "Recipe") -> str:
    """What tells fits apart: sha256 of all fields as resolved, but those that only sampling reads."""
    return digest(recipe.of_fit())


def find_model(method: str, dataset: "Dataset", recipe: "Recipe", *, among: Iterable[Entry]) -> Entry | None:
    """The published model of `method` that a fit by this very recipe gives on this very dataset, or None."""
    wanted = (method, dataset.category, dataset.name, digest(dataset.fingerprint()), recipe_hash(recipe))
    return next((entry for entry in among if _identity(entry.manifest) == wanted), None)


def _identity(manifest: Manifest) -> tuple[str, ...]:
    data = manifest.dataset
    return (manifest.method, manifest.category, data.name, data.version, manifest.recipe)
