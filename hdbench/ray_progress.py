"""Progress of units on other machines: they report to a mailbox on the cluster, the driver empties and shows it."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from hdbench.progress import Progress, Task

INTERVAL_S = 1.0
"""Between two reports of one task, and between two looks into the mailbox."""


class Mailbox:
    """What units have reported since the last look; lives on the cluster, as a Ray actor."""

    def __init__(self) -> None:
        self._letters: list[tuple[Any, ...]] = []

    def put(self, *letter: Any) -> None:
        """Leave a letter: what happened, to which task, and the arguments."""
        self._letters.append(letter)

    def take(self) -> list[tuple[Any, ...]]:
        """All letters since the last call, oldest first."""
        letters, self._letters = self._letters, []
        return letters


class RemoteProgress(Progress):
    """Reports to a mailbox; whether anyone looks does not matter to the work."""

    def __init__(self, mailbox: Any) -> None:
        self.mailbox = mailbox

    @contextmanager
    def task(self, description: str, total: int, *, done: int = 0) -> Iterator[Task]:
        """See `Progress.task`."""
        task = _RemoteTask(self.mailbox)
        self.mailbox.put.remote("open", task.name, description, total, done)
        try:
            yield task
        finally:
            task.report()
            task.close()

    def say(self, message: str) -> None:
        """See `Progress.say`."""
        self.mailbox.put.remote("say", "", message)


class _RemoteTask:
    def __init__(self, mailbox: Any) -> None:
        self.mailbox, self.name = mailbox, uuid.uuid4().hex
        self.steps, self.note, self.last = 0, "", time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps, self.note = self.steps + steps, note
        if time.monotonic() - self.last >= INTERVAL_S:
            self.report()

    def report(self) -> None:
        if self.steps:
            self.mailbox.put.remote("advance", self.name, self.steps, self.note)
            self.steps, self.last = 0, time.monotonic()

    def close(self) -> None:
        """Wait until this and all before it has arrived, or the unit could be over before its reports are there."""
        import ray

        with suppress(ray.exceptions.RayError):
            ray.get(self.mailbox.put.remote("close", self.name))


class Replay:
    """Shows letters as they came."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.open: dict[str, tuple[Task, ExitStack]] = {}

    def show(self, letters: list[tuple[Any, ...]]) -> None:
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
                self.open.pop(name)[1].close()

    def close(self) -> None:
        """End what has not ended itself."""
        for _, stack in self.open.values():
            stack.close()
        self.open.clear()


@contextmanager
def relayed(ray: Any, progress: Progress) -> Iterator[Progress]:
    """A progress for units on the cluster of `ray`; what they report is shown on `progress` meanwhile."""
    mailbox = ray.remote(Mailbox).options(num_cpus=0).remote()
    finished = threading.Event()
    replay = Replay(progress)

    def watch() -> None:
        last_look = False
        while not last_look:
            last_look = finished.wait(INTERVAL_S)
            try:
                replay.show(ray.get(mailbox.take.remote()))
            except ray.exceptions.RayError:  # the mailbox was on a node that is lost: the work goes on unseen
                break
        replay.close()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield RemoteProgress(mailbox)
    finally:
        finished.set()
        watcher.join()
        ray.kill(mailbox)
