"""The hyperparameters of PVD."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hdbench.geometry.normalisation import Moments

from ..diffusion import DiffusionRecipe
from ..recipe import DiffusionModelRecipe, SamplerRecipe
from .pvcnn import MINIMUM_POINTS, Size


class DataRecipe(BaseModel):
    """The data part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cloud: int = Field(default=15000, ge=1)
    """Surface points of each training shape, which mean and deviation are measured on."""
    pool: int = Field(default=10000, ge=1)
    """The first of these points, which training draws from."""
    points: int = Field(default=2048, ge=MINIMUM_POINTS)
    """Points drawn of the pool for each item of a batch, with replacement."""
    mean: tuple[float, float, float] | None = None
    """Given instead of measured: subtracted from all shapes alike."""
    deviation: float | None = Field(default=None, gt=0)
    """Given instead of measured: what all coordinates are then divided by."""

    @property
    def moments(self) -> Moments | None:
        """Mean and deviation where they are given."""
        return None if self.mean is None or self.deviation is None else Moments(self.mean, self.deviation)

    @model_validator(mode="after")
    def _given_together(self) -> "DataRecipe":
        if (self.mean is None) != (self.deviation is None):
            raise ValueError("give mean and deviation, or neither")
        return self


class NetworkRecipe(BaseModel):
    """The network part of a recipe; see `pvcnn.Size`, whose defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float = Field(default=1.0, ge=0.25)
    """Factor on the paper's widths."""
    resolutions: tuple[int, int, int] = (32, 16, 8)
    """Nodes a side of the voxel grids, from the whole cloud down."""
    radii: tuple[float, float, float, float] = (0.1, 0.2, 0.4, 0.8)
    """Of the balls, in units of the data's deviation."""
    neighbours: int = Field(default=32, ge=1)
    """Points taken from a ball at most."""
    attention: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)
    last_skip: bool = False
    """Whether the last level up is given the points' coordinates."""
    octaves: int = Field(default=0, ge=0)
    """Sines and cosines given beside the coordinates."""
    point_width: float | None = Field(default=None, ge=0.25)
    """Factor on the paper's widths of the point-wise networks between the cloud and the level below."""
    spectrum: int = Field(default=0, ge=0)
    """Waves whose means over the whole cloud are told beside the time step."""
    pointwise: int = Field(default=0, ge=0)
    """Width of a network that sees each point alone, told of those means; the rest corrects it."""

    @model_validator(mode="after")
    def _pointwise_is_told(self) -> Self:
        if self.pointwise and not self.spectrum:
            raise ValueError("network.pointwise is told of the whole cloud by its spectrum; set network.spectrum too")
        return self

    @property
    def size(self) -> Size:
        """The same for the network."""
        return Size(**self.model_dump())


class SamplingRecipe(SamplerRecipe):
    """The sampling part of a recipe."""

    sampler: Literal["ddim", "ddpm"] = "ddpm"
    steps: int = Field(default=1000, ge=1)
    block: int = Field(default=8, ge=1)
    clip: bool = False
    """Keep what each step predicts within the box of the training points."""
    points: int = Field(default=2048, ge=MINIMUM_POINTS)
    """Points of a sample."""


class PVDRecipe(DiffusionModelRecipe):
    """Data, network and targets, beside what all diffusion models have. Defaults of PVD's own parts are the paper's."""

    data: DataRecipe = DataRecipe()
    network: NetworkRecipe = NetworkRecipe()
    diffusion: DiffusionRecipe = DiffusionRecipe(timesteps=1000)
    fixed_noise: bool = False
    """Items at time step 0 always meet the same noise, one for each training shape, as in the released code."""
    expected_targets: bool = False
    """Learn from the mean of all points of the pool that may lie behind a noisy one, not from the one that does."""
    sampling: SamplingRecipe = SamplingRecipe()

    @model_validator(mode="after")
    def _expected_of_fresh_noise(self) -> Self:
        if self.expected_targets and self.fixed_noise:
            raise ValueError("expected_targets are means over noise that is drawn afresh; set fixed_noise to false")
        return self
