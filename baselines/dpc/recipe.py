"""The hyperparameters of DPC. Their defaults are the paper's."""

from pydantic import BaseModel, ConfigDict, Field

from ..diffusion import DiffusionRecipe
from ..recipe import DiffusionModelRecipe, StepsRecipe
from .clouds import CloudsRecipe


class NetworkRecipe(BaseModel):
    """The sizes of the three networks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent: int = Field(default=256, ge=2)
    encoder_widths: tuple[int, ...] = Field(default=(128, 128, 256, 512), min_length=1)
    """Of the layers that see single points."""
    head_widths: tuple[int, ...] = (256, 128)
    """Of the hidden layers between the maximum over all points and the latent's mean, or its log-variance."""
    flow_depth: int = Field(default=14, ge=0)
    """Couplings of the prior; with none it is the normal distribution."""
    flow_width: int = Field(default=256, ge=1)
    flow_stretch: bool = False
    """Let the prior stretch what its couplings can only shrink."""
    decoder_widths: tuple[int, ...] = Field(default=(128, 256, 512, 256, 128), min_length=1)
    residual: bool = True
    """The denoiser predicts what is to be added to its input."""
    octaves: int = Field(default=0, ge=0)
    """Octaves of sines and cosines of the coordinates that the denoiser sees beside them."""
    time_scale: float = Field(default=1.0, gt=0)
    """The denoiser is told beta times this, its sine and its cosine."""


class ObjectiveRecipe(BaseModel):
    """The loss of one step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kl_weight: float = Field(default=1e-3, ge=0)
    """Of the divergence between a latent and the prior, in nats per shape, beside the mean squared error."""
    time_steps: int = Field(default=1, ge=1)
    """Time steps learnt per shape and step: the points are dealt out among them."""
    spread_times: bool = False
    """Draw the time steps of a batch evenly over the diffusion instead of each for itself."""


class SamplingRecipe(StepsRecipe):
    """The sampling part of a recipe."""

    steps: int = Field(default=100, ge=1)
    points: int = Field(default=2048, ge=1)
    """Points of a sample."""


class DPCRecipe(DiffusionModelRecipe):
    """Clouds, networks and objective, beside what all diffusion models have."""

    clouds: CloudsRecipe = CloudsRecipe()
    network: NetworkRecipe = NetworkRecipe()
    diffusion: DiffusionRecipe = DiffusionRecipe(timesteps=100, prediction="epsilon", flexibility=0.0)
    objective: ObjectiveRecipe = ObjectiveRecipe()
    sampling: SamplingRecipe = SamplingRecipe()
