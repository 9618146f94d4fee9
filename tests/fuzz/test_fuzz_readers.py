"""Readers survive damaged files: a result or an HdbenchError of one line, in bounded time and memory."""

import json
import subprocess
import sys
from pathlib import Path

import corpus
import pytest

FEW, MANY = 200, 20_000

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory and time are Linux's")


@pytest.mark.parametrize("kind", corpus.KINDS)
def test_a_few(kind, tmp_path):
    fuzz(kind, FEW, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", corpus.KINDS)
def test_many(kind, tmp_path):
    fuzz(kind, MANY, tmp_path)


def fuzz(kind: str, count: int, folder: Path) -> None:
    if kind == "hdf5":
        pytest.importorskip("h5py")
    script = Path(__file__).with_name("fuzzing.py")
    command = [sys.executable, str(script), kind, str(count), "0", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert ended.returncode == 0, f"died on {folder}/case.{kind}: {ended.stderr[-2000:]}"
    report = json.loads(ended.stdout.splitlines()[-1])
    assert not report["failures"], "\n".join([str(folder), *report["failures"]])
    assert report["read"] > count // 100, report
    assert report["refused"] > count // 100, report
