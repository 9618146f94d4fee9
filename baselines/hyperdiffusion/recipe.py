"""The hyperparameters of HyperDiffusion."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..recipe import DiffusionModelRecipe, SamplerRecipe
from .fitting import FittingRecipe

Exponent = Annotated[float, Field(ge=-32, le=32)]


class DenoiserRecipe(BaseModel):
    """The transformer part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=2880, ge=1)
    depth: int = Field(default=12, ge=1)
    heads: int = Field(default=16, ge=1)
    positions: bool = True
    """Learned position embedding of the tokens (off: the paper's ablation)."""
    time_exponents: tuple[Exponent, Exponent] = (0.0, 20.0)
    """Range of the time embedding's frequencies, as powers of two."""
    standardize: bool = False
    """Centre the weight vectors and divide them by one deviation, that of all their numbers together."""
    compile: bool = False
    """Let torch compile the network for training and sampling on a GPU. A CPU runs it as it is."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} cannot be shared by {self.heads} heads; set denoiser.heads")
        return self


class SamplingRecipe(SamplerRecipe):
    """The sampling and meshing part of a recipe."""

    mixed_precision: bool = False
    """Denoise in bfloat16 on a GPU, but for the time embedding. A CPU computes in float32 all the same."""
    resolution: int = Field(default=356, ge=2)
    """Lattice points per axis of the isosurface."""
    level: float = 1.386
    """Logit of the isosurface; 1.386 is a probability of 0.8."""
    grid: Literal["regular", "sheared"] = "regular"
    """`sheared` evaluates the field where the original does, up to a voxel from where its vertices are put."""
    smallest_part: float = Field(default=0.0, ge=0, le=1)
    """Loose parts of a surface (of a frame) below this share of its area are left out."""


class HyperDiffusionRecipe(DiffusionModelRecipe):
    """Fields and denoiser, beside what all diffusion models have. The defaults of all parts are the paper's."""

    fields: FittingRecipe = FittingRecipe()
    denoiser: DenoiserRecipe = DenoiserRecipe()
    sampling: SamplingRecipe = SamplingRecipe()
