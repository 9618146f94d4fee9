"""Clocks that are wrong or move: times are shown and looked at, but decide nothing."""

import os
import random
import subprocess
import sys

import pytest
from fault_harness import RUN, TALLY

from hdbench.datasets import contents
from hdbench.datasets.readers import Entry, entries
from hdbench.progress import Progress
from hdbench.store import Store

YEAR_S = 31_557_600.0

MOVED = """
import random, sys, time

real, real_ns, jumps = time.time, time.time_ns, random.Random(0)
shift = lambda: jumps.uniform(-40, 40) * 31_557_600
time.time = lambda: real() + shift()
time.time_ns = lambda: real_ns() + int(shift() * 1e9)

from hdbench.cli import main

if __name__ == "__main__":
    main(sys.argv[1:])
"""


def test_a_clock_that_jumps_by_decades_during_a_run(reference, empty):
    (empty.folder / "moved.py").write_text(MOVED)
    command = [sys.executable, "moved.py", *RUN]
    done = subprocess.run(
        command, cwd=empty.folder, env=empty.environment(), capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    reference.refuse_unfinished(empty)
    TALLY.others["the clock jumps by up to 40 years, again and again", "the run ends, the same bits"] += 1


@pytest.mark.parametrize("years", [-60, -1, 1, 60])
def test_files_from_another_time(years, reference, finished):
    """The clock was moved since, or the files came from a machine whose clock is wrong."""
    when = max(0.0, finished.store.stat().st_mtime + years * YEAR_S)
    for path in finished.folder.rglob("*"):
        os.utime(path, (when, when))
    before = {path: path.stat().st_mtime_ns for path in (finished.store / "artefacts").rglob("*.npz")}
    done = finished.hdbench(*RUN)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was made again
    reference.refuse_unfinished(finished)
    for command in (["runs", "list"], ["runs", "clean", "--unused", "1", "--dry-run"]):
        listed = finished.hdbench(*command)
        assert (listed.returncode, listed.stderr) == (0, "")
    TALLY.others["all files are dated years ahead or back", "nothing is made again, the same bits"] += 1


@pytest.mark.parametrize("years", [-60, -1, 0, 1, 60])
def test_a_file_that_changed_is_noticed_whatever_the_clock_says(years, tmp_path, monkeypatch):
    """Its time and size say that it has not: the same bytes are never claimed for another file's."""
    now = contents.time.time_ns
    monkeypatch.setattr(contents.time, "time_ns", lambda: now() + int(years * YEAR_S * 1e9))
    store, rng = Store(tmp_path / "store"), random.Random(years)
    path = tmp_path / "shapes" / "a.xyz"
    path.parent.mkdir()
    seen = set()
    for number in range(20):
        path.write_text("".join(f"{rng.randrange(10)} {number % 10} {number // 10}\n" for _ in range(50)))
        os.utime(path, (1_000_000_000, 1_000_000_000))
        found: list[Entry] = entries(path.parent)
        seen.add(contents.content_digest(found, store=store, progress=Progress()))
        assert contents.content_digest(found, store=store, progress=Progress()) in seen
    assert len(seen) == 20
