"""Is this installation sound? Each check does the thing itself and compares it with plain arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from hdbench.provenance import PACKAGES, machine, package_version
from hdbench.seeds import generator


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    name: str
    healthy: bool
    detail: str


def diagnose() -> list[Finding]:
    """Run every check; one that raises is a finding, not the end."""
    checks: dict[str, Callable[[], str]] = {
        "packages": _packages,
        "machine": _machine,
        "device": _device,
        "Chamfer kernel": _chamfer,
        "pytorch3d": _pytorch3d,
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


def _clouds() -> tuple[np.ndarray, np.ndarray]:
    rng = generator(0, "doctor")
    return rng.standard_normal((300, 3)).astype(np.float32), rng.standard_normal((301, 3)).astype(np.float32)


def _plain_cd_sq(a: np.ndarray, b: np.ndarray) -> float:
    squared = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1)
    return float(squared.min(1).mean() + squared.min(0).mean())


def _agree(value: float, expected: float, tolerance: float) -> str:
    deviation = abs(value - expected) / expected
    if not deviation <= tolerance:
        raise ArithmeticError(f"{value!r} differs from plain arithmetic's {expected!r}")
    return f"agrees with plain arithmetic to {deviation:.0e}"


def _chamfer() -> str:
    from hdbench.distances.chamfer import cd_sq

    a, b = _clouds()
    return _agree(cd_sq(a, b), _plain_cd_sq(a, b), 1e-6)


def _pytorch3d() -> str:
    if find_spec("pytorch3d") is None:
        return "not installed (optional)"
    import torch
    from pytorch3d.loss import chamfer_distance

    a, b = _clouds()
    value, _ = chamfer_distance(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    return _agree(float(value), _plain_cd_sq(a, b), 1e-5)


def _occupancy() -> str:
    import trimesh

    from hdbench.geometry.occupancy import occupancy
    from hdbench.shapes import Mesh

    box = trimesh.creation.box((1, 1, 1))
    points = generator(0, "doctor", "occupancy").uniform(-1, 1, (2000, 3)).astype(np.float32)
    if not np.array_equal(occupancy(Mesh(box.vertices, box.faces), points), (np.abs(points) < 0.5).all(1)):
        raise ArithmeticError("points inside a box are told apart wrongly")
    return "2,000 points of a box told apart"


def _pictures() -> str:
    import trimesh

    from hdbench.geometry.rendering import render
    from hdbench.shapes import Mesh

    ball = trimesh.creation.icosphere(2)
    if not render(Mesh(ball.vertices, ball.faces), size=64).std() > 1:
        raise RuntimeError("a picture of a ball came out blank")
    return "drawn off screen"


def _store() -> str:
    from hdbench.store import Store, write_atomic

    root = Store().root
    write_atomic(root / "doctor", "written")
    (root / "doctor").unlink()
    return f"{root} can be written"


def _methods() -> str:
    from hdbench.method import methods

    return ", ".join(methods())
