"""PointNet++ with single-scale grouping, the classifier whose 256 features FPD compares.

Source: Qi et al., PointNet++ (NeurIPS 2017), in the layout of its common torch port, so that the released ModelNet40
weights load key by key. HyperDiffusion reads the activations after the second fully connected layer.

A ball's left-over slots repeat its first hit, and a maximum does not see repetitions; so only distinct neighbours
are computed here. On clouds of unit deviation, where balls are sparse, that is a small part of the published work.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdbench.geometry.point_operations import ball_query, farthest_points, group_maximum

FEATURES = 256
DROPOUT = 0.4


class Output(NamedTuple):
    """What the classifier makes of N clouds."""

    log_probabilities: Tensor
    """(N, classes)."""
    global_feature: Tensor
    """(N, 1024): the maximum over the last set abstraction."""
    features: Tensor
    """(N, 256): after the second fully connected layer, its normalisation and ReLU; what FPD compares."""


class Groups(NamedTuple):
    """Balls around chosen points, over the rows of all clouds of a batch."""

    centres: Tensor
    """(M,) rows of the centres."""
    members: Tensor
    """(R,) rows of the balls' distinct members, ball after ball."""
    sizes: Tensor
    """(M,) members of each ball; they sum to R."""


class SetAbstraction(nn.Module):
    """A small network on each neighbour of each group, then the maximum over the group."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        sizes = (inputs, *widths)
        layers = list(pairwise(sizes))
        self.mlp_convs = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in layers)
        self.mlp_bns = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)

    def forward(self, rows: Tensor, sizes: Tensor) -> Tensor:
        """Rows (R, inputs) of groups of the given sizes (M,) to (M, widths[-1])."""
        for convolution, normalisation in zip(self.mlp_convs, self.mlp_bns, strict=True):
            assert isinstance(convolution, nn.Conv2d)
            rows = functional.linear(rows, convolution.weight.flatten(1), convolution.bias)
            rows = functional.relu(normalisation(rows))
        return group_maximum(rows, sizes)


class PointNet2(nn.Module):
    """The classifier. In evaluation mode its output for a cloud depends on nothing but that cloud's points."""

    def __init__(self, classes: int = 40) -> None:
        super().__init__()
        self.sa1 = SetAbstraction(3, (64, 64, 128))
        self.sa2 = SetAbstraction(3 + 128, (128, 128, 256))
        self.sa3 = SetAbstraction(3 + 256, (256, 512, 1024))
        self.fc1 = nn.Linear(1024, 512)
        self.bn1 = nn.BatchNorm1d(512)
        self.fc2 = nn.Linear(512, FEATURES)
        self.bn2 = nn.BatchNorm1d(FEATURES)
        self.fc3 = nn.Linear(FEATURES, classes)

    def forward(self, points: Tensor) -> Output:
        """Classify clouds (N, P, 3)."""
        clouds = len(points)
        first = group(points, centres=512, radius=0.2, count=32)
        rows = points.flatten(0, 1)
        centres = rows[first.centres]
        features = self.sa1(_relative(rows, first), first.sizes)

        second = group(centres.unflatten(0, (clouds, -1)), centres=128, radius=0.4, count=64)
        features = torch.cat([_relative(centres, second), features[second.members]], dim=1)
        centres = centres[second.centres]
        features = self.sa2(features, second.sizes)

        # The last stage groups everything, in absolute coordinates.
        everything = torch.full((clouds,), len(centres) // clouds, device=points.device)
        global_feature = self.sa3(torch.cat([centres, features], dim=1), everything)

        hidden = functional.relu(self.bn1(self.fc1(global_feature)))
        hidden = functional.dropout(hidden, DROPOUT, self.training)
        features = functional.relu(self.bn2(self.fc2(hidden)))
        logits = self.fc3(functional.dropout(features, DROPOUT, self.training))
        return Output(functional.log_softmax(logits, dim=1), global_feature, features)


def group(points: Tensor, *, centres: int, radius: float, count: int) -> Groups:
    """Balls around farthest points (from index 0 on) of each cloud of (N, P, 3), at most `count` members each.

    Neighbours are found on the CPU whatever the device: its kernels outrun the many small launches of a GPU, and
    the indices are the same everywhere.
    """
    clouds = points.detach().cpu()
    chosen = farthest_points(clouds, centres)  # (N, M)
    places = clouds.gather(1, chosen[..., None].expand(-1, -1, 3))
    balls = ball_query(places, clouds, radius=radius, count=count)  # (N, M, count)
    distinct = balls > balls[..., :1]  # indices ascend; what is left over repeats the first
    distinct[..., 0] = True
    offsets = torch.arange(len(clouds)) * clouds.shape[1]
    members = (balls + offsets[:, None, None])[distinct]
    found = (chosen + offsets[:, None]).flatten(), members, distinct.sum(-1).flatten()
    return Groups(*(indices.to(points.device) for indices in found))


def _relative(rows: Tensor, groups: Groups) -> Tensor:
    """Coordinates of all members, relative to the centre of their ball, (R, 3)."""
    return rows[groups.members] - rows[groups.centres].repeat_interleave(groups.sizes, dim=0)
