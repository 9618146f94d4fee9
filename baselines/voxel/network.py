"""The denoiser of voxel diffusion: a 3D U-Net with residual blocks and self-attention.

Architecture after Dhariwal and Nichol 2021 (guided diffusion) in the form HyperDiffusion's voxel baseline takes it from
latent diffusion (Rombach et al. 2022). Module and parameter names are those of the original, so that a state dict of
it loads one to one.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..convolution import Conv3d
from .recipe import NetworkRecipe
from .window import Edges

LONGEST_PERIOD = 10_000.0


def sinusoids(steps: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of the time steps (B,) at width / 2 frequencies from 1 down to 1 / 10,000: (B, width)."""
    half = width // 2
    frequencies = torch.exp(-math.log(LONGEST_PERIOD) * torch.arange(half, dtype=torch.float32) / half)
    angles = steps.to(torch.float32)[:, None] * frequencies.to(steps.device)
    return torch.cat([angles.cos(), angles.sin()], 1)


class Resample(nn.Module):
    """Halves or doubles a grid (B, C, X, Y, Z) without parameters: by block means, or by repetition."""

    def __init__(self, factors: tuple[int, int, int], *, up: bool) -> None:
        super().__init__()
        self.factors, self.up = factors, up

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> each axis times or divided by its factor."""
        if self.up:
            return functional.interpolate(x, scale_factor=[float(factor) for factor in self.factors], mode="nearest")
        return functional.avg_pool3d(x, self.factors, self.factors)


class Downsample(nn.Module):
    """A convolution with a stride."""

    def __init__(self, channels: int, factors: tuple[int, int, int]) -> None:
        super().__init__()
        self.op = nn.Conv3d(channels, channels, 3, stride=factors, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> each axis divided by its factor, rounded up."""
        halved: Tensor = self.op(x)
        return halved


class Upsample(nn.Module):
    """Repetition, then a convolution."""

    def __init__(self, channels: int, factors: tuple[int, int, int]) -> None:
        super().__init__()
        self.repeat = Resample(factors, up=True)
        self.conv = Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> each axis times its factor."""
        doubled: Tensor = self.conv(self.repeat(x))
        return doubled


class ResidualBlock(nn.Module):
    """Two convolutions, told the time step in between: by a shift, or by a scale and a shift of the second norm."""

    def __init__(self, inputs: int, outputs: int, size: NetworkRecipe, resample: Resample | None = None) -> None:
        super().__init__()
        self.scales = size.scale_and_shift
        self.resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(size.groups, inputs), nn.SiLU(), Conv3d(inputs, outputs, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * size.width, outputs * (2 if self.scales else 1)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(size.groups, outputs),
            nn.SiLU(),
            nn.Dropout(size.dropout),
            Conv3d(outputs, outputs, 3, padding=1),
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Grid (B, inputs, X, Y, Z) and embedding (B, 4 * width) -> (B, outputs, X', Y', Z')."""
        hidden = self.in_layers[:-1](x)
        if self.resample is not None:
            hidden, x = self.resample(hidden), self.resample(x)
        hidden = self.in_layers[-1](hidden)
        told = self.emb_layers(embedding)[:, :, None, None, None]
        if self.scales:
            scale, shift = told.chunk(2, 1)
            hidden = self.out_layers[1:](self.out_layers[0](hidden) * (1 + scale) + shift)
        else:
            hidden = self.out_layers(hidden + told)
        mixed: Tensor = self.skip_connection(x) + hidden
        return mixed


