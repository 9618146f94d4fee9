"""The hyperparameters of voxel diffusion."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..recipe import DiffusionModelRecipe, SamplerRecipe


class GridRecipe(BaseModel):
    """The voxel part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: int = Field(default=24, ge=2)
    """Voxels per axis. The cube reaches from -0.95 to 0.95 between the centres of the outermost."""
    placement: Literal["box", "vertices"] = "vertices"
    """What is moved to the origin before scaling: the centre of the bounding box, or the mean of the vertices."""
    content: Literal["surface", "share"] = "surface"
    """What a voxel holds: whether surface passes through it or encloses it (the original), or its share of inside."""
    subdivisions: int = Field(default=3, ge=1)
    """Places per axis of a voxel at which `share` asks for inside or outside."""
    exponent: float = Field(default=0.5, gt=0)
    """Power that `share` is raised to; below 1 it lifts what is thinner than a voxel."""
    center: bool = False
    """Learn how grids differ from the mean of the training grids, not the grids themselves."""
    crop: bool = False
    """Denoise only the box of voxels outside of which all training grids are alike."""
    unit: int = Field(default=8, ge=1)
    """Shapes per unit of work: the grain at which voxelising resumes."""


class NetworkRecipe(BaseModel):
    """The U-Net part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=32, ge=2)
    """Channels at full resolution."""
    multipliers: tuple[int, ...] = Field(default=(1, 2, 4), min_length=1)
    """Channels at each resolution, as multiples of `width`."""
    blocks: int = Field(default=2, ge=1)
    """Residual blocks at each resolution on the way down; one more on the way up."""
    attention: tuple[int, ...] = (2, 4, 8)
    """Factors of downsampling at which blocks are followed by attention."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads; without a number as many as `head_channels` makes of the channels."""
    head_channels: int = Field(default=32, ge=1)
    groups: int = Field(default=32, ge=1)
    """Groups of the group norms."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    scale_and_shift: bool = False
    """Tell residual blocks the time step by a scale and a shift of a norm, not by a shift alone."""
    residual_resampling: bool = False
    """Halve and double within residual blocks, not by convolutions."""
    halve_all_axes: bool = False
    """Halve and double all three axes; the original leaves the first at full resolution."""
    patch: int = Field(default=1, ge=1)
    """Edge of the blocks of voxels that are folded into channels before the first convolution."""
    positions: bool = False
    """Add a learned embedding of each cell after the first convolution."""
    point_width: int = Field(default=0, ge=0)
    """Hidden channels of a point-wise network that adds to the prediction what a cell's own values say; 0: none."""
    components: int = Field(default=0, ge=0)
    """Principal components of the training grids that a Gaussian holds; the network is shown what it expects to see
    behind the noise, and corrects that in units of its error. 0: no Gaussian."""
    self_conditioning: bool = False
    """Show it beside that what it predicted at the step before; in training, at half of the steps, a first prediction,
    and else what the Gaussian expects once more."""
    frames: Literal["channels", "items", "neighbours"] = "channels"
    """Of sequences: all frames as channels of one grid; each frame a grid of its own whose number is told; or the same,
    shown the noisy frames before and after it and their estimates, under a Gaussian of whole sequences."""

    @property
    def coarsest(self) -> int:
        """Voxels per axis that become one cell where the grid is coarsest: edges must be multiples."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    def heads_at(self, channels: int) -> int:
        """Attention heads where there are `channels` channels."""
        return self.heads if self.heads is not None else max(1, channels // self.head_channels)


class SamplingRecipe(SamplerRecipe):
    """The sampling and meshing part of a recipe."""

    block: int = Field(default=16, ge=1)
    clip: float | None = Field(default=None, gt=0)
    """Largest magnitude of predicted voxels."""
    binary: bool = True
    """Mesh inside against outside, blocks of voxels with bevelled edges; or else the values themselves."""
    level: float = 0.0
    """What inside is above, of values from -1 to 1."""
    smallest_part: float = Field(default=0.0, ge=0, le=1)
    """Loose parts of a surface (of a frame) below this share of its area are left out."""


class VoxelRecipe(DiffusionModelRecipe):
    """Grids and network, beside what all diffusion models have. The defaults of all parts are the original's."""

    grid: GridRecipe = GridRecipe()
    network: NetworkRecipe = NetworkRecipe()
    sampling: SamplingRecipe = SamplingRecipe()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        network, resolution = self.network, self.grid.resolution
        if resolution % network.coarsest:
            raise ValueError(
                f"grid.resolution {resolution} is no multiple of {network.coarsest}, "
                "which network.patch and multipliers need"
            )
        if self.grid.crop and not self.grid.center:
            raise ValueError("grid.crop needs grid.center = true: what is cropped is where all grids are as their mean")
        if network.components and not self.grid.center:
            raise ValueError("network.components needs grid.center = true: what a Gaussian expects lies about the mean")
        if network.components and self.diffusion.prediction != "x0":
            raise ValueError('network.components needs diffusion.prediction = "x0": what is corrected are clean grids')
        if network.frames == "neighbours" and not network.components:
            raise ValueError('network.frames = "neighbours" needs network.components: they hold frames together')
        if network.self_conditioning and not network.components:
            raise ValueError("network.self_conditioning needs network.components: they make the first estimate")
        channels = [network.width * multiplier for multiplier in (1, *network.multipliers)]
        if any(count % network.groups for count in (*channels, network.point_width)):
            raise ValueError(f"network.groups {network.groups} does not divide all channel counts")
        for multiplier in network.multipliers:
            heads = network.heads_at(network.width * multiplier)
            if network.width * multiplier % heads:
                raise ValueError(f"network.heads {heads} does not divide {network.width * multiplier} channels")
        return self
