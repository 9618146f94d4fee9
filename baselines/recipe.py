"""What the recipes of all our diffusion models have in common."""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hdbench.recipe import Recipe

from .diffusion import DiffusionRecipe
from .training import TrainingRecipe


class StepsRecipe(BaseModel):
    """The sampling part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=500, ge=1)
    """Steps taken of the diffusion's, evenly spread."""
    block: int = Field(default=32, ge=1)
    """Samples denoised together: always the same neighbours, so that no bit depends on which were asked for."""


class SamplerRecipe(StepsRecipe):
    """The sampling part of a recipe with a choice of samplers."""

    sampler: Literal["ddim", "ddpm"] = "ddim"
    eta: float = Field(default=0.0, ge=0, le=1)
    """Share of DDPM's noise that DDIM adds at each step."""
    order: Literal[1, 2] = 1
    """2: each step goes on from the last two predictions, not from one (DPM-Solver++ 2M: Lu et al. 2022)."""


class DiffusionModelRecipe(Recipe):
    """What all diffusion models have: diffusion, training, sampling."""

    sampling_fields: ClassVar[frozenset[str]] = frozenset({"sampling"})

    diffusion: DiffusionRecipe = DiffusionRecipe()
    training: TrainingRecipe = TrainingRecipe()
    sampling: StepsRecipe = StepsRecipe()

    @model_validator(mode="after")
    def _steps_are_the_diffusions(self) -> Self:
        if self.sampling.steps > self.diffusion.timesteps:
            raise ValueError(
                f"a diffusion of {self.diffusion.timesteps} steps has no {self.sampling.steps} to sample in; "
                "set sampling.steps"
            )
        return self
