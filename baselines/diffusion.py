"""Gaussian diffusion as all our methods share it: noise schedules, the training loss, DDPM, DDIM and DPM-Solver++.

Notation of Ho et al. 2020 (DDPM): `alphas_cumprod[t]` is the product of `1 - betas` up to and including t, and
x_t = sqrt(alphas_cumprod[t]) x_0 + sqrt(1 - alphas_cumprod[t]) noise. Tables are float64 on the host and become
float32 where they meet a tensor.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Denoiser = Callable[[Tensor, Tensor], Tensor]
"""A network: noisy data (B, ...) and the time steps (B,) int64 it stands at -> a prediction of the data's shape."""
Prediction = Literal["x0", "epsilon", "velocity"]
Bound = float | Tensor
"""Of all numbers alike, or a tensor that broadcasts against them."""
Expectation = Callable[[Tensor, Tensor], Tensor]
"""What the data (B, ...) may be, on average, behind x_t (B, ...), which holds a share (B, 1, ...) of its variance."""
Noise = Callable[[], Tensor]
"""The next standard normal noise of a sampler, of the shape of the samples."""


class DiffusionRecipe(BaseModel):
    """The diffusion part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timesteps: int = Field(default=500, ge=2)
    schedule: Literal["linear", "cosine", "warm0.1"] = "linear"
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    """First beta of `linear` and `warm0.1`; not rescaled to the number of time steps."""
    beta_end: float = Field(default=2e-2, gt=0, lt=1)
    """Last beta of `linear` and `warm0.1`."""
    prediction: Prediction = "x0"
    """What the network predicts, and the loss is taken on: the data, the noise, or `velocity`, the mixture of both that
    tells the one where there is little of it and the other elsewhere (Salimans and Ho 2022, section 4)."""
    variance: Literal["fixed_large", "fixed_small"] = "fixed_large"
    """Variance of DDPM's steps: beta, or the posterior's (DDPM, section 3.2)."""
    flexibility: float | None = Field(default=None, ge=0, le=1)
    """Instead of `variance`: where the deviation of DDPM's steps lies between the posterior's (0) and that of beta."""

    def build(self) -> "GaussianDiffusion":
        """The diffusion process this describes."""
        if self.schedule == "cosine":
            betas = cosine_betas(self.timesteps)
        elif self.schedule == "linear":
            betas = np.linspace(self.beta_start, self.beta_end, self.timesteps)
        else:
            betas = warm_betas(self.timesteps, self.beta_start, self.beta_end, warm_share=0.1)
        return GaussianDiffusion(
            betas, prediction=self.prediction, variance=self.variance, flexibility=self.flexibility
        )


def cosine_betas(timesteps: int, *, offset: float = 0.008, largest: float = 0.999) -> Float64:
    """Betas whose cumulative product follows a squared cosine (Nichol and Dhariwal 2021, equation 17)."""
    signal = np.cos((np.arange(timesteps + 1) / timesteps + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - signal[1:] / signal[:-1], largest).astype(np.float64)


def warm_betas(timesteps: int, start: float, end: float, *, warm_share: float) -> Float64:
    """Betas that rise linearly from `start` to `end` over the first `warm_share` of steps and then stay (PVD)."""
    warm_steps = int(timesteps * warm_share)
    betas = np.full(timesteps, end, np.float64)
    betas[:warm_steps] = np.linspace(start, end, warm_steps)
    return betas


@dataclass(frozen=True, eq=False)
class GaussianDiffusion:
    """The process q(x_t | x_0) given by `betas` (T,), its loss, and its samplers."""

    betas: Float64
    prediction: Prediction = "x0"
    variance: Literal["fixed_large", "fixed_small"] = "fixed_large"
    flexibility: float | None = None
    """Takes the place of `variance` where given, see `DiffusionRecipe`."""
    model_steps: Int64 = field(default_factory=lambda: np.empty(0, np.int64))
    """Time step the network is told at each step of this process; 0, 1, 2, … unless respaced."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", np.asarray(self.betas, np.float64))
        if not len(self.model_steps):
            object.__setattr__(self, "model_steps", np.arange(len(self.betas)))

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Float64:
        """Share of the signal's variance left at each step, (T,)."""
        return np.cumprod(1 - self.betas, dtype=np.float64)

    @cached_property
    def alphas_cumprod_previous(self) -> Float64:
        """`alphas_cumprod` one step nearer to the data, (T,); 1 at step 0."""
        return np.append(1.0, self.alphas_cumprod[:-1])

    @cached_property
    def posterior_variance(self) -> Float64:
        """Variance of q(x_{t-1} | x_t, x_0), (T,) (DDPM, equation 7)."""
        return self.betas * (1 - self.alphas_cumprod_previous) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_coefficients(self) -> tuple[Float64, Float64]:
        """Factors of x_0 and x_t in the mean of q(x_{t-1} | x_t, x_0), (T,) each (DDPM, equation 7)."""
        rest = 1 - self.alphas_cumprod
        of_x0 = self.betas * np.sqrt(self.alphas_cumprod_previous) / rest
        of_xt = (1 - self.alphas_cumprod_previous) * np.sqrt(1 - self.betas) / rest
        return of_x0, of_xt

    @cached_property
    def step_variance(self) -> Float64:
        """Variance of DDPM's steps, (T,). Step 0 adds no noise; its entry repeats the posterior's of step 1."""
        first = self.posterior_variance[:2][-1]
        later = self.betas if self.variance == "fixed_large" else self.posterior_variance
        return np.append(first, later[1:])

    @cached_property
    def extrapolation(self) -> Float64:
        """How far beyond its last prediction of the data a second-order sampler goes, (T,).

        In shares of the way from the prediction before to the last: half of what this step gains in log(a / (1 - a)),
        a being `alphas_cumprod`, over what the step before gained (Lu et al. 2022, algorithm 2: DPM-Solver++(2M)).
        0 at the first step taken, which has one prediction, and at the last two: these gain many times what the ones
        before did, and nothing would mend what goes too far so near to the data.
        """
        gained = -np.diff(np.log(self.alphas_cumprod / (1 - self.alphas_cumprod)))
        beyond = np.zeros(len(self))
        beyond[2:-1] = gained[1:-1] / (2 * gained[2:])
        return beyond

    @cached_property
    def step_deviation(self) -> Float64:
        """Deviation of the noise that DDPM's steps add, (T,); none at step 0."""
        if self.flexibility is None:
            deviation = np.sqrt(self.step_variance)
        else:
            rest = (1 - self.flexibility) * np.sqrt(self.posterior_variance)
            deviation = self.flexibility * np.sqrt(self.betas) + rest
        return np.append(0.0, deviation[1:])

    def respaced(self, steps: int) -> "GaussianDiffusion":
        """The same process in `steps` of its steps, evenly spread from the first to the last."""
        if steps == len(self):
            return self
        if not 1 <= steps <= len(self):
            raise ValueError(f"{steps} sampling steps asked of a process of {len(self)}")
        kept = (
            np.rint(np.linspace(0, len(self) - 1, steps)).astype(np.int64) if steps > 1 else np.array([len(self) - 1])
        )
        signal = self.alphas_cumprod[kept]
        betas = 1 - signal / np.append(1.0, signal[:-1])
        return replace(self, betas=betas, model_steps=self.model_steps[kept])

    def diffuse(self, x0: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """x_t: the data (B, ...) after `steps` (B,) of the process, with the given noise (B, ...)."""
        signal = _at(np.sqrt(self.alphas_cumprod), steps, x0)
        return signal * x0 + _at(np.sqrt(1 - self.alphas_cumprod), steps, x0) * noise

    def losses(
        self, denoiser: Denoiser, x0: Tensor, steps: Tensor, noise: Tensor, *, expected: Expectation | None = None
    ) -> Tensor:
        """Mean squared error of the prediction for each item, (B,).

        The best prediction is a mean over all data and noise that may lie behind x_t, of which x0 and `noise` are a
        draw. Where something better than one draw is known, `expected` gives it: a mean over some of what may be. The
        best prediction is the same, and the gradient has less noise (Xu, Tong and Jaakkola 2023: Stable Target Field).
        """
        x = self.diffuse(x0, steps, noise)
        output = denoiser(x, self._told(steps))
        if expected is not None:
            x0 = expected(x, _at(self.alphas_cumprod, steps, x))
            noise = self._noise(x, steps, x0)
        if self.prediction == "velocity":
            target = self.diffuse(noise, steps, -x0)  # the same mixture, a quarter turn on
        else:
            target = x0 if self.prediction == "x0" else noise
        return (target - output).square().flatten(1).mean(1)

    def predict_x0(self, denoiser: Denoiser, x: Tensor, steps: Tensor, *, clip: Bound | None = None) -> Tensor:
        """The data the network sees behind x_t (B, ...), clamped to [-clip, clip] if given."""
        output = denoiser(x, self._told(steps))
        if self.prediction == "epsilon":
            signal = _at(np.sqrt(1 / self.alphas_cumprod), steps, x)
            output = signal * x - _at(np.sqrt(1 / self.alphas_cumprod - 1), steps, x) * output
        elif self.prediction == "velocity":
            output = self.diffuse(x, steps, -output)
        return output if clip is None else output.clamp(min=-clip, max=clip)  # type: ignore[arg-type,type-var]

    def posterior_mean(self, x0: Tensor, x: Tensor, steps: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0), (B, ...)."""
        of_x0, of_xt = self.posterior_mean_coefficients
        return _at(of_x0, steps, x) * x0 + _at(of_xt, steps, x) * x

    def ddpm_step(self, x0: Tensor, x: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """x_{t-1} of ancestral sampling (DDPM, algorithm 2) from x_t and the predicted data; no noise at step 0."""
        return self.posterior_mean(x0, x, steps) + _at(self.step_deviation, steps, x) * noise

    def ddim_step(self, x0: Tensor, x: Tensor, steps: Tensor, noise: Tensor | None = None, *, eta: float = 0) -> Tensor:
        """x_{t-1} of DDIM (Song et al. 2021, equation 12) from x_t and the predicted data.

        `noise` is needed where `eta` > 0; `eta` = 1 is DDPM with the posterior's variance.
        """
        epsilon = self._noise(x, steps, x0)
        # The rest in the dtype of x: the rounding of 1 - now / previous is seen in the result, and is the original's.
        now, previous = _at(self.alphas_cumprod, steps, x), _at(self.alphas_cumprod_previous, steps, x)
        deviation = eta * ((1 - previous) / (1 - now)).sqrt() * (1 - now / previous).sqrt()
        mean = previous.sqrt() * x0 + (1 - previous - deviation**2).clamp(min=0).sqrt() * epsilon
        return mean if noise is None else mean + torch.where(previous < 1, deviation, 0.0) * noise

    def trajectory(
        self,
        denoiser: Denoiser,
        start: Tensor,
        *,
        sampler: Literal["ddim", "ddpm"],
        noise: Noise | None = None,
        eta: float = 0.0,
        order: Literal[1, 2] = 1,
        clip: Bound | None = None,
    ) -> Iterator[Tensor]:
        """Denoise `start` (B, ...) through all steps of this process, yielding what each step leads to.

        The last one yielded is the sample. `respaced(steps)` gives a process of fewer steps. `noise` is called
        once per step where noise is added: DDPM, or DDIM with `eta` > 0. With `order` 2 each step goes on from the last
        two predictions (see `extrapolation`): without noise that is DPM-Solver++(2M), with that of the posterior (DDIM
        with `eta` 1, or DDPM with `fixed_small`) its SDE form (Lu et al. 2022).
        """
        noisy = sampler == "ddpm" or eta > 0
        if noisy and noise is None:
            raise ValueError(f"{sampler} with {eta=} adds noise, but no source of noise is given")
        x = start
        before: Tensor | None = None
        for step in reversed(range(len(self))):
            steps = torch.full((len(x),), step, dtype=torch.int64, device=x.device)
            seen = self.predict_x0(denoiser, x, steps, clip=clip)
            x0 = seen if order == 1 or before is None else seen + self.extrapolation[step] * (seen - before)
            before = seen
            fresh = noise() if noisy and noise is not None else None
            if sampler == "ddpm" and fresh is not None:
                x = self.ddpm_step(x0, x, steps, fresh)
            else:
                x = self.ddim_step(x0, x, steps, fresh, eta=eta)
            yield x

    def _noise(self, x: Tensor, steps: Tensor, x0: Tensor) -> Tensor:
        """The noise in x_t (B, ...) if this is the data behind it."""
        scaled = _at(np.sqrt(1 / self.alphas_cumprod), steps, x) * x
        return (scaled - x0) / _at(np.sqrt(1 / self.alphas_cumprod - 1), steps, x)

    def _told(self, steps: Tensor) -> Tensor:
        return torch.from_numpy(self.model_steps).to(steps.device)[steps]


def _at(table: Float64, steps: Tensor, like: Tensor) -> Tensor:
    """Entries of `table` at `steps` (B,), in the dtype of `like` (B, ...) and ready to multiply it."""
    values = torch.from_numpy(table).to(steps.device)[steps].to(like.dtype)
    return values.reshape(-1, *([1] * (like.ndim - 1)))
