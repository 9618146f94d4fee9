"""Ray workers and a node that die during a run: it goes on, and ends with the same bits."""

import os
import random
import signal
import time

import pytest
from fault_harness import ON, RUN, TALLY, Attempt, processes_of, wait_until

pytest.importorskip("ray")


@pytest.mark.parametrize("turn", range(3))
def test_killed_workers_cost_only_time(turn, reference, empty):
    moments, killed = random.Random(turn), 0
    attempt = Attempt(empty, ON["ray"])
    while killed < 4 and not attempt.has_ended:
        time.sleep(moments.uniform(0.5, 4.0))
        if busy := processes_of(attempt.token, "ray::_perform"):
            os.kill(moments.choice(busy), signal.SIGKILL)
            killed += 1
    assert attempt.end() == 0, attempt.said
    assert attempt.said == ""
    assert killed
    reference.refuse_unfinished(empty)
    TALLY.others["a busy Ray worker is killed", "its unit runs again; the run ends, the same bits"] += killed


def test_a_lost_node_costs_only_time(reference, empty):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=2)
        attempt = Attempt(empty, (*RUN, "--engine", f"ray://{cluster.address}"))
        wait_until(lambda: attempt.has_ended or [*empty.store.glob("workspaces/fields/*/fields/*.safetensors")])
        cluster.remove_node(node, allow_graceful=False)
        assert attempt.process.wait(timeout=600) == 0, attempt.said
        assert attempt.said == ""
        reference.refuse_unfinished(empty)
    finally:
        cluster.shutdown()
    TALLY.others["one of two Ray nodes is killed", "its units run again; the run ends, the same bits"] += 1
