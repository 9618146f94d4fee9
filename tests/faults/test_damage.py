"""Stored files that were cut, changed or lost: made again, and never believed."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_harness import RUN, TALLY, Attempt, wait_until

from hdbench.store import MANIFEST


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def flip_a_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def overwrite_a_block(path: Path, rng: random.Random) -> None:
    """As a bad sector reads: zeros."""
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content if content != path.read_bytes() else content[:-1])


def lose(path: Path, rng: random.Random) -> None:
    path.unlink()


DAMAGE: tuple[Callable[[Path, random.Random], None], ...] = (cut, flip_a_bit, overwrite_a_block, lose)


@pytest.mark.parametrize("turn", range(8))
def test_damaged_artefacts_are_made_again(turn, reference, finished):
    """A file of every artefact, and a manifest: so each is asked for, as none that is made of it is there.

    Reports alone: of results made again there is another, and none is asked for of those that were.
    """
    rng = random.Random(turn)
    stages = (
        ["report"] if turn == 7 else sorted({p.parent.name for p in finished.store.glob("artefacts/*/*")} - {"report"})
    )
    artefacts = [folder for stage in stages for folder in sorted(finished.store.glob(f"artefacts/{stage}/*"))]
    for folder in artefacts:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
        victim = rng.choice([path for path in files if path.name != MANIFEST])
        how = rng.choice(DAMAGE)
        how(victim, rng)
        TALLY.others[f"a file of an artefact: {how.__name__.replace('_', ' ')}", "made again, the same bits"] += 1
    rng.choice(DAMAGE)(rng.choice(artefacts) / MANIFEST, rng)
    done = finished.hdbench(*RUN)
    assert done.returncode == 0, done.stderr
    reference.refuse_unfinished(finished)


@pytest.mark.parametrize("turn", range(3))
def test_a_damaged_run_folder_is_written_again(turn, reference, finished):
    rng = random.Random(turn)
    files = sorted(p for p in finished.run.rglob("*") if p.is_file() and p.stat().st_size and p.name != "plan.json")
    for victim in rng.sample(files, 8):
        rng.choice(DAMAGE)(victim, rng)
        TALLY.others["a file of a run's folder: any of these", "written again, the same bits"] += 1
    done = finished.hdbench(*RUN)
    assert done.returncode == 0, done.stderr
    reference.refuse_unfinished(finished)


UNFINISHED = ("fields/*/fields/*.safetensors", "model/*/scratch/training.safetensors", "samples/*/parts/*.npz")


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("kind", UNFINISHED)
def test_damaged_unfinished_work_is_done_again(kind, how, reference, empty):
    """Killed as soon as there is something to go on from, which is then damaged."""
    pattern, rng = f"workspaces/{kind}", random.Random(f"{kind} {how.__name__}")
    for _ in range(20):
        attempt = Attempt(empty, RUN)
        wait_until(lambda attempt=attempt: attempt.has_ended or [*empty.store.glob(pattern)], pause=0.001)
        if not attempt.has_ended:
            os.killpg(attempt.process.pid, signal.SIGKILL)
        attempt.end()
        victims = sorted(empty.store.glob(pattern))
        if victims:
            break
        shutil.rmtree(empty.store)  # it was too quick: once more
    assert victims
    how(rng.choice(victims), rng)
    done = empty.hdbench(*RUN)
    assert done.returncode == 0, done.stderr
    reference.refuse_unfinished(empty)
    TALLY.others["a file of unfinished work: any of these", "done again, the same bits"] += 1
