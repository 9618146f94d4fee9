"""Content-addressed artefacts: what a stage made, under the hash of everything that went into it.

What this module guarantees: an artefact is either whole and verified or not there at all. A stage writes into
a workspace of its own, under a lock; finishing it records every file's sha256 and renames the folder into
place. A process killed in between leaves the workspace, which the next run with the same inputs goes on from.
Files that no longer match their hash are thrown away and made again: those of artefacts, and those of workspaces that
were written to a `sealed_path`.

Where $HDBENCH_STORE is a URL, a machine's own store stays what it is and the remote one stands behind it: what is not
here is looked for there before it is made, and put there once it is. Locks and workspaces are of one machine: two may
make the same at once, which costs time and harms nothing.

    $HDBENCH_STORE (where that is a URL $HDBENCH_LOCAL_STORE; else the user's cache directory)
      artefacts/<stage>/<key>/      files, and artefact.json: inputs, sha256 and size of each file
      workspaces/<stage>/<key>/     unfinished, resumable
      locks/
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.remote_store import MANIFEST as MANIFEST
from hdbench.remote_store import RemoteStore
from hdbench.text import as_utf8
from hdbench.version import __version__

HERE = "HDBENCH_LOCAL_STORE"
"""Environment variable: where a machine keeps its own part of a remote store."""
_ARRIVING = ".arriving.tmp"


def default_root() -> Path:
    """`$HDBENCH_STORE`, or `$HDBENCH_LOCAL_STORE` where that is a URL; else `hdbench` in the user's cache directory."""
    if root := os.environ.get(HERE if default_remote() else "HDBENCH_STORE"):
        return Path(root)
    cache = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hdbench"


def default_remote() -> RemoteStore | None:
    """The store that `$HDBENCH_STORE` names, where that is a URL."""
    named = os.environ.get("HDBENCH_STORE", "")
    return RemoteStore(named) if "://" in named else None


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
    """Raise HdbenchError now if the file `path` could not be written later, or not named in what is UTF-8."""
    if path.name != as_utf8(path.name):
        raise HdbenchError(f"{path} cannot be written: its name is not UTF-8; choose another name.")
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
class Made:
    """When, for how long and where an artefact was made; of an interrupted piece of work the last attempt alone."""

    start: float
    """Seconds since the epoch."""
    seconds: float
    host: str


@dataclass(frozen=True)
class Artefact:
    """A finished, verified folder in the store; from a remote store, pickled, it arrives as a folder there."""

    key: Key
    folder: Path
    fresh: bool
    """True when it was made just now, False when it was found."""
    remote: RemoteStore | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.remote is None:
            return Artefact, (self.key, self.folder, self.fresh)
        return _arrived, (self.key, self.fresh, self.remote)


