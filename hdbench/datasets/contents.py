"""What files hold, as one digest that does not depend on where they lie.

A file is hashed once: its digest is remembered in the store with the file's size and times, and holds as long as
these do. Shapes within archives bring a stamp of their own (the archive's checksum of them).
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hdbench.datasets.readers import Entry
from hdbench.errors import HdbenchError
from hdbench.execution import cpu_count
from hdbench.progress import Progress
from hdbench.store import Store, digest, file_digest, is_sound, sealed_path

_SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago might change again within the clock's grain: it is not remembered."""
_SHOWN = 200
"""Files from which on hashing has a progress bar."""


def content_digest(found: Sequence[Entry], *, store: Store | None, progress: Progress) -> str:
    """A digest over the names of all shapes and the bytes they are read from."""
    files = _digests({file for entry in found if entry.stamp is None for file in entry.files}, store, progress)
    return digest(
        [[entry.name, [files[file] for file in entry.files] if entry.stamp is None else entry.stamp] for entry in found]
    )


def _digests(files: Iterable[Path], store: Store | None, progress: Progress) -> Mapping[Path, str]:
    """sha256 of each file, hashed in threads or remembered."""
    ordered = sorted(files)
    if not ordered:
        return {}
    notes = None if store is None else store.root / "digests" / f"{digest(str(ordered[0].resolve()))}.json"
    known = {} if notes is None else _read_notes(notes)
    stamps = {file: _stamp(file) for file in ordered}
    missing = [file for file in ordered if known.get(str(file.resolve()), ("", ""))[0] != stamps[file]]
    bar = progress if len(missing) >= _SHOWN else Progress()
    made: dict[Path, str] = {}
    with ThreadPoolExecutor(cpu_count()) as threads, bar.task("Looking for changes", len(missing)) as task:
        for file, sha256 in zip(missing, threads.map(file_digest, missing), strict=True):
            made[file] = sha256
            task.advance()
    found = {file: made.get(file) or known[str(file.resolve())][1] for file in ordered}
    if notes is not None and made:
        kept = {str(file.resolve()): (stamps[file], found[file]) for file in ordered if _is_settled(file)}
        with sealed_path(notes) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
    return found


def _stamp(file: Path) -> str:
    try:
        status = file.stat()
    except OSError as error:
        raise HdbenchError(f"{file} cannot be read ({error.strerror}).") from error
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _is_settled(file: Path) -> bool:
    status = file.stat()
    return time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS


def _read_notes(path: Path) -> dict[str, tuple[str, str]]:
    if not is_sound(path):
        return {}
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        return {str(file): (str(stamp), str(sha256)) for file, (stamp, sha256) in notes.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
