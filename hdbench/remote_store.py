"""The store behind a machine's own: finished artefacts at an fsspec URL, for all machines that are given it.

What this module guarantees: an artefact is there once its manifest is, which is written last. Files are called by their
sha256, so that two machines that put the same artefact there at once never mix theirs. What comes from there has been
through other hands: nothing in a manifest makes this machine write outside the folder asked for, and the bytes are for
`hdbench.store` to verify.

    <URL>/store.json                                says what this is
    <URL>/artefacts/<stage>/<key>/artefact.json     the manifest
    <URL>/artefacts/<stage>/<key>/<sha256>          each of its files
"""

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PureWindowsPath
from typing import Any

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.redaction import redacted
from hdbench.transfer import (
    AbsentError,
    SourceError,
    filesystem,
    fill,
    fsspec_errors,
    open_fsspec,
    patiently,
    read_all,
    refuse_offline,
)

MANIFEST = "artefact.json"
LABEL = json.dumps({"schema": "hdbench/store/1"}).encode()
LARGEST_MANIFEST = 1 << 28
THREADS = 8
"""Files that travel at once."""
_HERE = frozenset({"file", "local", "memory"})
"""Schemes that need no network."""
_FLAT = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"})
"""Schemes without folders: to make one could make a bucket."""
_KILO = 1000


@dataclass(frozen=True)
class RemoteStore:
    """Artefacts at a URL. Every failure is an HdbenchError that names the URL, without what is secret in it."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        return redacted(self.url)

    def refuse_unusable(self) -> None:
        """Raise HdbenchError now if nothing could be written there later; asked once per process."""
        _label(self.url)

    def has(self, stage: str, key: str) -> bool:
        """Whether a finished artefact is there, whole or not."""
        with self._complaining("read"):
            system, folder = self._at(stage, key)
            try:
                patiently(partial(_size, system, f"{folder}/{MANIFEST}"))
            except AbsentError:
                return False
        return True

    def fetch(self, stage: str, key: str, folder: Path, *, progress: Progress) -> bool:
        """Bring an artefact and its manifest into `folder`; False where files are missing, cut, or no manifest is one.

        What came is not verified otherwise.
        """
        with self._complaining("read"):
            system, source = self._at(stage, key)
            try:
                manifest = read_all(partial(open_fsspec, system, f"{source}/{MANIFEST}", None), LARGEST_MANIFEST)
                files = _files(manifest)
                names = [(folder / name, f"{source}/{sha256}", size) for name, (sha256, size) in files.items()]
                with _Kilobytes(progress, f"Fetching {stage}", sum(size for _, _, size in names)) as done:
                    _all(partial(_fetch_file, system, target, place, size, done) for target, place, size in names)
            except (AbsentError, _DamagedError):
                return False
        (folder / MANIFEST).write_bytes(manifest)
        return True

    def put(self, stage: str, key: str, folder: Path, *, progress: Progress) -> None:
        """Put the finished artefact in `folder` there, in the place of any that is there: the manifest last."""
        manifest = (folder / MANIFEST).read_bytes()
        with self._complaining("written"):
            system, target = self._at(stage, key)
            names = {sha256: (folder / name, size) for name, (sha256, size) in _files(manifest).items()}
            with _Kilobytes(progress, f"Storing {stage}", sum(size for _, size in names.values())) as done:
                _all(
                    partial(_put_file, system, path, f"{target}/{sha256}", size, done)
                    for sha256, (path, size) in names.items()
                )
            _write(system, f"{target}/{MANIFEST}", manifest)

    def _at(self, stage: str, key: str) -> tuple[Any, str]:
        """The file system, and the path of an artefact there."""
        system, root = _opened(self.url)
        return system, f"{root}/artefacts/{stage}/{key}"

    @contextmanager
    def _complaining(self, what: str) -> Iterator[None]:
        try:
            yield
        except SourceError as error:
            raise HdbenchError(
                f"The store {self} cannot be {what} ({redacted(str(error))}); mend that, or set HDBENCH_STORE to a "
                "folder. What is finished is kept on this machine, and the same command goes on from there."
            ) from error


class _DamagedError(Exception):
    """A manifest that is none."""


class _Kilobytes:
    """Bytes from any thread, shown as a task in kB."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self._opening = progress.task(f"{description} (kB)", -(-total // _KILO))
        self._done, self._counting = 0, threading.Lock()

    def __enter__(self) -> "_Kilobytes":
        self._task = self._opening.__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        self._opening.__exit__(*reason)

    def __call__(self, count: int) -> None:
        with self._counting:
            self._task.advance((self._done + count) // _KILO - self._done // _KILO)
            self._done += count


@cache
def _label(url: str) -> None:
    """Write `store.json`, which nobody reads: whoever cannot will not write artefacts either."""
    remote = RemoteStore(url)
    with remote._complaining("written"):
        system, root = _opened(url)
        _write(system, f"{root}/store.json", LABEL)


def _opened(url: str) -> tuple[Any, str]:
    """The file system, and the path of the store there without a slash at its end."""
    if url.partition("://")[0] not in _HERE:
        refuse_offline()
    system, root = filesystem(url)
    return system, root.rstrip("/")


def _files(manifest: bytes) -> dict[str, tuple[str, int]]:
    """sha256 and size by name; _DamagedError for what is no manifest, or names files outside of its folder."""
    try:
        files = {
            name: (str(entry["sha256"]), int(entry["size"])) for name, entry in json.loads(manifest)["files"].items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _DamagedError from error
    if not all(_lies_within(name) and sha256.isalnum() and size >= 0 for name, (sha256, size) in files.items()):
        raise _DamagedError
    return files


def _lies_within(name: str) -> bool:
    path = PureWindowsPath(name)  # which also takes / for a separator, and knows drives
    return bool(path.parts) and not path.anchor and ".." not in path.parts


def _all(actions: Iterable[Any]) -> None:
    """Do all, some at once; when one fails none is begun any more, and its error is raised."""
    with ThreadPoolExecutor(THREADS) as threads:
        begun = [threads.submit(action) for action in actions]
        try:
            for action in begun:
                action.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_file(system: Any, target: Path, place: str, size: int, done: _Kilobytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fill(partial(open_fsspec, system, place, size), target, size, advance=done)


def _put_file(system: Any, path: Path, place: str, size: int, done: _Kilobytes) -> None:
    def put() -> None:
        with fsspec_errors():
            _make_folder_of(system, place)
            system.put_file(str(path), place)

    _written(put)
    done(size)


def _write(system: Any, place: str, content: bytes) -> None:
    def write() -> None:
        with fsspec_errors():
            _make_folder_of(system, place)
            system.pipe_file(place, content)

    _written(write)


def _written(action: Any) -> None:
    try:
        patiently(action)
    except AbsentError as error:
        raise SourceError("no such bucket or folder") from error


def _make_folder_of(system: Any, place: str) -> None:
    schemes = {system.protocol} if isinstance(system.protocol, str) else {*system.protocol}
    if not schemes & _FLAT:
        system.makedirs(place.rpartition("/")[0], exist_ok=True)


def _size(system: Any, place: str) -> int | None:
    with fsspec_errors():
        size: int | None = system.info(place)["size"]
    return size