class Store:
    """Artefacts under one root, shared by any number of processes; with a remote store behind it, by machines.

    Without a root both are those of the environment. Pickled, one with a remote store arrives with the root of the
    environment there.
    """

    def __init__(
        self, root: Path | None = None, *, remote: RemoteStore | None = None, progress: Progress | None = None
    ) -> None:
        self.remote = default_remote() if root is None else remote
        self.root = (root or default_root()).resolve()
        self.progress = progress or Progress()
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            name = HERE if self.remote else "HDBENCH_STORE"
            raise HdbenchError(
                f"The store {self.root} cannot be written ({error.strerror}); set {name} to a folder that can."
            ) from error
        if self.remote:
            self.remote.refuse_unusable()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (None if self.remote else self.root, self.remote, self.progress)

    def reporting_to(self, progress: Progress) -> "Store":
        """The same store with another progress."""
        return Store(self.root, remote=self.remote, progress=progress)

    def get_or_make(self, key: Key, make: Callable[[Path], None]) -> Artefact:
        """The artefact of `key`; `make(workspace)` writes its files when it is missing or damaged.

        `make` may be called on a workspace that an earlier, killed call has partly filled.
        """
        folder = self._folder(key.stage, key.digest)
        if self._is_whole(folder):
            _note_use(folder)
            with self.progress.stage(key.stage, key.digest, fresh=False):
                if self.remote and not self.remote.has(key.stage, key.digest):
                    self.remote.put(key.stage, key.digest, folder, progress=self.progress)
                return Artefact(key, folder, False, self.remote)
        workspace = self._workspace(key.stage, key.digest)
        with self._lock(key.stage, key.digest):
            # another process may have made it while this one waited, or another machine
            if self._is_whole(folder) or self._fetched(key.stage, key.digest):
                return Artefact(key, folder, False, self.remote)
            if folder.exists():
                shutil.rmtree(folder)
            workspace.mkdir(parents=True, exist_ok=True)
            remove_leftovers(workspace)
            start, clock = time.time(), time.monotonic()
            with self.progress.stage(key.stage, key.digest, fresh=True):
                make(workspace)
            for seal in workspace.rglob(".*.seal"):  # the manifest says it from now on
                seal.unlink()
            made = Made(start=round(start, 3), seconds=round(time.monotonic() - clock, 3), host=socket.gethostname())
            _write_manifest(workspace, key, made)
            folder.parent.mkdir(parents=True, exist_ok=True)
            workspace.rename(folder)
        if self.remote:
            self.remote.put(key.stage, key.digest, folder, progress=self.progress)
        return Artefact(key, folder, True, self.remote)

    def holds(self, key: Key) -> bool:
        """Whether the artefact of `key` is there, and whole; a remote store's is brought here."""
        return self.find(key.stage, key.digest) is not None

    def find(self, stage: str, digest: str) -> Path | None:
        """The folder of the artefact whose key has this digest, brought here from a remote store if need be."""
        folder = self._folder(stage, digest)
        if self._is_whole(folder):
            return folder
        if self.remote is None or not self.remote.has(stage, digest):
            return None
        with self._lock(stage, digest):
            return folder if self._is_whole(folder) or self._fetched(stage, digest) else None

    def _fetched(self, stage: str, digest: str) -> bool:
        """Bring an artefact from the remote store, if it is whole there. Call it under the artefact's lock."""
        if self.remote is None or not self.remote.has(stage, digest):
            return False
        folder, workspace = self._folder(stage, digest), self._workspace(stage, digest)
        arriving = workspace / _ARRIVING
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir(parents=True)
        with self.progress.stage(stage, digest, fresh=False):
            came = self.remote.fetch(stage, digest, arriving, progress=self.progress)
        if not came or not self._is_whole(arriving) or not _is_of(arriving, digest):
            shutil.rmtree(arriving)
            self.progress.say(f"{stage} {digest[:12]} in {self.remote} is damaged, and not used.")
            return False
        if folder.exists():
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        arriving.rename(folder)
        shutil.rmtree(workspace)
        return True

    def _folder(self, stage: str, digest: str) -> Path:
        return self.root / "artefacts" / stage / digest

    def _workspace(self, stage: str, digest: str) -> Path:
        return self.root / "workspaces" / stage / digest

    def _lock(self, stage: str, digest: str) -> AbstractContextManager[None]:
        return lock(self.root / "locks" / f"{stage}-{digest}", waiting=partial(self._say_waiting, stage))

    def _say_waiting(self, stage: str) -> None:
        self.progress.say(f"Waiting for another hdbench process that is making the same {stage}.")

    @staticmethod
    def _is_whole(folder: Path) -> bool:
        """Whether all files are there as they were written; one that cannot be read raises, and is not deleted."""
        try:
            files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
            return all(file_digest(folder / name) == entry["sha256"] for name, entry in files.items())
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return False


def _is_of(folder: Path, key: str) -> bool:
    """Whether the manifest in `folder`, which is whole, is of the artefact with this digest, and not another's."""
    record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return digest({part: record.get(part) for part in ("stage", "version", "inputs")}) == key


def _reopened(root: Path | None, remote: RemoteStore | None, progress: Progress) -> Store:
    return Store(root or default_root(), remote=remote, progress=progress)


def _arrived(key: Key, fresh: bool, remote: RemoteStore) -> Artefact:
    return Artefact(key, _folder_here(key.stage, key.digest, remote, default_root()), fresh, remote)


@cache
def _folder_here(stage: str, digest: str, remote: RemoteStore, root: Path) -> Path:
    """The folder of an artefact that another process has put into a remote store; verified once."""
    folder = Store(root, remote=remote).find(stage, digest)
    if folder is None:
        raise HdbenchError(
            f"{stage}/{digest} is not whole in the store {remote}; remove what is left of it there, and run the same "
            "command again."
        )
    return folder


def _note_use(folder: Path) -> None:
    """Let the manifest's time say when the artefact was last used; a store that cannot be written does without."""
    with suppress(OSError):
        os.utime(folder / MANIFEST)


def made_of(folder: Path) -> Made | None:
    """When the artefact in `folder` was made; None where its manifest is older than such notes, or there is none."""
    try:
        return Made(**json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["made"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_manifest(folder: Path, key: Key, made: Made) -> None:
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
        "made": asdict(made),
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