class Attention(nn.Module):
    """Multi-head self-attention over all cells of a grid."""

    def __init__(self, channels: int, size: NetworkRecipe) -> None:
        super().__init__()
        self.heads = size.heads_at(channels)
        self.norm = nn.GroupNorm(size.groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> the same shape."""
        cells = x.flatten(2)  # (B, C, cells)
        heads = self.qkv(self.norm(cells)).unflatten(1, (self.heads, -1))  # (B, heads, 3 C / heads, cells)
        query, key, value = (part.transpose(2, 3).contiguous() for part in heads.chunk(3, 2))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return (cells + self.proj_out(mixed.transpose(2, 3).flatten(1, 2))).reshape(x.shape)


class CellNetwork(nn.Module):
    """What is seen of a cell itself adds to the prediction of it, beside what the U-Net found around the cell.

    Where many values are folded into a cell (blocks of voxels, all frames, estimates of each), the few channels of the
    U-Net cannot carry them from the first convolution to the last. Point-wise layers are wide enough for a small part
    of the cost.
    """

    def __init__(self, inputs: int, values: int, size: NetworkRecipe) -> None:
        super().__init__()
        self.told = nn.Linear(4 * size.width, 2 * size.point_width)
        self.first = nn.Conv3d(inputs, size.point_width, 1)
        self.norm = nn.GroupNorm(size.groups, size.point_width)
        self.hidden = nn.Conv3d(size.point_width, size.point_width, 1)
        self.last = nn.Conv3d(size.point_width, values, 1)

    def forward(self, cells: Tensor, embedding: Tensor) -> Tensor:
        """Cells (B, inputs, X, Y, Z) and embedding (B, 4 * width) -> (B, values, X, Y, Z)."""
        scale, shift = self.told(functional.silu(embedding))[:, :, None, None, None].chunk(2, 1)
        x = functional.silu(self.norm(self.first(cells)) * (1 + scale) + shift)
        added: Tensor = self.last(x + functional.silu(self.hidden(x)))
        return added


class Stage(nn.ModuleList):
    """Layers in a row, of which the residual blocks are told the time step."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Grid (B, C, X, Y, Z) and embedding (B, 4 * width) -> what the last layer makes of it."""
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResidualBlock) else layer(x)
        return x


class UNet(nn.Module):
    """Predicts clean grids from noisy ones.

    `channels` is the number of values per voxel that it predicts (frames, where these are channels), `shown` of those
    it sees (more, where a frame is shown with its neighbours). With `labels` the network is also told one of that many
    numbers for each item (the frame, where frames are denoised one by one). `edges` are those of the grids; only
    learned positions tie the network to them. With `size.components` it is shown `estimate_count` estimates of the
    clean grids beside the noisy ones, and what it predicts corrects the first of them, which is a Gaussian's.
    """

    def __init__(
        self,
        size: NetworkRecipe,
        *,
        edges: Edges,
        channels: int = 1,
        shown: int | None = None,
        labels: int | None = None,
    ) -> None:
        super().__init__()
        self.patch = size.patch
        self.width = size.width
        self.estimate_count = 0 if not size.components else 2 if size.self_conditioning else 1
        folded = channels * size.patch**3
        seen = (channels if shown is None else shown) * size.patch**3 * (1 + self.estimate_count)
        self.time_embed = nn.Sequential(
            nn.Linear(size.width, 4 * size.width), nn.SiLU(), nn.Linear(4 * size.width, 4 * size.width)
        )
        if labels is not None:
            self.label_emb = nn.Embedding(labels, 4 * size.width)
        if size.positions:
            self.positions = nn.Parameter(torch.zeros(1, size.width, *[edge // size.patch for edge in edges]))
        builder = _Builder(size)
        self.input_blocks = nn.ModuleList(builder.down(seen))
        self.middle_block = builder.middle()
        self.output_blocks = nn.ModuleList(builder.up())
        features = size.width * size.multipliers[0]
        self.out = nn.Sequential(nn.GroupNorm(size.groups, features), nn.SiLU(), Conv3d(features, folded, 3, padding=1))
        self.cells = CellNetwork(seen + features, folded, size) if size.point_width else None

    def forward(
        self, grids: Tensor, steps: Tensor, labels: Tensor | None = None, estimates: Tensor | None = None
    ) -> Tensor:
        """Prediction (B, channels, X, Y, Z) from noisy grids (B, shown, X, Y, Z) at time steps (B,) int64.

        With estimates (B, estimate_count * shown, X, Y, Z) of at most about unit deviation: what is to be added to the
        first, in units of its error.
        """
        embedding = self.time_embed(sinusoids(steps, self.width))
        if labels is not None:
            embedding = embedding + self.label_emb(labels)
        seen = fold(grids, self.patch)
        if estimates is not None:
            seen = torch.cat([seen, fold(estimates, self.patch)], 1)
        x, kept = seen, []
        for number, stage in enumerate(self.input_blocks):
            x = stage(x, embedding)
            if not number and hasattr(self, "positions"):
                x = x + self.positions
            kept.append(x)
        x = self.middle_block(x, embedding)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, kept.pop()], 1), embedding)
        features = self.out[:-1](x)
        predicted = self.out[-1](features)
        if self.cells is not None:
            predicted = predicted + self.cells(torch.cat([seen, features], 1), embedding)
        return unfold(predicted, self.patch)

    def initialize(self, seed: int) -> None:
        """Fresh parameters as the original has them: torch's usual ranges, and zeros where a residual ends.

        Weights and biases are uniform within 1 / sqrt(inputs), embeddings normal, positions zero, norms identity. The
        last convolution of residual blocks, attention and network is zero, so that blocks start as a plain pass
        through, and the network with a prediction of nothing.
        """
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Embedding):
                module.weight.data.copy_(torch.empty(module.weight.shape).normal_(generator=generator))
            elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv3d):
                bound = 1 / math.sqrt(module.weight[0].numel())
                for parameter in module.parameters():
                    parameter.data.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
        if hasattr(self, "positions"):
            self.positions.data.zero_()
        for last in self._residual_ends():
            for parameter in last.parameters():
                parameter.data.zero_()

    def matrices(self) -> list[str]:
        """Names of the weights of all layers between the first and the last: what Muon may move."""
        ends = ("input_blocks.0.", "out.", "time_embed.", "label_emb.", "cells.told.", "cells.first.", "cells.last.")
        return [
            f"{name}.weight"
            for name, module in self.named_modules()
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv3d) and not f"{name}.".startswith(ends)
        ]

    def _residual_ends(self) -> list[nn.Module]:
        blocks = [module.out_layers[-1] for module in self.modules() if isinstance(module, ResidualBlock)]
        attentions = [module.proj_out for module in self.modules() if isinstance(module, Attention)]
        return [self.out[-1], *blocks, *attentions, *([] if self.cells is None else [self.cells.last])]


