"""A log for machines: one JSON object per line, of what a command does, how long that takes, and on how much memory.

    {"time": "2026-01-31T12:00:00.000Z", "event": "stage", "stage": "samples", "key": "3f6c…", "fresh": true,
     "outcome": "done", "seconds": 12.3, "memory_bytes": 512000000, "device": "cpu"}

Events: `stage` (an artefact was made, or found: `fresh` is false), `unit` (so many steps of a task are done, at most
once a second), `task` (one has ended), `message` (a line that was shown). The outcome of a stage or task is done,
failed or interrupted; of methods that are fitted at once, those under way when the command is interrupted say nothing.
Lines are appended, so that a command that goes on where it stopped goes on in the same file.
Secrets are taken out first.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hdbench.errors import HdbenchError
from hdbench.progress import Progress, Task
from hdbench.redaction import redacted
from hdbench.text import as_utf8

INTERVAL_S = 1.0
"""Between two lines about units of one task."""


class Journal(Progress):
    """Another `Progress`, of which everything is also written to `path`.

    Raises HdbenchError where that cannot be written.
    """

    def __init__(self, shown: Progress, path: Path, *, device: str) -> None:
        self._shown, self._path, self._device = shown, path, device
        self._stages: list[str] = []
        self._writing = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a", encoding="utf-8").close()
        except OSError as error:
            raise HdbenchError(f"{path} cannot be written ({error.strerror}); choose another --log-file.") from error

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        start, outcome = time.monotonic(), "failed"
        with self._shown.task(description, total, done=done) as shown:
            noted = _Noted(self, shown, description, total, done)
            try:
                yield noted
                outcome = "done"
            except (KeyboardInterrupt, GeneratorExit):
                outcome = "interrupted"
                raise
            finally:
                seconds = time.monotonic() - start
                self.write("task", task=description, outcome=outcome, done=noted.done, total=total, seconds=seconds)

    @contextmanager
    def stage(self, name: str, key: str, *, fresh: bool) -> Iterator[None]:
        """See `Progress.stage`."""
        start, outcome = time.monotonic(), "failed"
        self._stages.append(name)
        try:
            yield
            outcome = "done"
        except (KeyboardInterrupt, GeneratorExit):
            outcome = "interrupted"
            raise
        finally:
            self.write("stage", key=key, fresh=fresh, outcome=outcome, seconds=time.monotonic() - start)
            self._stages.pop()

    def say(self, message: str) -> None:
        """See `Progress.say`."""
        self._shown.say(message)
        self.write("message", text=message)

    @property
    def screen(self) -> Progress:
        """See `Progress.screen`."""
        return self._shown.screen

    def over(self, screen: Progress) -> "Journal":
        """See `Progress.over`: several processes may append lines to one log."""
        return Journal(screen, self._path, device=self._device)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_writing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _writing=threading.Lock())

    def write(self, event: str, **facts: str | float | bool) -> None:
        """Append one line."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": event,
            **({"stage": self._stages[-1]} if self._stages else {}),
            **{name: _presentable(value) for name, value in facts.items()},
            "memory_bytes": _peak_memory(self._device),
            "device": self._device,
        }
        with self._writing, self._path.open("a", encoding="utf-8") as stream:
            stream.write(as_utf8(json.dumps(line, ensure_ascii=False)) + "\n")


class _Noted:
    """A task that is shown and written."""

    def __init__(self, journal: Journal, shown: Task, description: str, total: int, done: int) -> None:
        self._journal, self._shown, self._description, self._total = journal, shown, description, total
        self.done = self._written = done
        self._last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """See `Task.advance`."""
        self._shown.advance(steps, note)
        self.done += steps
        now = time.monotonic()
        if now - self._last >= INTERVAL_S or self.done == self._total:
            self._journal.write(
                "unit",
                task=self._description,
                units=self.done - self._written,
                done=self.done,
                total=self._total,
                seconds=now - self._last,
                **({"note": note} if note else {}),
            )
            self._last, self._written = now, self.done


def _presentable(value: str | float | bool) -> str | float | bool:
    """A time to the millisecond; text without secrets."""
    if isinstance(value, str):
        return redacted(value)
    return round(value, 3) if isinstance(value, float) else value


def _peak_memory(device: str) -> int | None:
    """The most memory this process has had: of the GPU on "cuda", else resident; None where nobody can say."""
    if device == "cuda" and (torch := sys.modules.get("torch")):
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
