"""A model's files, verified: those beside model.toml, or what the first of its sources that answers has.

What is fetched becomes an artefact of the store, under the sha256 of its files: whole or not there, shared by all
processes (one fetches, the others wait), taken up again where a killed one stopped.
"""

import shutil
from pathlib import Path

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.store import Key, Store, file_digest
from hdbench.transfer import SourceError
from hdbench.zoo.catalogue import Entry
from hdbench.zoo.manifest import EMBEDDED, ModelFile
from hdbench.zoo.precision import widen
from hdbench.zoo.sources import download

FETCH_VERSION = 1


def file_digests(entry: Entry) -> dict[str, str]:
    """sha256 by path of a model's files: what tells its weights from any others."""
    return {file.path: file.sha256 for file in entry.manifest.files}


def fetch(entry: Entry, *, store: Store, progress: Progress) -> Path:
    """A folder with the model's files as published, verified.

    Raises HdbenchError, which says what is wrong with each source, where one of them cannot be had.
    """
    manifest = entry.manifest
    if manifest.sources[0] == EMBEDDED and not any(_defect(entry, file) for file in manifest.files):
        return entry.folder

    def make(workspace: Path) -> None:
        for file in manifest.files:
            if not _is_right(workspace / file.path, file):
                _fetch_file(entry, file, workspace / file.path, progress)

    return store.get_or_make(Key("zoo", FETCH_VERSION, {"files": file_digests(entry)}), make).folder


def write_model(entry: Entry, folder: Path, *, store: Store, progress: Progress) -> None:
    """Write the model into `folder` as its method's `load` expects it: whatever was halved is float32 again."""
    fetched = fetch(entry, store=store, progress=progress)
    for file in entry.manifest.files:
        _copy_widened(fetched / file.path, folder / file.path)


def read_model(source: Path, folder: Path) -> None:
    """Write the model whose files lie in `source`, halved or whole, into `folder` as its method's `load` expects it."""
    for path in source.rglob("*"):
        if path.is_file():
            _copy_widened(path, folder / path.relative_to(source))


def _copy_widened(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".safetensors":
        widen(source, target)
    else:
        shutil.copyfile(source, target)


def check_links(entry: Entry, folder: Path, *, progress: Progress) -> dict[str, str | None]:
    """What is wrong with each source of the model, by source; None where all files are there and right.

    Every file is read anew, into `folder`, and removed again.
    """
    return {source: _link_defect(entry, source, folder, progress) for source in entry.manifest.sources}


def _link_defect(entry: Entry, source: str, folder: Path, progress: Progress) -> str | None:
    for file in entry.manifest.files:
        try:
            _from_source(entry, source, file, folder / file.path, progress)
        except SourceError as error:
            return f"{file.path}: {error}"
        finally:
            (folder / file.path).unlink(missing_ok=True)
            (folder / f"{file.path}.part").unlink(missing_ok=True)
    return None


def _fetch_file(entry: Entry, file: ModelFile, target: Path, progress: Progress) -> None:
    """Have `file` at `target` from the first source that has it."""
    reasons = []
    for source in entry.manifest.sources:
        try:
            _from_source(entry, source, file, target, progress)
            return
        except SourceError as error:
            reasons.append(f"{_named(entry, source)}: {error}")
    raise HdbenchError(
        f"{file.path} of the model {entry.name} cannot be had. {'; '.join(reasons)}. Mend that, or train the model "
        "with hdbench run --train."
    )


def _from_source(entry: Entry, source: str, file: ModelFile, target: Path, progress: Progress) -> None:
    if source != EMBEDDED:
        download(source, file, target, progress)
        return
    if reason := _defect(entry, file):
        raise SourceError(reason)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(entry.folder / file.path, target)


def _named(entry: Entry, source: str) -> str:
    return str(entry.folder) if source == EMBEDDED else source


def _defect(entry: Entry, file: ModelFile) -> str | None:
    """What is wrong with a file beside model.toml."""
    path = entry.folder / file.path
    if not path.is_file():
        return "no such file"
    if not path.resolve().is_relative_to(entry.folder.resolve()):
        return "leads out of the model's folder"
    if path.stat().st_size != file.size:
        return f"has {path.stat().st_size} bytes, expected {file.size}"
    return None if file_digest(path) == file.sha256 else "wrong content (its sha256 is not the one in model.toml)"


def _is_right(path: Path, file: ModelFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and file_digest(path) == file.sha256
