"""Progress of units that run elsewhere: they post letters about it, and whoever gets these shows them."""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from hdbench.progress import Progress, Task

INTERVAL_S = 1.0
"""Between two reports of one task."""


class Post(Protocol):
    """Brings letters to where they are shown, in order; never fails, as work does not hang on who looks."""

    def __call__(self, *letter: str | int) -> None:
        """Send one: what happened, to which task, and the arguments."""

    def flush(self) -> None:
        """Wait until all that were sent have arrived."""


class RelayedProgress(Progress):
    """Posts what it is told; can be pickled where its post can."""

    def __init__(self, post: Post) -> None:
        self.post = post

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        task = _RelayedTask(self.post)
        self.post("open", task.name, description, int(total), int(done))
        ended_well = False
        try:
            yield task
            ended_well = True
        finally:
            task.report()
            self.post("close", task.name, ended_well)
            self.post.flush()  # or the unit could be over before its reports are there

    def say(self, message: str) -> None:
        """See `Progress.say`."""
        self.post("say", "", str(message))
        self.post.flush()


class _RelayedTask:
    def __init__(self, post: Post) -> None:
        self.post, self.name = post, uuid.uuid4().hex
        self.steps, self.note, self.last = 0, "", time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps, self.note = self.steps + int(steps), str(note)
        if time.monotonic() - self.last >= INTERVAL_S:
            self.report()

    def report(self) -> None:
        if self.steps:
            self.post("advance", self.name, self.steps, self.note)
            self.steps, self.last = 0, time.monotonic()


class Replay:
    """Shows letters as they came."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.open: dict[str, tuple[Task, ExitStack]] = {}

    def show(self, letters: Sequence[Sequence[Any]]) -> None:
        """Show `letters`; of a unit that died and runs again, the first report stays until the end."""
        for what, name, *details in letters:
            if what == "say":
                self.progress.say(*details)
            elif what == "open":
                description, total, done = details
                stack = ExitStack()
                self.open[name] = stack.enter_context(self.progress.task(description, total, done=done)), stack
            elif what == "advance" and name in self.open:
                self.open[name][0].advance(*details)
            elif what == "close" and name in self.open:
                self._close(name, ended_well=details[0])

    def close(self) -> None:
        """End what has not ended itself, as what did not come to its end."""
        for name in [*self.open]:
            self._close(name, ended_well=False)

    def _close(self, name: str, *, ended_well: bool) -> None:
        _, stack = self.open.pop(name)
        if ended_well:
            stack.close()
        else:
            stack.__exit__(GeneratorExit, GeneratorExit(), None)
