"""How clean grids are predicted from noisy ones: by the network alone, or by a Gaussian that the network corrects."""

import torch
from torch import Tensor

from ..diffusion import Denoiser, GaussianDiffusion
from .gaussian import Gaussian
from .network import UNet


class GridDenoiser:
    """The network, told of `labels` (B,) where it knows labels.

    With a Gaussian it adds to what that expects, and is shown an estimate of the clean grids beside the noisy ones:
    what the Gaussian expects, or what it predicted itself before (self-conditioning: Chen, Zhang and Hinton 2023).
    Grids that are shown its own prediction agree with themselves, where a single look only averages all that may be.
    """

    def __init__(
        self, network: UNet, gaussian: Gaussian | None, diffusion: GaussianDiffusion, labels: Tensor | None = None
    ) -> None:
        self.network, self.gaussian, self.labels = network, gaussian, labels
        self.signal = torch.from_numpy(diffusion.alphas_cumprod).float()
        if gaussian is not None:
            self.signal = self.signal.to(gaussian.rest.device)

    def __call__(self, x: Tensor, steps: Tensor, shown: Tensor | None = None) -> Tensor:
        """Clean grids behind x (B, T, R, R, R) at time steps (B,); `shown`, of that shape, is an earlier prediction."""
        if self.gaussian is None:
            return self.network(x, steps, self.labels)  # type: ignore[no-any-return]
        expected = self.gaussian(x, self.signal[steps])
        shown = expected if shown is None else shown
        scale = self.gaussian.deviation.clamp(min=1e-6)  # grids that are all alike have none
        corrected: Tensor = expected + self.network(x, steps, self.labels, shown / scale)
        return corrected

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
