"""PVCNN2, the denoiser of PVD: a U-Net over point sets of falling size, with point-voxel convolutions.

Built as PVD's released code builds it, which is not what that code declares: of the three convolutions declared at
the second and third level down only one is made, and none of those on the way up gets the declared attention. The
released weights fit this network only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdbench.geometry.point_operations import (
    Interpolation,
    Voxels,
    ball_query,
    farthest_points,
    interpolate,
    three_nearest,
    voxelise,
)

from .layers import Attention, PVConv, SharedMLP

TIME_FEATURES = 64
SHARES = (2, 8, 32, 128)
"""Each level below the cloud keeps one point in so many: 1024, 256, 64 and 16 of 2,048."""
WAVES = (0.3, 3.0)
"""Radians per unit of the longest and the shortest wave: of shorter ones noise of deviation 1 leaves a hundredth."""
SPECTRUM_WIDTH = 256
POINTWISE_DEPTH = 4
MINIMUM_POINTS = 3 * SHARES[-1]
"""Points a cloud needs: interpolation takes three on the lowest level."""


@dataclass(frozen=True)
class Size:
    """What is chosen about a PVCNN2; the defaults are the paper's."""

    width: float = 1.0
    """Factor on the paper's widths; at least 0.25, since group normalisation wants 8 channels."""
    resolutions: tuple[int, int, int] = (32, 16, 8)
    """Nodes a side of the voxel grids of the cloud and the first two levels below; the third has the second's."""
    radii: tuple[float, float, float, float] = (0.1, 0.2, 0.4, 0.8)
    """Of the balls each level gathers its features from."""
    neighbours: int = 32
    """Points taken from a ball at most."""
    attention: bool = True
    dropout: float = 0.1
    last_skip: bool = False
    """Whether the last level up is given the points' coordinates, as the others are what was there on the way down.

    Without them a point's own place is known there through its neighbours and voxels only.
    """
    octaves: int = 0
    """Sines and cosines given beside the coordinates, of 1/2, 1, 2, … radians per unit."""
    point_width: float | None = None
    """Factor on the paper's widths of the point-wise networks between the cloud and the level below; `width` if None.

    They tell where the surface lies among the nearest points, and cost little beside convolutions of that width.
    """
    spectrum: int = 0
    """Waves whose means over the cloud, its empirical characteristic function, are told beside the time step.

    In much noise no point and no ball of points tells anything of the shape, but means over all points do.
    """
    pointwise: int = 0
    """Width of a network that sees each point alone and is told of the spectrum, whose prediction the rest corrects."""


class Level(NamedTuple):
    """Points of one level and how they hang together with the level above."""

    points: Tensor
    """(B, M, 3)."""
    balls: Tensor
    """(B, M, K): indices into the level above."""
    offsets: Tensor
    """(B, 3, M, K): what lies in the balls, relative to their centres."""
    upward: Interpolation
    """From this level to the one above."""


class SetAbstraction(nn.Module):
    """A small network on what lies in each ball, then the maximum over the ball (PointNet++)."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.mlps = nn.ModuleList([SharedMLP(inputs + 3, widths, dimensions=2)])

    def forward(self, features: Tensor, level: Level) -> Tensor:
        """Features (B, inputs, P) of the level above -> (B, widths[-1], M) of `level`."""
        slots = level.balls.flatten(1)[..., None]  # (B, M * K, 1)
        inside = interpolate(features, Interpolation(slots, torch.ones_like(slots, dtype=features.dtype)))
        grouped = torch.cat([level.offsets, inside.unflatten(2, level.balls.shape[1:])], dim=1)
        return self.mlps[0](grouped).amax(3)


class FeaturePropagation(nn.Module):
    """Features carried up a level and joined with what was there on the way down."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.mlp = SharedMLP(inputs, widths, dimensions=1)

    def forward(self, features: Tensor, time: Tensor, upward: Interpolation, skipped: Tensor) -> Tensor:
        """Features (B, C, M) of a level, of the time (B, T), and (B, D, P) of the level above -> (B, widths[-1], P).

        The time is the same at all points: interpolating it, as published code does, changes nothing.
        """
        return self.mlp(torch.cat([with_time(interpolate(features, upward), time), skipped], dim=1))


class PointDecoder(nn.Module):
    """Each point alone, its hidden layers scaled and shifted by what is told of the cloud, in the manner of DPC's."""

    def __init__(self, inputs: int, told: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(POINTWISE_DEPTH))
        self.told = nn.ModuleList(nn.Linear(told, 2 * width) for _ in range(POINTWISE_DEPTH))
        self.leave = nn.Linear(width, 3)

    def forward(self, features: Tensor, told: Tensor) -> Tensor:
        """Features (B, inputs, P) of points and (B, told) of their clouds -> a prediction (B, 3, P)."""
        hidden = self.enter(features.mT)
        for layer, modulation in zip(self.layers, self.told, strict=True):
            scale, shift = modulation(told)[:, None].chunk(2, dim=2)
            hidden = hidden + functional.silu(layer(hidden) * (1 + scale) + shift)
        predicted: Tensor = self.leave(hidden).mT
        return predicted


