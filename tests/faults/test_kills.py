"""Runs killed at random moments, some hundred times: nothing lost, nothing wrong, the same bits at the end."""

import os
import random
import shutil
import signal
import time

import pytest
from fault_harness import RUN, TALLY, Attempt, Home, Reference, kill_again_and_again, processes_of, wait_until

SHARE_OF_RAY = 0.15
"""Of all kills: a kill of a run on Ray takes several times as long, as a cluster is started each time."""


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(engine, request, tmp_path):
    kills = request.config.getoption("--kills", default=200)
    if engine == "ray":
        pytest.importorskip("ray")
        (tmp_path / "reference").mkdir()
        expected = Reference.of(Home(tmp_path / "reference"), engine=engine)
        assert expected.run == request.getfixturevalue("reference").run
    else:
        expected = request.getfixturevalue("reference")
    wanted = round(kills * (SHARE_OF_RAY if engine == "ray" else 1 - SHARE_OF_RAY))
    turn = 0
    while sum(kill.engine == engine for kill in TALLY.kills) < wanted:
        home = Home(tmp_path / "killed")
        home.folder.mkdir()
        kill_again_and_again(home, expected, engine=engine, seed=turn)
        shutil.rmtree(home.folder)
        turn += 1


@pytest.mark.parametrize("turn", range(5))
def test_a_killed_worker_process_ends_the_command_in_one_line(turn, reference, empty):
    moments = random.Random(turn)
    attempt = Attempt(empty, RUN)
    wait_until(lambda: attempt.has_ended or processes_of(attempt.token, "spawn_main"))
    time.sleep(moments.uniform(0.0, 2.0))
    os.kill(moments.choice(processes_of(attempt.token, "spawn_main")), signal.SIGKILL)
    assert attempt.end() == 2
    assert attempt.said_itself.startswith("hdbench: A process that worked for this one was killed")
    assert len(attempt.said_itself.splitlines()) == 1
    reference.refuse_wrong(empty)
    again = empty.hdbench(*RUN)
    assert again.returncode == 0, again.stderr
    reference.refuse_unfinished(empty)
    TALLY.others["a worker process is killed, engine local", "one line, exit code 2; the same command ends"] += 1
