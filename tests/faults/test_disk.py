"""Disks that are full or read-only: one line, nothing lost, and the same command ends once that is mended."""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fault_harness import RUN, TALLY, Home, wait_until


class Disk:
    """A file system of its own at a folder, seen by nobody else: a mount namespace, held by a sleeping process."""

    def __init__(self, folder: Path, mount: str) -> None:
        self.folder = folder
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self.entrance = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        script = f"{mount} && echo mounted && exec cat"
        self.holder = subprocess.Popen(
            ["unshare", *own, "--mount", "sh", "-c", script, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.holder.stdout.readline() != "mounted\n":
            _, complaints = self.holder.communicate()
            pytest.skip(f"no file system can be mounted here: {complaints.strip()}")

    @property
    def home(self) -> Home:
        """The folder, as those see it who are inside."""
        return Home(Path(f"/proc/{self.holder.pid}/root{self.folder}"))

    def inside(self, *command: str) -> list[str]:
        """A command that sees this disk."""
        return ["nsenter", f"--target={self.holder.pid}", "--mount", *self.entrance, "--", *command]

    def mount(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Mount once more."""
        return subprocess.run(self.inside("mount", *arguments), capture_output=True, text=True)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `hdbench` in the folder."""
        home = Home(self.folder)
        command = self.inside("sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *home.command(*arguments))
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=home.environment(), stdout=pipe, stderr=pipe, text=True)

    def hdbench(self, *arguments: str) -> tuple[int, str]:
        """Run `hdbench` in the folder; exit code and standard error."""
        process = self.start(*arguments)
        _, complaints = process.communicate(timeout=600)
        return process.returncode, complaints


@contextmanager
def disk(folder: Path, mount: str) -> Iterator[Disk]:
    made = Disk(folder, mount)
    try:
        yield made
    finally:
        made.holder.communicate()


def complains(ended: tuple[int, str], reason: str) -> bool:
    """Whether a command ended with exit code 2 and one line that holds `reason`."""
    code, complaints = ended
    return (
        code == 2 and complaints.startswith("hdbench: ") and len(complaints.splitlines()) == 1 and reason in complaints
    )


FULL = "No space left on device"


@pytest.mark.parametrize("turn", range(2))
def test_a_disk_that_is_full_again_and_again(turn, reference, undisturbed, empty):
    """It grows a little each time, so that it is full at as many places."""
    used = sum(path.stat().st_blocks * 512 for path in undisturbed[0].folder.rglob("*"))
    sizes = sorted(random.Random(turn).uniform(0, 1) * used for _ in range(10))
    with disk(empty.folder, 'mount -t tmpfs -o size=64k none "$1"') as here:
        for size in sizes:
            grown = here.mount("-o", f"remount,size={round(size) // 4096 * 4 + 64}k", str(empty.folder))
            assert grown.returncode == 0, grown.stderr
            ended = here.hdbench(*RUN)
            assert complains(ended, FULL), ended
            reference.refuse_wrong(here.home)
            TALLY.others["the disk is full", "one line, exit code 2; the same command goes on"] += 1
        here.mount("-o", "remount,size=1g", str(empty.folder))
        assert here.hdbench(*RUN) == (0, "")
        reference.refuse_unfinished(here.home)


def fill(path: Path) -> None:
    """Write to `path` until there is no room left."""
    with path.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


def test_scores_on_a_full_disk_stay_as_they_were(empty):
    rng = np.random.default_rng(0)
    for name in ("samples", "reference"):
        np.save(empty.folder.parent / f"{name}.npy", rng.normal(size=(8, 2048, 3)).astype(np.float32))
    command = [
        "evaluate",
        "../samples.npy",
        "--reference",
        "../reference.npy",
        "--metrics",
        "cd",
        "--json",
        "scores.json",
    ]
    command.append("--quiet")
    with disk(empty.folder, 'mount -t tmpfs -o size=1m none "$1"') as here:
        assert here.hdbench(*command) == (0, "")
        before = {path.name: path.read_bytes() for path in here.home.folder.iterdir()}
        with pytest.raises(OSError, match=FULL):
            fill(here.home.folder / "filler")
        ended = here.hdbench(*command, "--seed", "1")
        assert complains(ended, FULL), ended
        (here.home.folder / "filler").unlink()
        assert {path.name: path.read_bytes() for path in here.home.folder.iterdir()} == before
    assert json.loads(before["scores.json"])["scores"]
    TALLY.others["the disk is full when scores are written", "one line; the old scores stay whole"] += 1


READ_ONLY = 'mount --bind "$1/{0}" "$1/{0}" && mount -o remount,ro,bind "$1/{0}"'


def test_a_finished_run_needs_no_writing_in_the_store(reference, finished):
    with disk(finished.folder, READ_ONLY.format("store")) as here:
        assert here.hdbench(*RUN) == (0, "")
        reference.refuse_unfinished(here.home)
    TALLY.others["the store is read-only, and has all", "the run ends, the same bits"] += 1


@pytest.mark.parametrize("lacking", ["prepare", "fields", "model", "samples", "scores", "report"])
def test_a_read_only_store_that_lacks_something(lacking, reference, finished):
    (finished.store / "artefacts" / lacking).rename(finished.folder / "kept")
    if lacking == "fields":
        (finished.store / "artefacts" / "model").rename(finished.folder / "kept too")
    with disk(finished.folder, READ_ONLY.format("store")) as here:
        ended = here.hdbench(*RUN)
        assert complains(ended, "Read-only file system"), ended
        reference.refuse_wrong(here.home)
    assert finished.hdbench(*RUN).returncode == 0
    TALLY.others["the store is read-only, and lacks something", "one line, exit code 2; the same command goes on"] += 1


def test_a_run_folder_that_is_read_only(reference, finished):
    with disk(finished.folder, READ_ONLY.format("run")) as here:
        ended = here.hdbench(*RUN)
        assert complains(ended, "Read-only file system"), ended
    reference.refuse_unfinished(finished)
    TALLY.others["the run's folder is read-only", "one line, exit code 2; it stays as it was"] += 1


@pytest.mark.parametrize("turn", range(6))
def test_a_disk_that_becomes_read_only_on_the_way(turn, reference, empty):
    """As the kernel makes it after an error: between two writes, at a random moment."""
    with disk(empty.folder, 'mount -t tmpfs none "$1"') as here:
        process = here.start(*RUN)
        wait_until(lambda: here.home.store.exists() or process.poll() is not None)
        time.sleep(random.Random(turn).uniform(0, 0.6 * reference.duration))
        wait_until(lambda: here.mount("-o", "remount,ro", str(empty.folder)).returncode == 0, pause=0.001)
        _, complaints = process.communicate(timeout=600)
        if reference.reached(here.home) == len(reference.stages):
            pytest.skip("some file was open for writing until the run's end, and as long Linux keeps a disk writable")
        assert complains((process.returncode, complaints), "Read-only file system"), complaints
        here.mount("-o", "remount,rw", str(empty.folder))
        reference.refuse_wrong(here.home)
        assert here.hdbench(*RUN) == (0, "")
        reference.refuse_unfinished(here.home)
    TALLY.others["the disk becomes read-only on the way", "one line, exit code 2; the same command goes on"] += 1
