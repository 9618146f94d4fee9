"""Content-addressed artefacts: what a stage made, under the hash of everything that went into it.

What this module guarantees: an artefact is either whole and verified or not there at all. A stage writes into
a workspace of its own, under a lock; finishing it records every file's sha256 and renames the folder into
place. A process killed in between leaves the workspace, which the next run with the same inputs goes on from.
Files that no longer match their hash are thrown away and made again: those of artefacts, and those of workspaces that
were written to a `sealed_path`.

    $HDBENCH_STORE (else the user's cache directory)
      artefacts/<stage>/<key>/      files, and artefact.json: inputs, sha256 and size of each file
      workspaces/<stage>/<key>/     unfinished, resumable
      locks/
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.version import __version__

MANIFEST = "artefact.json"


def default_root() -> Path:
    """`$HDBENCH_STORE`, else `hdbench` in the user's cache directory."""
    if root := os.environ.get("HDBENCH_STORE"):
        return Path(root)
    cache = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hdbench"


def canonical(value: Any) -> str:
    """JSON with one spelling per value: what keys are hashed from."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well and vanishes when not.

    Raises HdbenchError when nothing can be written there.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        with _naming(path):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def sealed_path(path: Path) -> Iterator[Path]:
    """Like `atomic_path`, for a file that unfinished work goes on from: `is_sound` tells whether it can.

    Its hash lies beside it, in `.<name>.seal`.
    """
    with atomic_path(path) as temporary:
        yield temporary
        # Before the file itself, and with the hash of the one it replaces: whenever a kill comes, the seal fits.
        hashes = [file_digest(temporary), *([file_digest(path)] if is_sound(path) else [])]
        write_atomic(_seal(path), "\n".join(hashes))


def is_sound(path: Path) -> bool:
    """Whether `path` is there, with the bytes that were written if it was written to a `sealed_path`."""
    if not path.is_file():
        return False
    seal = _seal(path)
    return not seal.exists() or file_digest(path) in seal.read_text(encoding="utf-8", errors="replace").split()


def _seal(path: Path) -> Path:
    return path.with_name(f".{path.name}.seal")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which path cannot be written."""
    try:
        yield
    except OSError as error:
        raise HdbenchError(f"{path} cannot be written ({error.strerror}); choose another place.") from error


def refuse_unwritable(path: Path) -> None:
    """Raise HdbenchError now if the file `path` could not be written later."""
    with _naming(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) so that `path` holds the old bytes or the new ones, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left under `folder`. Call it under the folder's lock."""
    for path in folder.rglob(".*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def lock(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system frees it when the process dies.

    `waiting` is called once when another process holds it, before waiting for that.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+b")
    with stream:
        if not _lock_file(stream.fileno(), wait=False):
            waiting()
            _lock_file(stream.fileno(), wait=True)
        yield


def _lock_file(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file; False when it is another's and `wait` is not wanted."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if wait:
            raise
        return False
    return True


@dataclass(frozen=True)
class Key:
    """What an artefact is made from. `version` lives in the module of the stage, raised when its output changes."""

    stage: str
    version: int
    inputs: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """sha256 over stage, version and inputs."""
        return digest({"stage": self.stage, "version": self.version, "inputs": self.inputs})


@dataclass(frozen=True)
class Artefact:
    """A finished, verified folder in the store."""

    key: Key
    folder: Path
    fresh: bool
    """True when it was made just now, False when it was found."""


class Store:
    """Artefacts under one root, shared by any number of processes."""

    def __init__(self, root: Path | None = None, *, progress: Progress | None = None) -> None:
        self.root = (root or default_root()).resolve()
        self.progress = progress or Progress()
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HdbenchError(
                f"The store {self.root} cannot be written ({error.strerror}); set HDBENCH_STORE to a folder that can."
            ) from error

    def get_or_make(self, key: Key, make: Callable[[Path], None]) -> Artefact:
        """The artefact of `key`; `make(workspace)` writes its files when it is missing or damaged.

        `make` may be called on a workspace that an earlier, killed call has partly filled.
        """
        folder = self.root / "artefacts" / key.stage / key.digest
        if self._is_whole(folder):
            _note_use(folder)
            with self.progress.stage(key.stage, key.digest, fresh=False):
                return Artefact(key, folder, fresh=False)
        workspace = self.root / "workspaces" / key.stage / key.digest
        with lock(self.root / "locks" / f"{key.stage}-{key.digest}", waiting=partial(self._say_waiting, key)):
            if self._is_whole(folder):  # another process made it while this one waited
                return Artefact(key, folder, fresh=False)
            if folder.exists():
                shutil.rmtree(folder)
            workspace.mkdir(parents=True, exist_ok=True)
            remove_leftovers(workspace)
            with self.progress.stage(key.stage, key.digest, fresh=True):
                make(workspace)
            for seal in workspace.rglob(".*.seal"):  # the manifest says it from now on
                seal.unlink()
            _write_manifest(workspace, key)
            folder.parent.mkdir(parents=True, exist_ok=True)
            workspace.rename(folder)
        return Artefact(key, folder, fresh=True)

    def holds(self, key: Key) -> bool:
        """Whether the artefact of `key` is there, and whole."""
        return self._is_whole(self.root / "artefacts" / key.stage / key.digest)

    def _say_waiting(self, key: Key) -> None:
        self.progress.say(f"Waiting for another hdbench process that is making the same {key.stage}.")

    @staticmethod
    def _is_whole(folder: Path) -> bool:
        """Whether all files are there as they were written; one that cannot be read raises, and is not deleted."""
        try:
            files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
            return all(file_digest(folder / name) == entry["sha256"] for name, entry in files.items())
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return False


def _note_use(folder: Path) -> None:
    """Let the manifest's time say when the artefact was last used; a store that cannot be written does without."""
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def _write_manifest(folder: Path, key: Key) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"sha256": file_digest(path), "size": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = {
        "stage": key.stage,
        "version": key.version,
        "inputs": key.inputs,
        "files": files,
        "hdbench": __version__,
    }
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1))


def copy_tree(source: Path, target: Path, *, added: Mapping[str, str] = MappingProxyType({})) -> None:
    """Make `target` a copy of the folder `source` with the files `added`, text by name.

    What stood there before is replaced as a whole. Raises HdbenchError when nothing can be written there.
    """
    target = target.resolve()
    with _naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    replaced = temporary.with_suffix(".old.tmp")
    try:
        shutil.copytree(source, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        for name, text in added.items():
            write_atomic(temporary / name, text)
        temporary.chmod(0o755)
        if target.exists():  # moved away at once: a kill shall leave no half of it
            target.rename(replaced)
        temporary.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
