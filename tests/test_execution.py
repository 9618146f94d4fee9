import os
import signal
import subprocess
import sys
import time

import pytest

from hdbench.errors import HdbenchError
from hdbench.execution import cpu_count, run_units
from hdbench.progress import Progress


class Recorded(Progress):
    """Remembers how far a task came."""

    def task(self, description, total, *, done=0):
        self.total, self.done = total, done
        return super().task(description, total, done=done)


def square(number: int) -> int:
    return number * number


def slow_first(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0)
    return number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def thread_settings(_: int) -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"))


def process(_: int) -> int:
    return os.getpid()


def run(function, units, **options):
    return run_units(function, units, progress=Progress(), description="units", **options)


def test_there_is_a_core():
    assert cpu_count() >= 1


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_units(workers):
    assert list(run(square, range(7), workers=workers)) == [0, 1, 4, 9, 16, 25, 36]


def test_a_slow_unit_does_not_change_the_order():
    assert list(run(slow_first, range(4), workers=2)) == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_units(workers):
    assert list(run(square, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_what_came_before_an_error_is_handed_out(workers):
    results = run(fail_on_three, range(6), workers=workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_one_process_unless_more_are_asked_for():
    assert set(run(process, range(3), workers=1)) == {os.getpid()}
    assert os.getpid() not in set(run(process, range(3), workers=2))


def test_workers_have_one_thread_each():
    assert set(run(thread_settings, range(2), workers=2)) == {("1", "1", "1")}


def test_work_is_done_only_as_far_as_it_is_asked_for():
    seen = []
    results = run(lambda number: seen.append(number), range(5), workers=1)
    next(results)
    results.close()
    assert seen == [0]


def test_the_bar_counts_weights_and_what_was_done_before():
    progress = Recorded()
    list(run_units(square, [1, 2, 3], workers=1, progress=progress, description="", weight=lambda unit: unit, done=4))
    assert (progress.total, progress.done) == (10, 4)
    list(run_units(square, [1], workers=1, progress=progress, description="", total=9))
    assert (progress.total, progress.done) == (9, 0)


def killed_on_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_process_that_is_killed_is_an_error_of_one_line():
    with pytest.raises(HdbenchError, match=r"^A process that worked for this one was killed[^\n]*$"):
        list(run(killed_on_three, range(6), workers=2))


INTERRUPTED = """
import sys, time
from hdbench.errors import HdbenchError
from hdbench.execution import run_units
from hdbench.progress import Progress

def work(number):
    if number:
        print("working", flush=True)
        time.sleep(60)

if __name__ == "__main__":
    print("starting", flush=True)
    try:
        for _ in run_units(work, range(4), workers=2, progress=Progress(), description="units"):
            print("consuming", flush=True)
            for _ in range(CONSUMER):
                time.sleep(0.1)  # an interrupt on the way into a sleep is seen when it ends
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups to interrupt")
@pytest.mark.parametrize(("moment", "consumer"), [("starting", 0), ("working", 0), ("consuming", 600)])
def test_an_interrupt_ends_all_at_once_and_in_silence(moment, consumer, tmp_path):
    (tmp_path / "script.py").write_text(INTERRUPTED.replace("CONSUMER", str(consumer)))
    with subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while process.stdout.readline().strip() not in (moment, ""):
            pass
        time.sleep(0.1 if moment == "starting" else 0)  # workers are importing by then
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=20)  # a unit and the consumer take 60 s
    assert complaints == ""
    assert process.returncode == 130


def sleep_unless_first(number: int) -> int:
    time.sleep(60 if number else 0)
    return number


def test_running_units_are_not_waited_for_when_no_more_is_wanted():
    results = run(sleep_unless_first, range(4), workers=2)
    assert next(results) == 0
    before = time.monotonic()
    results.close()
    assert time.monotonic() - before < 20
