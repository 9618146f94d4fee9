"""What lies in the store: how large it is, what it was made from, and what of it may go.

An artefact was made when its folder got its last file, and last used when `Store.get_or_make` last found it (the time
of its manifest). What was used within the last hour may be in use still, and is never removed.
"""

import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hdbench.errors import HdbenchError, unknown_name
from hdbench.store import MANIFEST, lock

State = Literal["finished", "unfinished", "damaged"]
"""Unfinished: the workspace of a command that was killed, or still runs."""

STAGES = (
    "adopted",
    "figures",
    "leaderboard-audit",
    "model",
    "other-scores",
    "prepare",
    "report",
    "samples",
    "scores",
    "shapes",
    "zoo",
)
"""What the stages of hdbench are called in the store; methods may have more of their own."""

HOUR, DAY = 3600.0, 86_400.0
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_HASH = re.compile("[0-9a-f]{32,}")


@dataclass(frozen=True)
class Kept:
    """One artefact, or one unfinished workspace."""

    stage: str
    key: str
    folder: Path
    state: State
    size: int
    """Bytes of all its files."""
    made: float
    """Seconds since the epoch; so is `used`."""
    used: float
    inputs: Mapping[str, Any]
    hdbench: str
    """The version of hdbench that made it."""

    @property
    def what(self) -> str:
        """Its inputs in a few words: the scalar ones that are no hashes, and what datasets are called."""
        if self.state != "finished":
            return self.state
        words = []
        for name, value in self.inputs.items():
            if name == "dataset" and isinstance(value, dict):
                words.append(" ".join(str(value[part]) for part in ("name", "category") if part in value))
            elif isinstance(value, str | int) and not isinstance(value, bool) and not _HASH.fullmatch(str(value)):
                words.append(f"{name} {value}")
        return ", ".join(words)


def kept_in(root: Path) -> list[Kept]:
    """Everything in the store at `root`, the largest first."""
    found = [
        _examined(folder, finished=room == "artefacts" and not folder.name.startswith("."))
        for room in ("artefacts", "workspaces")
        for folder in root.glob(f"{room}/*/*")
        if folder.is_dir()
    ]
    return sorted(found, key=lambda item: (-item.size, item.stage, item.key))


def of_stage(items: Iterable[Kept], stage: str | None) -> list[Kept]:
    """Those of `stage`, or all for None; HdbenchError for a stage that is none of hdbench's and has left nothing."""
    items = list(items)
    if stage is not None and stage not in (known := {*STAGES, *(item.stage for item in items)}):
        raise unknown_name("stage", stage, known)
    return [item for item in items if stage in (None, item.stage)]


def find(items: Iterable[Kept], key: str) -> Kept:
    """The one whose key begins with `key`; HdbenchError where there is none, or more than one."""
    found = [item for item in items if item.key.startswith(key)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise HdbenchError(f"Nothing in the store has a key that begins with {key!r}; see hdbench runs list.")
    raise HdbenchError(f"{len(found)} keys begin with {key!r}: {', '.join(item.key[:16] for item in found[:4])}, …")


def removable(
    items: Iterable[Kept],
    *,
    now: float,
    older: float | None = None,
    unused: float | None = None,
    keep: int | None = None,
    unfinished: bool = False,
    stage: str | None = None,
) -> list[Kept]:
    """What may go.

    Args:
        items: Everything in the store.
        now: Seconds since the epoch.
        older: Made more than so many days ago.
        unused: Not used for more than so many days.
        keep: The least recently used, until what is left takes no more than so many bytes.
        unfinished: What killed commands left, and what is damaged.
        stage: Of this stage alone.
    """
    chosen = [item for item in of_stage(items, stage) if now - item.used > HOUR]
    going = {
        item.folder
        for item in chosen
        if (older is not None and now - item.made > older * DAY)
        or (unused is not None and now - item.used > unused * DAY)
        or (unfinished and item.state != "finished")
    }
    if keep is not None:
        left = sum(item.size for item in items if item.folder not in going)
        for item in sorted(chosen, key=lambda item: item.used):
            if left <= keep:
                break
            if item.folder not in going:
                going.add(item.folder)
                left -= item.size
    return [item for item in chosen if item.folder in going]


def remove(root: Path, item: Kept) -> bool:
    """Remove one item from the store; False where another process works on it. HdbenchError where it cannot."""
    try:
        with lock(root / "locks" / f"{item.stage}-{item.key}", waiting=_give_way):
            trash = item.folder.with_name(f".{item.folder.name.strip('.')}.tmp")
            item.folder.rename(trash)  # at once: nobody shall find half of it
            shutil.rmtree(trash)
    except _BusyError:
        return False
    except FileNotFoundError:  # another process has removed it
        return True
    except OSError as error:
        raise HdbenchError(f"{item.folder} cannot be removed ({error.strerror}); see who owns the store.") from error
    return True


def parse_size(text: str) -> int:
    """Bytes in `20GB`, `500 MiB` or `1000`; HdbenchError for anything else."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise HdbenchError(f"{text!r} is no size; write it like 20GB or 500MB.")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def size_in_words(size: int) -> str:
    """`size` bytes with a unit, to three digits."""
    value, unit = float(size), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{size} B" if unit == "B" else f"{value:.3g} {unit}"


def age_in_words(seconds: float) -> str:
    """How long ago that was, in the largest unit that fits."""
    for length, unit in ((DAY, "d"), (HOUR, "h"), (60.0, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def now() -> float:
    """Seconds since the epoch."""
    return time.time()


class _BusyError(Exception):
    """Another process holds the lock."""


def _give_way() -> None:
    raise _BusyError


def _examined(folder: Path, *, finished: bool) -> Kept:
    manifest, record = folder / MANIFEST, {}
    state: State = "finished" if finished else "unfinished"
    if finished:
        try:
            record = json.loads(manifest.read_text(encoding="utf-8"))
            sizes = {name: entry["size"] for name, entry in record["files"].items()}
            if any((folder / name).stat().st_size != size for name, size in sizes.items()):
                state = "damaged"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            state, record = "damaged", {}
    files = [status for path in folder.rglob("*") if path.is_file() and (status := _status(path))]
    made = folder.stat().st_mtime
    used = manifest.stat().st_mtime if state == "finished" else max([made, *(status.st_mtime for status in files)])
    return Kept(
        stage=folder.parent.name,
        key=folder.name,
        folder=folder,
        state=state,
        size=sum(status.st_size for status in files),
        made=made,
        used=used,
        inputs=record.get("inputs", {}),
        hdbench=str(record.get("hdbench", "")),
    )


def _status(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:  # gone meanwhile
        return None