class PVCNN2(nn.Module):
    """Predicts noise (or data) from noisy points (B, 3, P) at time steps (B,); P is any number from 384 on."""

    frequencies: Tensor
    waves: Tensor
    """(spectrum, 3): radians per unit along each axis."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size

        def wide(*channels: int, factor: float = size.width) -> tuple[int, ...]:
            return tuple(int(factor * channel) for channel in channels)

        def convolution(inputs: int, width: int, *, attention: bool = False) -> PVConv:
            return PVConv(inputs, width, attention=attention, dropout=size.dropout)

        c32, c64, c128, c256, c512 = wide(32, 64, 128, 256, 512)
        p32, p64, p128 = wide(32, 64, 128, factor=size.point_width or size.width)
        encoded, time = 3 + 6 * size.octaves, TIME_FEATURES
        inputs = encoded + 3 * bool(size.pointwise)
        self.register_buffer("frequencies", 0.5 * 2.0 ** torch.arange(size.octaves), persistent=False)
        self.sa_layers = nn.ModuleList(
            [
                nn.Sequential(convolution(inputs, c32), convolution(c32, c32), SetAbstraction(c32, (p32, p64))),
                nn.Sequential(convolution(p64 + time, c64, attention=size.attention), SetAbstraction(c64, (c64, c128))),
                nn.Sequential(convolution(c128 + time, c128), SetAbstraction(c128, (c128, c256))),
                SetAbstraction(c256 + time, (c256, c256, c512)),
            ]
        )
        self.global_att = Attention(c512, dimensions=1) if size.attention else nn.Identity()
        propagations = [
            FeaturePropagation(c512 + time + c256, (c256, c256)),
            FeaturePropagation(c256 + time + c128, (c256, c256)),
            FeaturePropagation(c256 + time + p64, (c256, c128)),
            FeaturePropagation(c128 + time + inputs * size.last_skip, (p128, p128, c64)),
        ]
        convolved = [(c256, 3), (c256, 3), (c128, 2), (c64, 2)]
        self.fp_layers = nn.ModuleList(
            nn.Sequential(propagation, *(convolution(width, width) for _ in range(count)))
            for propagation, (width, count) in zip(propagations, convolved, strict=True)
        )
        self.classifier = nn.Sequential(
            SharedMLP(c64, (p128,), dimensions=1), nn.Dropout(size.dropout), nn.Conv1d(p128, 3, 1)
        )
        self.embedf = nn.Sequential(nn.Linear(time, time), nn.LeakyReLU(0.1), nn.Linear(time, time))
        if size.spectrum:
            self.register_buffer("waves", torch.zeros(size.spectrum, 3))
            widths = pairwise((time + 2 * size.spectrum, SPECTRUM_WIDTH, SPECTRUM_WIDTH, time))
            layers = [layer for inputs, outputs in widths for layer in (nn.Linear(inputs, outputs), nn.SiLU())]
            self.spectrum = nn.Sequential(*layers[:-1])
        if size.pointwise:
            self.pointwise = PointDecoder(encoded, SPECTRUM_WIDTH, size.pointwise)

    def forward(self, points: Tensor, steps: Tensor) -> Tensor:
        """Prediction (B, 3, P) from noisy points (B, 3, P) at time steps (B,) int64."""
        cloud = points.mT.contiguous()
        levels = hierarchy(cloud, radii=self.size.radii, neighbours=self.size.neighbours)
        places = [cloud, *(level.points for level in levels[:-1])]
        resolutions = (*self.size.resolutions, self.size.resolutions[-1])
        voxels = [voxelise(place, resolution) for place, resolution in zip(places, resolutions, strict=True)]
        told = time_features(steps)
        time, features = self.embedf(told), self.encode(points)
        expected = None
        if self.size.spectrum:
            seen = self.spectrum[:-1](torch.cat([told, self.means(points)], dim=1))
            time = time + self.spectrum[-1](seen)
            if self.size.pointwise:
                expected = self.pointwise(features, seen)
                features = torch.cat([features, expected], dim=1)

        skipped = []
        for index, (layers, level) in enumerate(zip(self.sa_layers, levels, strict=True)):
            skipped.append(features if index or self.size.last_skip else features[:, :0])
            if index:
                features = with_time(features, time)
            *convolutions, abstraction = layers.children() if isinstance(layers, nn.Sequential) else (layers,)
            features = abstraction(convolve(convolutions, features, voxels[index]), level)
        features = self.global_att(features)
        for index, layers in zip(reversed(range(len(levels))), self.fp_layers, strict=True):
            propagation, *convolutions = layers.children()
            features = propagation(features, time, levels[index].upward, skipped[index])
            features = convolve(convolutions, features, voxels[index])
        predicted: Tensor = self.classifier(features)
        return predicted if expected is None else expected + predicted

    def encode(self, points: Tensor) -> Tensor:
        """Coordinates (B, 3, P) with their sines and cosines, (B, 3 + 6 octaves, P)."""
        angles = (points[:, :, None] * self.frequencies[:, None]).flatten(1, 2)
        return torch.cat([points, angles.sin(), angles.cos()], dim=1)

    def means(self, points: Tensor) -> Tensor:
        """Means of all waves over clouds (B, 3, P), (B, 2 spectrum): of order 1 for noise alone, and compressed."""
        angles = self.waves @ points
        noise = (-0.5 * self.waves.square().sum(1)).exp()
        means = torch.cat([angles.sin().mean(2), angles.cos().mean(2) - noise], dim=1)
        return (means * points.shape[2] ** 0.5).asinh()

    def matrices(self) -> list[str]:
        """Names of the weights that Muon may move: all matrices but those of single points, the time alone and gates.

        What meets a point's own few numbers, or makes them, is too narrow for it, as the gates of grids are.
        """
        layers = [
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
        ]
        others = ("sa_layers.0.0.", "classifier.2", "embedf", "pointwise.enter", "pointwise.leave")
        return [f"{name}.weight" for name in layers if not name.startswith(others) and ".fc." not in name]

    def initialize(self, seed: int) -> None:
        """Fresh parameters as torch's layers draw theirs by default, from `seed` alone, and waves of any direction."""
        generator = torch.Generator().manual_seed(seed)
        if self.size.spectrum:
            directions = functional.normalize(torch.empty(self.waves.shape).normal_(generator=generator), dim=1)
            self.waves.copy_(directions * torch.linspace(*WAVES, self.size.spectrum)[:, None])
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
                reach = 1 / math.sqrt(module.weight[0].numel())
                for parameter in (module.weight, module.bias):
                    if parameter is not None:
                        parameter.data.copy_(torch.empty(parameter.shape).uniform_(-reach, reach, generator=generator))
            elif isinstance(module, nn.GroupNorm):
                module.reset_parameters()


