"""The parts PVCNN2 is built of: point-wise networks, attention, and convolution in points and voxels at once.

Point-Voxel CNN (Liu et al. 2019) as PVD (Zhou et al. 2021) uses it. Module and parameter names are those of the
released checkpoints (below their `model.module.` prefix), so that their tensors load one to one.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from hdbench.geometry.point_operations import Voxels, average_into_voxels, devoxelise

from ..convolution import Conv3d

GROUPS = 8
"""Groups of every group normalisation; widths are multiples of it."""

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class SharedMLP(nn.Module):
    """The same small network at each place: features (B, C, …) with `dimensions` trailing axes."""

    def __init__(self, inputs: int, widths: tuple[int, ...], *, dimensions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((inputs, *widths)):
            layers += [_CONVOLUTIONS[dimensions](before, after, 1), nn.GroupNorm(GROUPS, after), nn.SiLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, …) -> (B, widths[-1], …)."""
        transformed: Tensor = self.layers(features)
        return transformed


class Attention(nn.Module):
    """Self-attention of one head between all places, its logits not scaled by the width as is common."""

    def __init__(self, width: int, *, dimensions: int) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[dimensions]
        self.q = convolution(width, width, 1)
        self.k = convolution(width, width, 1)
        self.v = convolution(width, width, 1)
        self.out = convolution(width, width, 1)
        self.norm = nn.GroupNorm(GROUPS, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, …) -> the same shape."""
        query, key, value = (
            layer(features).flatten(2).mT.contiguous()[:, None]  # (B, 1, places, C): so torch keeps no logits
            for layer in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        mixed = mixed[:, 0].mT.reshape(features.shape)
        return functional.silu(self.norm(features + self.out(mixed)))


class ChannelGate(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): channels of a grid, weighed by what all of them hold on average."""

    def __init__(self, width: int, reduction: int = 8) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(width, width // reduction, bias=False),
            nn.ReLU(),
            nn.Linear(width // reduction, width, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, R, R, R) -> the same shape."""
        gated: Tensor = grid * self.fc(grid.mean((2, 3, 4)))[:, :, None, None, None]
        return gated


class PVConv(nn.Module):
    """Point-voxel convolution: a coarse branch that convolves a grid, a fine one that sees each point alone."""

    def __init__(self, inputs: int, width: int, *, attention: bool, dropout: float) -> None:
        super().__init__()
        self.voxel_layers = nn.Sequential(
            Conv3d(inputs, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Dropout(dropout),
            Conv3d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            Attention(width, dimensions=3) if attention else nn.SiLU(),
            ChannelGate(width),
        )
        self.point_features = SharedMLP(inputs, (width,), dimensions=1)

    def forward(self, features: Tensor, voxels: Voxels) -> Tensor:
        """Features (B, inputs, P) of points that lie in `voxels` -> (B, width, P)."""
        grid = self.voxel_layers(average_into_voxels(features, voxels))
        convolved: Tensor = devoxelise(grid, voxels) + self.point_features(features)
        return convolved
