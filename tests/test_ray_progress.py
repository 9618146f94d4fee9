"""Letters and their replay; the mailbox itself is tried in test_ray_engine."""

from contextlib import contextmanager

import pytest

from hdbench.progress import Progress
from hdbench.ray_progress import Mailbox, RemoteProgress, Replay


class Shown(Progress):
    """Writes down what it is told."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def task(self, description, total, *, done=0):
        self.seen.append(f"{description}: {done}/{total}")
        shown = self

        class Task:
            def advance(self, steps=1, note=""):
                shown.seen.append(f"{description}: +{steps} {note}".strip())

        yield Task()
        self.seen.append(f"{description}: closed")

    def say(self, message):
        self.seen.append(message)


class Actor:
    """A mailbox in this process that is called as an actor is."""

    def __init__(self):
        self.mailbox, self.put = Mailbox(), self

    def remote(self, *letter):
        self.mailbox.put(*letter)


@pytest.fixture
def shown():
    return Shown()


def test_a_mailbox_is_emptied_by_looking():
    mailbox = Mailbox()
    mailbox.put("say", "", "one")
    assert mailbox.take() == [("say", "", "one")]
    assert mailbox.take() == []


def test_tasks_are_shown_as_they_were_reported(shown):
    replay = Replay(shown)
    replay.show([("open", "a", "fit", 4, 1), ("open", "b", "train", 2, 0), ("advance", "a", 3, "loss 0.1")])
    replay.show([("say", "", "left out: x"), ("close", "b"), ("close", "a")])
    assert shown.seen == ["fit: 1/4", "train: 0/2", "fit: +3 loss 0.1", "left out: x", "train: closed", "fit: closed"]


def test_what_a_lost_unit_left_open_is_closed_at_the_end(shown):
    replay = Replay(shown)
    replay.show([("open", "a", "fit", 4, 0), ("advance", "unheard of", 1, ""), ("close", "unheard of")])
    replay.close()
    assert shown.seen == ["fit: 0/4", "fit: closed"]


def test_steps_are_reported_together(monkeypatch):
    actor = Actor()
    monkeypatch.setattr("hdbench.ray_progress._RemoteTask.close", lambda task: None)
    progress = RemoteProgress(actor)
    with progress.task("fit", 100) as task:
        for _ in range(100):
            task.advance(note="loss 0.1")
    progress.say("done")
    (opened, *advanced, said) = actor.mailbox.take()
    assert opened[2:] == ("fit", 100, 0)
    assert [letter[2:] for letter in advanced] == [(100, "loss 0.1")]
    assert said == ("say", "", "done")
