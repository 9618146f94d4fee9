"""Where numbers came from: versions, machine, seeds, command. Never the environment, which may hold secrets."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hdbench.execution import cpu_count
from hdbench.redaction import redacted
from hdbench.results import Provenance
from hdbench.text import as_utf8
from hdbench.version import __version__

PACKAGES = (
    "torch",
    "numpy",
    "numba",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "trimesh",
    "manifold3d",
    "point-cloud-utils",
)


def provenance(seeds: Sequence[int]) -> Provenance:
    """The provenance of what this process computes with `seeds`."""
    return Provenance(
        hdbench=__version__,
        git=_git(),
        packages={name: package_version(name) for name in PACKAGES},
        machine=machine(),
        seeds=list(seeds),
        command=as_utf8(redacted(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))),
    )


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system and Python of this machine."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": cpu_count(),
        "memory_bytes": _memory(),
    }


def _git() -> dict[str, Any] | None:
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_output("git", "-C", str(folder), "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def package_version(package: str) -> str:
    """The installed version of `package`, or "not installed"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
