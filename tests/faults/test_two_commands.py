"""Commands that work on one store at once."""

import os
import random
import signal
import time

import pytest
from fault_harness import RUN, SMOKE, TALLY, Attempt, bits, wait_until

ELSEWHERE = (*SMOKE, "--out", "other")


@pytest.mark.parametrize("turn", range(3))
def test_the_same_run_twice_at_once(turn, reference, empty):
    first = Attempt(empty, RUN)
    time.sleep(random.Random(turn).uniform(0, 20))
    second = empty.hdbench(*SMOKE, "--out", "run")
    assert second.returncode == 0, second.stderr
    assert first.end() == 0, first.said
    reference.refuse_unfinished(empty)
    TALLY.others["the same command twice at once", "one waits for the other, both end, the same bits"] += 1


@pytest.mark.parametrize("turn", range(3))
def test_two_runs_share_what_they_make(turn, reference, empty):
    first = Attempt(empty, RUN)
    time.sleep(random.Random(turn).uniform(0, 20))
    second = empty.hdbench(*ELSEWHERE)
    assert second.returncode == 0, second.stderr
    assert first.end() == 0, first.said
    assert bits(empty.folder / "other") == reference.run
    reference.refuse_unfinished(empty)
    TALLY.others["two runs of the same into two folders at once", "both end, the same bits"] += 1


@pytest.mark.parametrize("turn", range(3))
def test_one_of_two_is_killed(turn, reference, empty):
    """Whatever it was making, the other makes it, from where it stopped."""
    moments = random.Random(turn)
    first = Attempt(empty, (*ELSEWHERE, "--log-file", "other.jsonl"))
    wait_until(lambda: [*empty.store.glob("workspaces/*/*")])
    second = Attempt(empty, RUN)
    time.sleep(moments.uniform(2, 15))
    os.killpg(first.process.pid, signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    assert second.end() == 0, second.said
    reference.refuse_unfinished(empty)
    TALLY.others["two runs at once, one of them killed", "the other takes over and ends, the same bits"] += 1


def test_cleaning_up_beside_a_run_takes_nothing_from_it(reference, empty):
    attempt, cleaned = Attempt(empty, RUN), 0
    while not attempt.has_ended:
        done = empty.hdbench("runs", "clean", "--unfinished", "--unused", "0", "--older", "0", "--keep", "0")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("0 removed")
        cleaned += 1
    assert attempt.end() == 0, attempt.said
    reference.refuse_unfinished(empty)
    TALLY.others["hdbench runs clean beside a run", "what was used within the hour stays; the run ends"] += cleaned
