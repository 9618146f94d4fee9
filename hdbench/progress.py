"""Progress of long work: bars with an ETA on a terminal, plain lines elsewhere, nothing when quiet."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID


class Task(Protocol):
    """One counted piece of work."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report `steps` more as done; `note` is a short figure to show beside the bar (a loss, a count)."""


class Progress:
    """Shows nothing; the base of the two that do."""

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Task]:
        """Open a task of `total` steps, `done` of them finished in an earlier, interrupted run."""
        yield _Silent()

    @contextmanager
    def stage(self, name: str, key: str, *, fresh: bool) -> Iterator[None]:
        """Open a stage that makes the artefact `key`, or (not `fresh`) found it: for logs, nobody is shown it."""
        yield

    def say(self, message: str) -> None:
        """Show one line."""

    @property
    def screen(self) -> "Progress":
        """What shows this progress, without what else becomes of it (a log)."""
        return self

    def over(self, screen: "Progress") -> "Progress":
        """This progress with another `screen`: for another process, to show here and do there what else there is."""
        return screen


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class PlainProgress(Progress):
    """Lines on standard error: at the start, every `interval` seconds, and at the end of each task."""

    def __init__(self, interval: float = 15.0) -> None:
        self.interval = interval

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        task = _Plain(self, description, total, done)
        yield task
        if task.shown:
            self.say(f"{description}: done in {_duration(time.monotonic() - task.start)}")

    def say(self, message: str) -> None:
        """See `Progress.say`."""
        print(message, file=sys.stderr, flush=True)


class _Plain:
    def __init__(self, progress: PlainProgress, description: str, total: int, done: int) -> None:
        self.progress, self.description, self.total = progress, description, total
        self.done = self.first = done
        self.start = self.last = time.monotonic()
        self.shown = False

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        wait = self.progress.interval if self.shown else 2.0
        if now - self.last >= wait and self.done < self.total:
            left = (now - self.start) / max(1, self.done - self.first) * (self.total - self.done)
            tail = f", {note}" if note else ""
            self.progress.say(f"{self.description}: {self.done}/{self.total}, {_duration(left)} left{tail}")
            self.last, self.shown = now, True


class RichProgress(Progress):
    """Bars on a terminal; tasks may be opened within tasks."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self._bars: RichBars | None = None

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        outermost = self._bars is None
        bars = self._bars or self._start()
        identifier = bars.add_task(description, total=total, completed=done, note="")
        try:
            yield _Bar(bars, identifier)
        finally:
            if outermost:
                bars.stop()
                self._bars = None
            else:
                bars.update(identifier, visible=False)

    def say(self, message: str) -> None:
        """See `Progress.say`."""
        self.console.print(message, markup=False, highlight=False)

    def _start(self) -> "RichBars":
        from rich import progress as rich

        self._bars = rich.Progress(
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeElapsedColumn(),
            rich.TextColumn("ETA"),
            rich.TimeRemainingColumn(),
            rich.TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
        )
        self._bars.start()
        return self._bars


class _Bar:
    def __init__(self, bars: "RichBars", identifier: "TaskID") -> None:
        self.bars, self.identifier = bars, identifier

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.bars.update(self.identifier, advance=steps, note=note)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
