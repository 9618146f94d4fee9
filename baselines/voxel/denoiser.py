"""How clean grids are predicted from noisy ones: by the network alone, or by a Gaussian that the network corrects."""

import copy
from typing import Self

import torch
from torch import Tensor

from ..diffusion import Denoiser, GaussianDiffusion
from .gaussian import Gaussian
from .network import UNet

SMALLEST_ERROR = 1e-6
"""Of the Gaussian, in values of voxels, and so of the deviation of grids: none is left where they are all alike."""


class GridDenoiser:
    """The network alone, or what a Gaussian expects and the network's correction of it.

    The correction is in units of the error that the Gaussian has at that time step (preconditioning: Karras et al.
    2022), so that what the network is to predict, and its losses at the start, are about one in any noise. Beside the
    noisy grids it is shown what the Gaussian expects and, if the recipe says so, what it predicted itself before
    (self-conditioning: Chen, Zhang and Hinton 2023): grids that are shown their own prediction agree with themselves,
    where a single look only averages all that may be.
    """

    def __init__(self, network: UNet, gaussian: Gaussian | None, diffusion: GaussianDiffusion) -> None:
        self.network, self.gaussian = network, gaussian
        self.labels: Tensor | None = None
        if gaussian is not None:
            signal = torch.from_numpy(diffusion.alphas_cumprod).float()
            self.signal = signal.to(gaussian.rest.device)  # (timesteps,), as are the errors
            self.errors = gaussian.error(self.signal).clamp(min=SMALLEST_ERROR)
            nothing_seen = torch.zeros_like(self.signal[:1])
            self.deviation = gaussian.error(nothing_seen).clamp(min=SMALLEST_ERROR)

    def telling(self, labels: Tensor | None) -> Self:
        """The same, whose network is told labels (B,); None for a network that knows none."""
        told = copy.copy(self)
        told.labels = labels
        return told

    def __call__(self, x: Tensor, steps: Tensor, last: Tensor | None = None) -> Tensor:
        """Clean grids behind x (B, T, R, R, R) at time steps (B,); `last`, of that shape, is an earlier prediction."""
        if self.gaussian is None:
            return self.network(x, steps, self.labels)  # type: ignore[no-any-return]
        with torch.autocast(x.device.type, enabled=False):  # the rounding of bfloat16 can exceed the Gaussian's error
            expected = self.gaussian(x, self.signal[steps])
        shown = [expected, expected if last is None else last][: self.network.estimate_count]
        correction = self.network(x, steps, self.labels, torch.cat(shown, 1) / self.deviation)
        corrected: Tensor = expected + self.errors[steps][:, None, None, None, None] * correction
        return corrected

    def relative(self, losses: Tensor, steps: Tensor) -> Tensor:
        """Squared errors (B,) as shares of a Gaussian's, if there is one: so no time step outweighs the others."""
        return losses if self.gaussian is None else losses / self.errors[steps].square()

    def twice(self, x: Tensor, steps: Tensor) -> Tensor:
        """The prediction after one look at its own, through which no gradient flows."""
        with torch.no_grad():
            first = self(x, steps)
        return self(x, steps, first)

    def remembering(self) -> Denoiser:
        """For one trajectory: from the second call on it is shown what it predicted last."""
        last: Tensor | None = None

        def denoise(x: Tensor, steps: Tensor) -> Tensor:
            nonlocal last
            last = self(x, steps, last)
            return last

        return denoise
