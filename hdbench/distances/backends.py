"""Which code computes a Chamfer matrix: numba on CPU, Triton or torch on a GPU, or pytorch3d where it is installed.

All agree with plain float64 arithmetic to 1e-6 relative, `cross_check` measures it. One back end gives the same bits
every time; two back ends may differ in the last ones, so a value's provenance names the one that made it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from hdbench.errors import HdbenchError, unknown_name
from hdbench.progress import Progress
from hdbench.seeds import generator

if TYPE_CHECKING:
    from hdbench.distances.torch_chamfer import Nearest

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class ChamferMatrix(Protocol):
    """All Chamfer distances of two sets; arguments as for `hdbench.distances.chamfer.cd_sq_matrix`."""

    def __call__(self, a: Float32, b: Float32 | None = None, *, progress: Progress | None = None) -> Float64:
        """(N, M) float64; `b` None compares `a` with itself."""
        ...


@dataclass(frozen=True)
class Backend:
    """One way of computing Chamfer matrices, on one device."""

    name: str
    device: str
    cd_sq_matrix: ChamferMatrix
    cd_l2_matrix: ChamferMatrix


def choose_backend(name: str = "auto", *, device: str = "cpu", workers: int | None = None) -> Backend:
    """The back end called `name`, on `device`.

    Args:
        name: `numba`, `torch`, `triton`, `pytorch3d`, or `auto`: numba on CPU; on CUDA Triton where it is installed,
            else torch.
        device: A torch device. numba computes on CPU whatever it says.
        workers: Threads of the numba back end; None is one per core.

    Raises:
        HdbenchError: For an unknown name, a package that is not installed, or a device the back end cannot use.
    """
    if name == "auto":
        name = _automatic(device)
    if name not in BACKENDS:
        raise unknown_name("distance back end", name, ["auto", *BACKENDS])
    return BACKENDS[name](device, workers)


def cross_check(backend: Backend) -> float:
    """The largest relative deviation of `backend` from plain float64 arithmetic, on sets that ask everything of it.

    Clouds and sequences, unequal sets and point counts, squared and Euclidean, far from the origin. Sound is 1e-6.
    """
    rng = generator(0, "distances", "cross-check")
    a, b = (rng.normal(3.0, 0.5, shape).astype(np.float32) for shape in ((3, 2, 70, 3), (2, 2, 101, 3)))
    squared, euclidean = _plain_matrices(a, b)
    pairs = [(backend.cd_sq_matrix(a, b), squared.mean(-1)), (backend.cd_l2_matrix(a, b), euclidean.mean(-1))]
    pairs += [(backend.cd_sq_matrix(a[:, 0], b[:, 0]), squared[..., 0])]
    return max(float(np.max(np.abs(value / expected - 1))) for value, expected in pairs)


def _plain_matrices(a: Float32, b: Float32) -> tuple[Float64, Float64]:
    """`cd_sq` and `cd_l2` of every pair and frame, (N, M, T), from all differences at once."""
    differences = a[:, None, :, :, None].astype(np.float64) - b[None, :, :, None]
    squared = (differences**2).sum(-1)  # (N, M, T, P, Q)
    forward, backward = squared.min(-1), squared.min(-2)
    return forward.mean(-1) + backward.mean(-1), np.sqrt(forward).mean(-1) + np.sqrt(backward).mean(-1)


def _automatic(device: str) -> str:
    if device == "cpu":
        return "numba"
    return "triton" if find_spec("triton") else "torch"


def _numba(device: str, workers: int | None) -> Backend:
    from hdbench.distances import chamfer

    return Backend(
        "numba", "cpu", partial(chamfer.cd_sq_matrix, workers=workers), partial(chamfer.cd_l2_matrix, workers=workers)
    )


def _torch(device: str, workers: int | None) -> Backend:
    from hdbench.distances.torch_chamfer import nearest_squared

    return _on_tensors("torch", device, nearest_squared)


def _triton(device: str, workers: int | None) -> Backend:
    _require("triton", "pip install triton")
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise HdbenchError("The triton back end needs a CUDA device; choose --device cuda, or --backend numba on CPU.")
    from hdbench.distances.triton_chamfer import nearest_squared

    return _on_tensors("triton", device, nearest_squared)


def _pytorch3d(device: str, workers: int | None) -> Backend:
    _require("pytorch3d", 'pip install --no-build-isolation "git+https://github.com/facebookresearch/pytorch3d.git"')
    from pytorch3d.ops import knn_points  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return _on_tensors(
        "pytorch3d", device, lambda x, y: (knn_points(x, y).dists[..., 0], knn_points(y, x).dists[..., 0])
    )


def _on_tensors(name: str, device: str, nearest: "Nearest") -> Backend:
    import torch

    from hdbench.distances.torch_chamfer import chamfer_matrix

    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise HdbenchError(f"The {name} back end was asked for {device}, but torch sees no CUDA device; say cpu.")
    squared = partial(chamfer_matrix, root=False, nearest=nearest, device=device)
    return Backend(name, device, squared, partial(chamfer_matrix, root=True, nearest=nearest, device=device))


def _require(package: str, install: str) -> None:
    if find_spec(package) is None:
        raise HdbenchError(f"The {package} back end needs the package {package}, which is not here: {install}")


BACKENDS: dict[str, Callable[[str, int | None], Backend]] = {
    "numba": _numba,
    "torch": _torch,
    "triton": _triton,
    "pytorch3d": _pytorch3d,
}
"""Every back end by name, as a function of the device and the number of threads."""
