"""Letters, their replay, and sockets between processes; the mailbox itself is tried in test_ray_engine."""

import json
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest

from hdbench.errors import HdbenchError
from hdbench.journal import Journal
from hdbench.process_progress import relayed
from hdbench.progress import Progress
from hdbench.ray_progress import Mailbox, MailboxPost
from hdbench.relayed_progress import RelayedProgress, Replay


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

        outcome = "abandoned"
        try:
            yield Task()
            outcome = "closed"
        finally:
            self.seen.append(f"{description}: {outcome}")

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
    replay.show([("say", "", "left out: x"), ("close", "b", True), ("close", "a", False)])
    assert shown.seen == [
        "fit: 1/4",
        "train: 0/2",
        "fit: +3 loss 0.1",
        "left out: x",
        "train: closed",
        "fit: abandoned",
    ]


def test_what_a_lost_unit_left_open_is_closed_at_the_end(shown):
    replay = Replay(shown)
    replay.show([("open", "a", "fit", 4, 0), ("advance", "unheard of", 1, ""), ("close", "unheard of", True)])
    replay.close()
    assert shown.seen == ["fit: 0/4", "fit: abandoned"]


def test_steps_are_reported_together(monkeypatch):
    actor = Actor()
    monkeypatch.setattr(MailboxPost, "flush", lambda post: None)
    progress = RelayedProgress(MailboxPost(actor))
    with progress.task("fit", 100) as task:
        for _ in range(100):
            task.advance(note="loss 0.1")
    progress.say("done")
    opened, *advanced, closed, said = actor.mailbox.take()
    assert opened[2:] == ("fit", 100, 0)
    assert [letter[2:] for letter in advanced] == [(100, "loss 0.1")]
    assert closed == ("close", opened[1], True)
    assert said == ("say", "", "done")


def report(progress):
    with progress.stage("model", "key", fresh=True), progress.task("fit", 3, done=1) as task:
        task.advance(2, "loss 0.1")
    progress.say("left out: x")


def report_and_die(progress):
    with progress.task("fit", 3) as task:
        task.advance()
        os.kill(os.getpid(), signal.SIGKILL)


def elsewhere(function, progress):
    process = multiprocessing.get_context("spawn").Process(target=function, args=(progress,))
    process.start()
    process.join()


def test_other_processes_are_shown_here(shown):
    with relayed(shown) as progress:
        elsewhere(report, progress)
    assert shown.seen == ["fit: 1/3", "fit: +2 loss 0.1", "fit: closed", "left out: x"]


def test_a_process_that_dies_leaves_nothing_open(shown):
    with relayed(shown) as progress:
        elsewhere(report_and_die, progress)
        wait_for(lambda: shown.seen)
    assert shown.seen == ["fit: 0/3", "fit: abandoned"]


def fail(progress):
    with suppress(HdbenchError), progress.task("fit", 3):
        raise HdbenchError("no data")


def test_what_failed_is_not_called_done(shown):
    with relayed(shown) as progress:
        elsewhere(fail, progress)
    assert shown.seen == ["fit: 0/3", "fit: abandoned"]


def test_numbers_of_numpy_are_numbers(shown):
    with relayed(shown) as progress, progress.task("fit", np.int64(3), done=np.int64(1)) as task:
        task.advance(np.int64(2), note=np.float32(0.5))
    assert shown.seen == ["fit: 1/3", "fit: +2 0.5", "fit: closed"]


def test_strangers_are_not_heard(shown):
    with relayed(shown) as progress:
        post = progress.post
        RelayedProgress(replace(post, password="guessed")).say("boo")
        progress.say("still listening")
    assert shown.seen == ["still listening"]


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_nobody_listening_is_no_reason_to_stop():
    with relayed(Progress()) as progress:
        pass
    report(RelayedProgress(progress.post))


def test_other_processes_write_the_log_themselves(shown, tmp_path):
    log = tmp_path / "log.jsonl"
    with relayed(Journal(shown, log, device="cpu")) as progress:
        elsewhere(report, progress)
    assert shown.seen == ["fit: 1/3", "fit: +2 loss 0.1", "fit: closed", "left out: x"]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [(line["event"], line.get("stage")) for line in lines] == [
        ("unit", "model"),
        ("task", "model"),
        ("stage", "model"),
        ("message", None),
    ]
