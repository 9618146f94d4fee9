"""How clean grids are predicted from noisy ones: by the network alone, or by a Gaussian that the network corrects.

Of sequences all frames at once, or each by a network that is shown its neighbours.
"""

import copy
from typing import Self

import torch
from torch import Tensor

from ..diffusion import Denoiser, GaussianDiffusion
from .gaussian import Gaussian
from .network import UNet

SMALLEST_ERROR = 1e-6
"""Of the Gaussian, in values of voxels, and so of the deviation of grids: none is left where they are all alike."""
REACH = 1
"""Frames before and after that a frame is shown with."""
SHOWN_FRAMES = 2 * REACH + 1


class GridDenoiser:
    """The network alone, or what a Gaussian expects and the network's correction of it.

    The correction is in units of the error that the Gaussian has at that time step (preconditioning: Karras et al.
    2022), so that what the network is to predict, and its losses at the start, are about one in any noise. Beside the
    noisy grids it is shown what the Gaussian expects and, if the recipe says so, what it predicted itself before
    (self-conditioning: Chen, Zhang and Hinton 2023): grids that are shown their own prediction agree with themselves,
    where a single look only averages all that may be.
    """

    def __init__(self, network: UNet, gaussian: Gaussian | None, diffusion: GaussianDiffusion) -> None:
        self.network, self.gaussian, self.diffusion = network, gaussian, diffusion
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
        expected = self.gaussian(x, self.signal[steps])
        return expected + self._correction(x, steps, self.labels, expected, last)

    def _correction(
        self, x: Tensor, steps: Tensor, labels: Tensor | None, expected: Tensor, last: Tensor | None
    ) -> Tensor:
        """What the network adds to what a Gaussian expects behind x, shown that and its last prediction, if any."""
        shown = [expected, expected if last is None else last][: self.network.estimate_count]
        correction = self.network(x, steps, labels, torch.cat(shown, 1) / self.deviation)
        return self.errors[steps][:, None, None, None, None] * correction

    def losses(self, x0: Tensor, steps: Tensor, noise: Tensor, labels: Tensor | None = None, *, twice: bool) -> Tensor:
        """What is to be made small for each of the clean grids x0 (B, T, R, R, R), after one look or two: (B,)."""
        told = self.telling(labels)
        return self._relative(self.diffusion.losses(told.twice if twice else told, x0, steps, noise), steps)

    def _relative(self, losses: Tensor, steps: Tensor) -> Tensor:
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


class FrameDenoiser(GridDenoiser):
    """Frames of sequences one by one, each by a network that is shown the frames before and after it as well.

    Each frame has noise of its own, and the Gaussian is that of whole sequences. What a frame cannot know of the others
    comes to it from there, and from its neighbours step by step. The network is told the number of each frame.
    """

    gaussian: Gaussian

    def __call__(self, x: Tensor, steps: Tensor, last: Tensor | None = None) -> Tensor:
        """Clean sequences behind x (B, T, R, R, R); `last`, of that shape, is an earlier prediction."""
        frames = _all_frames(x)
        return self._frames(x, steps, frames, None if last is None else surrounding(last, frames)).reshape(x.shape)

    def losses(self, x0: Tensor, steps: Tensor, noise: Tensor, labels: Tensor | None = None, *, twice: bool) -> Tensor:
        """See `GridDenoiser.losses`; `labels` (B,) are of one frame of each sequence, and only that is predicted."""
        frames = _all_frames(x0) if labels is None else labels[:, None]
        x = self.diffusion.diffuse(x0, steps, noise)
        last = None
        if twice:
            with torch.no_grad():
                near = self._frames(x, steps, _near(frames, x.shape[1]).flatten(1))
            last = near.reshape(-1, SHOWN_FRAMES, *x.shape[2:])
        errors = self._frames(x, steps, frames, last) - _own(surrounding(x0, frames))
        return self._relative(errors.square().flatten(1).mean(1).reshape(frames.shape).mean(1), steps)

    def _frames(self, x: Tensor, steps: Tensor, frames: Tensor, last: Tensor | None = None) -> Tensor:
        """Frames (B, F) of the clean sequences behind x (B, T, R, R, R): (B F, 1, R, R, R).

        `last` (B F, 3, R, R, R) is what was predicted of them and their neighbours before.
        """
        told = steps.repeat_interleave(frames.shape[1])
        expected = surrounding(self.gaussian(x, self.signal[steps]), frames)
        return _own(expected) + self._correction(surrounding(x, frames), told, frames.flatten(), expected, last)


def surrounding(sequences: Tensor, frames: Tensor) -> Tensor:
    """Frames (B, F) of sequences (B, T, R, R, R), each with its neighbours: (B F, 3, R, R, R)."""
    rows = torch.arange(len(sequences), device=sequences.device)[:, None, None]
    return sequences[rows, _near(frames, sequences.shape[1])].flatten(0, 1)


def _own(surrounded: Tensor) -> Tensor:
    """Of frames with their neighbours the frames."""
    return surrounded[:, REACH : REACH + 1]


def _all_frames(sequences: Tensor) -> Tensor:
    """Numbers (B, T) of the frames of sequences (B, T, R, R, R)."""
    return torch.arange(sequences.shape[1], device=sequences.device).expand(sequences.shape[:2])


def _near(frames: Tensor, count: int) -> Tensor:
    """Frames (B, F) and their neighbours, (B, F, 3); the first and the last of `count` are their own."""
    return (frames[..., None] + torch.arange(-REACH, REACH + 1, device=frames.device)).clamp(0, count - 1)
