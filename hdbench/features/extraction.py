"""What a trained PointNet++ extracts from clouds.

Features of different extractors are different quantities: every signature names the extractor and its hash.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from hdbench.errors import HdbenchError
from hdbench.features.pointnet2 import FEATURES, PointNet2
from hdbench.progress import Progress
from hdbench.shapes import Float32


@dataclass(frozen=True, eq=False)
class Extractor:
    """A PointNet++ with the name its features go by."""

    name: str
    network: PointNet2 = field(repr=False)
    """In evaluation mode."""
    sha256: str
    """Of the weights' file."""
    info: Mapping[str, Any] = field(repr=False)
    """Classes, origin and accuracy, as in the JSON beside the weights."""

    @property
    def signature(self) -> str:
        """Name and hash: what decides a feature beside the points."""
        return signature_of(self.name, self.sha256)


def extract_features(points: Float32, extractor: Extractor, *, device: str = "cpu", progress: Progress) -> Float32:
    """The 256 features of each cloud, (N, P, 3) finite points to (N, 256) float32.

    Farthest points start at index 0 of each cloud. On one machine and device a cloud's features are the same bits
    whatever the other clouds, the batch or the number of threads.
    """
    network = extractor.network.to(device)
    features = np.empty((len(points), FEATURES), np.float32)
    with torch.inference_mode(), one_thread(), progress.task("features", len(points)) as task:
        for index, cloud in enumerate(points):
            features[index] = network(torch.from_numpy(np.ascontiguousarray(cloud))[None].to(device)).features.cpu()[0]
            task.advance()
    return features


def signature_of(name: str, sha256: str) -> str:
    """The signature of the extractor called `name` with weights of this hash."""
    return f"{name}@{sha256[:12]}"


def network_of(state: Mapping[str, Any], where: str) -> PointNet2:
    """The network with the tensors `state`, in evaluation mode; HdbenchError, which names `where`, when they misfit."""
    last = state.get("fc3.weight")
    network = PointNet2(len(last) if isinstance(last, Tensor) and last.ndim == 2 else 40)
    expected = network.state_dict()
    wrong = sorted(expected.keys() ^ state.keys()) or sorted(
        key for key, value in expected.items() if not isinstance(state[key], Tensor) or state[key].shape != value.shape
    )
    if wrong:
        raise HdbenchError(f"{where} is no PointNet++ (single-scale) classifier: tensor {wrong[0]!r} does not fit.")
    network.load_state_dict(dict(state))  # half precision is widened as it is copied
    return network.eval().requires_grad_(False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products on one thread: how they are cut among several could show in the last bit."""
    numba.get_num_threads()  # starts its threads: done later, by its first kernel, that would set torch's number too
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
