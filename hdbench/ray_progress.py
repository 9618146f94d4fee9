"""Progress of units on other machines: they report to a mailbox on the cluster, the driver empties and shows it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hdbench.progress import Progress
from hdbench.relayed_progress import INTERVAL_S, RelayedProgress, Replay


class Mailbox:
    """What units have reported since the last look; lives on the cluster, as a Ray actor."""

    def __init__(self) -> None:
        self._letters: list[tuple[Any, ...]] = []

    def put(self, *letter: Any) -> None:
        """Leave a letter; none, to know that those before have arrived."""
        if letter:
            self._letters.append(letter)

    def take(self) -> list[tuple[Any, ...]]:
        """All letters since the last call, oldest first."""
        letters, self._letters = self._letters, []
        return letters


@dataclass(frozen=True)
class MailboxPost:
    """See `hdbench.relayed_progress.Post`."""

    mailbox: Any

    def __call__(self, *letter: str | int) -> None:
        """See `Post`."""
        self.mailbox.put.remote(*letter)

    def flush(self) -> None:
        """See `Post.flush`."""
        import ray

        with suppress(ray.exceptions.RayError):
            ray.get(self.mailbox.put.remote())


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
        yield RelayedProgress(MailboxPost(mailbox))
    finally:
        finished.set()
        watcher.join()
        ray.kill(mailbox)