def hierarchy(points: Tensor, *, radii: Sequence[float], neighbours: int) -> list[Level]:
    """The levels below each cloud of (B, P, 3): farthest points from index 0 on, their balls, and the way back up.

    Indices carry no gradient, and the coordinates need none. Farthest points are chosen on the CPU whatever the
    device: each hangs on the one before, and a kernel there outruns a thousand launches on a GPU.
    """
    levels = []
    size = points.shape[1]
    for share, radius in zip(SHARES, radii, strict=True):
        chosen = farthest_points(points.cpu(), size // share).to(points.device)
        centres = points.gather(1, chosen[..., None].expand(-1, -1, 3))
        balls = ball_query(centres, points, radius=radius, count=neighbours, boundary="open")
        inside = points.gather(1, balls.flatten(1)[..., None].expand(-1, -1, 3)).unflatten(1, balls.shape[1:])
        offsets = (inside - centres[:, :, None]).permute(0, 3, 1, 2)
        levels.append(Level(centres, balls, offsets, three_nearest(points, centres)))
        points = centres
    return levels


def multiplications(size: Size, points: int) -> float:
    """Multiplications in the convolutions and between the hidden layers of a forward pass over one cloud."""
    with torch.device("meta"):
        network = PVCNN2(size)
    counts = [points, *(points // share for share in SHARES)]
    resolutions = (*size.resolutions, size.resolutions[-1])
    stages = [*enumerate(network.sa_layers), *zip((3, 2, 1, 0), network.fp_layers, strict=True)]
    total = 0.0
    for level, stage in stages:
        for module in stage.modules():
            if isinstance(module, nn.Conv3d):
                total += module.weight.numel() * resolutions[level] ** 3
            elif isinstance(module, Attention):
                total += 2 * len(module.q.weight) * resolutions[level] ** 6
            elif isinstance(module, nn.Conv2d):
                total += module.weight.numel() * counts[level + 1] * size.neighbours
            elif isinstance(module, nn.Conv1d):
                total += module.weight.numel() * counts[level]
    return total + points * POINTWISE_DEPTH * size.pointwise**2


def convolve(convolutions: Sequence[nn.Module], features: Tensor, voxels: Voxels) -> Tensor:
    """Features (B, C, P) of points that lie in `voxels` after all point-voxel convolutions."""
    for convolution in convolutions:
        features = convolution(features, voxels)
    return features


def with_time(features: Tensor, time: Tensor) -> Tensor:
    """Features (B, C, P) with those of the time (B, T) at each point, (B, C + T, P)."""
    return torch.cat([features, time[:, :, None].expand(-1, -1, features.shape[2])], dim=1)


def time_features(steps: Tensor) -> Tensor:
    """Sines and cosines (B, 64) of the time steps (B,) at 32 frequencies, from 1 down to 1/10,000."""
    half = TIME_FEATURES // 2
    frequencies = torch.exp(torch.arange(half, device=steps.device) * (-math.log(10_000) / (half - 1)))
    angles = steps[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
