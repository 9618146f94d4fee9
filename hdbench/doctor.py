"""Is this installation sound? Each check does the thing itself and compares it with plain arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from hdbench.errors import HdbenchError
from hdbench.interrupts import interrupts_deferred
from hdbench.provenance import PACKAGES, machine, package_version
from hdbench.seeds import generator

LARGEST_DEVIATION = 1e-6
"""What a sound distance may differ from float64 arithmetic, relative."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    healthy: bool
    detail: str


def diagnose() -> list[Finding]:
    """Run every check; one that raises is a finding, not the end."""
    from hdbench.distances.backends import BACKENDS

    checks: dict[str, Callable[[], str]] = {
        "packages": _packages,
        "machine": _machine,
        "device": _device,
        **{f"distances: {name}": partial(_distances, name) for name in BACKENDS},
        "occupancy": _occupancy,
        "pictures": _pictures,
        "store": _store,
        "methods": _methods,
    }
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except Exception as error:  # whatever is wrong with the installation is what the user asked to see
        return Finding(name, False, f"{type(error).__name__}: {error}")


def _packages() -> str:
    return ", ".join(f"{name} {package_version(name)}" for name in PACKAGES)


def _machine() -> str:
    return ", ".join(f"{name} {value}" for name, value in machine().items())


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu (no CUDA device)"


def _distances(name: str) -> str:
    from hdbench.distances.backends import choose_backend, cross_check

    try:
        backend = choose_backend(name, device=_torch_device())
    except HdbenchError as error:
        return f"not usable here: {error}"
    deviation = cross_check(backend)
    if not deviation <= LARGEST_DEVIATION:
        raise ArithmeticError(f"differs from plain arithmetic by {deviation:.1e}")
    return f"on {backend.device} agrees with plain arithmetic to {deviation:.0e}"


def _torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _occupancy() -> str:
    with interrupts_deferred():
        import trimesh

    from hdbench.geometry.occupancy import occupancy
    from hdbench.shapes import Mesh

    box = trimesh.creation.box((1, 1, 1))
    points = generator(0, "doctor", "occupancy").uniform(-1, 1, (2000, 3)).astype(np.float32)
    if not np.array_equal(occupancy(Mesh(box.vertices, box.faces), points), (np.abs(points) < 0.5).all(1)):
        raise ArithmeticError("points inside a box are told apart wrongly")
    return "2,000 points of a box told apart"


def _pictures() -> str:
    with interrupts_deferred():
        import trimesh

    from hdbench.geometry.rendering import render
    from hdbench.shapes import Mesh

    ball = trimesh.creation.icosphere(2)
    if not render(Mesh(ball.vertices, ball.faces), size=64).std() > 1:
        raise RuntimeError("a picture of a ball came out blank")
    return "drawn off screen"


def _store() -> str:
    from hdbench.store import Store, write_atomic

    store = Store()
    write_atomic(store.root / "doctor", "written")
    (store.root / "doctor").unlink()
    behind = f", and {store.remote} behind it" if store.remote else ""  # which would have been refused
    return f"{store.root} can be written{behind}"


def _methods() -> str:
    from hdbench.method import broken_methods, methods

    if broken := broken_methods():
        raise ImportError("; ".join(broken.values()))
    return ", ".join(methods())
