"""Ray itself: slow, as starting a cluster takes ten seconds and more."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hdbench import ray_engine
from hdbench.errors import HdbenchError
from hdbench.execution import run_units
from hdbench.progress import Progress
from hdbench.ray_engine import RayEngine


def square(number: int) -> int:
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise HdbenchError("three is no number")
    return number


def kill_itself_once(marker: Path) -> int:
    """As a worker does whose memory ran out: nothing is said, the process is gone."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return len(marker.name)


def kill_itself(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def settings(_: int) -> tuple[str | None, ...]:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "HDBENCH_TEST")
    return tuple(os.environ.get(name) for name in names)


def doubled_in_place(array: np.ndarray) -> np.ndarray:
    array *= 2
    return array


def sum_of_squares(number: int) -> int:
    """A unit with units of its own, as a fit has."""
    return sum(run(square, range(number)))


def where_it_ran(folder: Path) -> str:
    """Leaves a file named after its node in `folder`, and takes a while."""
    import ray

    (folder / ray.get_runtime_context().get_node_id()).touch()
    time.sleep(1)
    return folder.name


def sleep_unless_first(number: int) -> int:
    time.sleep(60 if number else 0)
    return number


def run(function, units, *, engine=None, progress=None, **options):
    shown = progress or Progress()
    engine = engine or RayEngine()
    return run_units(function, units, workers=2, progress=shown, description="units", engine=engine, **options)


@pytest.fixture(scope="module")
def engine():
    """A cluster of two cores, whatever the machine has."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_engine, "cpu_count", lambda: 2)
        patch.setenv("HDBENCH_TEST", "forwarded")
        patch.delenv("RAY_ADDRESS", raising=False)
        started = RayEngine()
        assert list(run(square, [3], engine=started)) == [9]
        yield started
        ray.shutdown()


class Counted(Progress):
    """Remembers what was reported, by description."""

    def __init__(self):
        self.done, self.totals = {}, {}

    def task(self, description, total, *, done=0):
        self.done[description], self.totals[description] = done, total
        counted = self

        class Task:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def advance(self, steps=1, note=""):
                counted.done[description] += steps

        return Task()


def report(unit: tuple[Progress, str]) -> None:
    progress, name = unit
    with progress.task(name, 3) as task:
        for _ in range(3):
            task.advance()


@pytest.mark.slow
def test_results_come_in_the_order_of_the_units(engine):
    assert list(run(square, range(20), engine=engine)) == [number * number for number in range(20)]


@pytest.mark.slow
def test_no_units(engine):
    assert list(run(square, [], engine=engine)) == []


@pytest.mark.slow
def test_errors_come_back_as_themselves_after_what_came_before(engine):
    results = run(fail_on_three, range(8), engine=engine)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(HdbenchError, match=r"^three is no number$") as raised:
        next(results)
    assert type(raised.value) is HdbenchError


@pytest.mark.slow
def test_arrays_may_be_written_as_in_a_process_of_ones_own(engine):
    (result,) = run(doubled_in_place, [np.ones(100_000)], engine=engine)
    result += 1
    assert (result == 3).all()


@pytest.mark.slow
def test_workers_have_one_thread_each_and_the_settings_of_the_driver(engine):
    assert list(run(settings, range(2), engine=engine)) == [("1", "1", "1", "forwarded")] * 2


@pytest.mark.slow
def test_units_may_have_units(engine):
    assert list(run(sum_of_squares, [3, 4, 5, 6], engine=engine)) == [5, 14, 30, 55]


@pytest.mark.slow
def test_a_unit_whose_worker_is_killed_runs_again(engine, tmp_path):
    markers = [tmp_path / "a", tmp_path / "bb", tmp_path / "ccc"]
    assert list(run(kill_itself_once, markers, engine=engine)) == [1, 2, 3]


@pytest.mark.slow
def test_a_unit_that_kills_every_worker_is_an_error_of_one_line(engine, monkeypatch):
    monkeypatch.setattr(ray_engine, "RETRIES", 1)
    with pytest.raises(HdbenchError, match="lost 2 times with its Ray worker"):
        list(run(kill_itself, range(2), engine=engine))


@pytest.mark.slow
def test_another_installation_refuses(engine, monkeypatch):
    monkeypatch.setattr(ray_engine, "_installation", lambda: (("Python", "3.11.0"), ("hdbench", "9.9")))
    with pytest.raises(HdbenchError, match="give all nodes the same installation"):
        list(run(square, range(2), engine=engine))


@pytest.mark.slow
def test_a_cluster_without_a_gpu_says_so(engine):
    if __import__("ray").cluster_resources().get("GPU"):
        pytest.skip("there is a GPU here")
    with pytest.raises(HdbenchError, match="has no GPU"):
        list(run(square, range(2), engine=engine, device="cuda"))


@pytest.mark.slow
def test_running_units_are_not_waited_for_when_no_more_is_wanted(engine):
    results = run(sleep_unless_first, range(4), engine=engine)
    assert next(results) == 0
    before = time.monotonic()
    results.close()
    assert list(run(square, range(2), engine=engine)) == [0, 1]  # their cores are free again
    assert time.monotonic() - before < 30


@pytest.mark.slow
def test_bars_count_weights_and_what_units_report(engine):
    progress = Counted()
    with engine.shown(progress) as remote:
        units = [(remote, "first"), (remote, "second")]
        list(run(report, units, engine=engine, progress=progress, weight=lambda unit: len(unit[1])))
    assert progress.totals == {"units": 11, "first": 3, "second": 3}
    assert progress.done == progress.totals


@pytest.mark.slow
def test_a_node_that_is_lost_is_survived(tmp_path):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        lost = cluster.add_node(num_cpus=1)
        results = run(where_it_ran, [tmp_path] * 8, engine=RayEngine(cluster.address))
        first = next(results)
        while len(list(tmp_path.iterdir())) < 2:  # both nodes have begun something
            time.sleep(0.1)
        cluster.remove_node(lost, allow_graceful=False)
        assert [first, *results] == [tmp_path.name] * 8
    finally:
        ray.shutdown()
        cluster.shutdown()


INTERRUPTED = """
import sys, time
from hdbench.execution import run_units
from hdbench.progress import Progress
from hdbench.ray_engine import RayEngine

