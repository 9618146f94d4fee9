"""Whole runs on real Ray clusters: the same scores as on this machine, also when a node is lost on the way."""

import threading
import time

import pytest

from hdbench.benchmark import Plan, Run
from hdbench.execution import LOCAL
from hdbench.progress import Progress
from hdbench.ray_engine import RayEngine
from hdbench.store import Store

PLAN = Plan("chair", methods=("hyperdiffusion", "noise"), preset="smoke", protocol="pvd", limit=10, count=3, train=True)


def scores(folder, engine):
    store = Store(folder / "store")
    results = Run(PLAN, store=store, folder=folder / "run", progress=Progress(), engine=engine).execute()
    return [(row.method, row.samples.sha256, row.scores, row.other_scores) for row in results.rows]


def lose_a_node(cluster, node, store, lost):
    """Kill `node` as soon as the first fields are there; training on them has yet to come."""
    while not ([*store.glob("workspaces/**/fields/*.safetensors")] or [*store.glob("artefacts/fields/*")]):
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)
    lost.set()


@pytest.mark.slow
def test_a_run_that_loses_a_node_has_the_scores_of_this_machine(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(Run, "_report", lambda run: None)
    here = scores(tmp_path / "here", LOCAL)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node, lost = cluster.add_node(num_cpus=2), threading.Event()
        store = tmp_path / "there" / "store"
        killer = threading.Thread(target=lose_a_node, args=(cluster, node, store, lost), daemon=True)
        killer.start()
        there = scores(tmp_path / "there", RayEngine(cluster.address))
        killer.join(timeout=30)
        assert lost.is_set()
        assert there == here
    finally:
        ray.shutdown()
        cluster.shutdown()