class _Builder:
    """Puts the stages together in order, keeping count of channels and halvings."""

    def __init__(self, size: NetworkRecipe) -> None:
        self.size = size
        self.channels = size.width * size.multipliers[0]
        self.halvings = 0
        self.kept: list[int] = []

    def down(self, inputs: int) -> list[Stage]:
        """The stages of the way down; what each leaves is kept for the way up."""
        size = self.size
        self.channels = size.width
        stages = [Stage([Conv3d(inputs, size.width, 3, padding=1)])]
        self.kept = [size.width]
        for level, multiplier in enumerate(size.multipliers):
            for _ in range(size.blocks):
                stages.append(Stage(self._block(self.channels, multiplier)))
                self.kept.append(self.channels)
            if level < len(size.multipliers) - 1:
                stages.append(Stage([self._resampling(up=False)]))
                self.kept.append(self.channels)
                self.halvings += 1
        return stages

    def middle(self) -> Stage:
        """The stage at the coarsest grid."""
        size = self.size
        block, last = (ResidualBlock(self.channels, self.channels, size) for _ in range(2))
        return Stage([block, Attention(self.channels, size), last])

    def up(self) -> list[Stage]:
        """The stages of the way up, each with one kept from the way down."""
        stages = []
        for level, multiplier in reversed(list(enumerate(self.size.multipliers))):
            for place in range(self.size.blocks + 1):
                layers = self._block(self.channels + self.kept.pop(), multiplier)
                if level and place == self.size.blocks:
                    layers.append(self._resampling(up=True))
                    self.halvings -= 1
                stages.append(Stage(layers))
        return stages

    def _block(self, inputs: int, multiplier: int) -> list[nn.Module]:
        self.channels = multiplier * self.size.width
        layers: list[nn.Module] = [ResidualBlock(inputs, self.channels, self.size)]
        if 2**self.halvings in self.size.attention:
            layers.append(Attention(self.channels, self.size))
        return layers

    def _resampling(self, *, up: bool) -> nn.Module:
        factors = (2, 2, 2) if self.size.halve_all_axes else (1, 2, 2)
        if self.size.residual_resampling:
            return ResidualBlock(self.channels, self.channels, self.size, Resample(factors, up=up))
        return Upsample(self.channels, factors) if up else Downsample(self.channels, factors)


def fold(grids: Tensor, edge: int) -> Tensor:
    """Blocks of `edge`^3 voxels of grids (B, C, X, Y, Z) as channels: (B, C * edge^3, X / edge, Y / edge, Z / edge)."""
    if edge == 1:
        return grids
    batch, channels, *axes = grids.shape
    cut = [part for axis in axes for part in (axis // edge, edge)]
    split = grids.reshape(batch, channels, *cut).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return split.reshape(batch, channels * edge**3, *(axis // edge for axis in axes))


def unfold(grids: Tensor, edge: int) -> Tensor:
    """The inverse of `fold`."""
    if edge == 1:
        return grids
    batch, channels, *axes = grids.shape
    split = grids.reshape(batch, channels // edge**3, edge, edge, edge, *axes).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return split.reshape(batch, channels // edge**3, *(axis * edge for axis in axes))