def work(number):
    time.sleep(60 if number else 0)

try:
    for _ in run_units(work, range(4), workers=2, progress=Progress(), description="units", engine=RayEngine()):
        print("working", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups to interrupt")
def test_an_interrupt_ends_all_and_in_silence(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "script.py").write_text(INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline().strip() == "working"
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=50)  # a unit takes 60 s
    assert complaints == ""
    assert process.returncode == 130


def test_only_what_computing_hangs_on_is_sent_to_workers(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HDBENCH_STORE", "/shared/store")
    monkeypatch.setenv("HDBENCH_LOCAL_STORE", "/scratch/of/this/machine")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    sent = ray_engine._worker_environment()
    assert sent["HDBENCH_STORE"] == "/shared/store"
    assert sent["OMP_NUM_THREADS"] == "1"
    assert "HF_TOKEN" not in sent
    assert "HDBENCH_LOCAL_STORE" not in sent


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HdbenchError, match="pip install"):
        list(run(square, range(2)))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port"])
def test_an_address_where_nobody_listens_is_told_at_once(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(HdbenchError, match=f"There is no Ray cluster at '{address}'"):
        list(run(square, range(2), engine=RayEngine(address)))


def test_one_worker_is_this_process(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    results = run_units(square, [2], workers=1, progress=Progress(), description="", engine=RayEngine())
    assert list(results) == [4]


def test_stages_never_count_on_one_worker_only(monkeypatch):
    monkeypatch.setattr(ray_engine, "cpu_count", lambda: 1)
    assert RayEngine().workers == 2
