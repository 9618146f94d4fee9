"""Whole runs on real Ray clusters: the same scores as on this machine, also when a node is lost on the way, or when
nodes share nothing but a URL."""

import threading
import time
from dataclasses import replace

import pytest

from hdbench.benchmark import Plan, Run
from hdbench.execution import LOCAL
from hdbench.progress import Progress
from hdbench.ray_engine import RayEngine
from hdbench.store import Store

PLAN = Plan("chair", methods=("hyperdiffusion", "noise"), preset="smoke", protocol="pvd", limit=10, count=3, train=True)


def scores(folder, engine, *, store=None, plan=PLAN):
    store = store or Store(folder / "store")
    results = Run(plan, store=store, folder=folder / "run", progress=Progress(), engine=engine).execute()
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


@pytest.mark.slow
def test_nodes_that_share_nothing_but_a_url_have_the_scores_of_this_machine(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(Run, "_report", lambda run: None)
    plan = replace(PLAN, dataset=str(meshes(tmp_path / "data")), methods=("voxel", "noise"), limit=None)
    here = scores(tmp_path / "here", LOCAL, plan=plan)
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    monkeypatch.setenv("HDBENCH_LOCAL_STORE", str(theirs))  # raylets and their workers keep this
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        monkeypatch.setenv("HDBENCH_STORE", f"file://{tmp_path}/shared")
        monkeypatch.setenv("HDBENCH_LOCAL_STORE", str(ours))
        there = scores(tmp_path / "there", RayEngine(cluster.address), store=Store(), plan=plan)
        assert there == here
        for stage in ("model", "scores"):  # made there, brought here
            keys = [{path.name for path in root.glob(f"artefacts/{stage}/*")} for root in (theirs, ours)]
            assert keys[0] == keys[1] != set()
        drawn = [*ours.glob("artefacts/samples/*")]
        assert drawn
        assert not [*theirs.glob("artefacts/samples/*")]
    finally:
        ray.shutdown()
        cluster.shutdown()


def meshes(folder):
    """A dataset of files."""
    trimesh = pytest.importorskip("trimesh")
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for number in range(6):
            box = trimesh.creation.box((1 + 0.1 * number, 1, 0.5 + 0.05 * number))
            box.export(folder / split / f"{split}-{number}.obj")
    return folder
