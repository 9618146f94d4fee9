"""What a Gaussian expects to see behind noise: the best linear denoiser, known before any training.

In much noise the ideal denoiser of any data is next to that of the Gaussian with the same mean and covariance
(Wang and Vastola 2024). A small network spends most of a short training on finding it, and need only correct it.
"""

from typing import Self

import torch
from torch import Tensor, nn


class Gaussian(nn.Module):
    """A normal distribution of numbers about zero: its principal components, and one variance for all else."""

    components: Tensor
    """(K, D): orthonormal rows."""
    deviations: Tensor
    """(K,): along the components."""
    rest: Tensor
    """(): the deviation along every direction beside them."""

    def __init__(self, components: int, numbers: int) -> None:
        super().__init__()
        self.register_buffer("components", torch.zeros(components, numbers))
        self.register_buffer("deviations", torch.zeros(components))
        self.register_buffer("rest", torch.zeros(()))

    @classmethod
    def of(cls, data: Tensor, components: int) -> Self:
        """That of `data` (N, ...), whose mean is zero. Data of fewer directions has fewer `components`."""
        rows = data.flatten(1).double()
        moments, directions = torch.linalg.eigh(rows @ rows.T)  # of N numbers instead of D: N is much smaller
        largest = moments.argsort(descending=True)[:components]
        largest = largest[moments[largest] > 1e-9 * moments.sum()]
        scales = moments[largest].sqrt()
        gaussian = cls(len(largest), rows.shape[1])
        gaussian.components.copy_(directions[:, largest].T @ rows / scales[:, None])
        gaussian.deviations.copy_(scales / len(rows) ** 0.5)
        left = (moments.sum() - moments[largest].sum()).clamp(min=0) / len(rows)
        gaussian.rest.copy_((left / max(1, rows.shape[1] - len(largest))).sqrt())
        return gaussian

    def error(self, signal: Tensor) -> Tensor:
        """Root mean square error, (B,), of what `forward` expects at `signal` (B,); at 0 the data's deviation."""
        along = _remainder(self.deviations.square(), signal[:, None]).sum(1)
        beside = _remainder(self.rest.square(), signal)
        components, numbers = self.components.shape
        return ((along + (numbers - components) * beside) / numbers).sqrt()

    def forward(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """The data expected behind `noisy` (B, ...), of whose variance a share `signal` (B,) is the data's.

        That is E[x_0 | x_t] where x_t = sqrt(signal) x_0 + sqrt(1 - signal) noise.
        """
        with torch.autocast(noisy.device.type, enabled=False):  # the rounding of bfloat16 can exceed the error
            flat, signal = noisy.flatten(1), signal[:, None]
            along = _shrinkage(self.deviations.square(), signal)
            beside = _shrinkage(self.rest.square(), signal)
            places = flat @ self.components.T
            return (beside * flat + (places * (along - beside)) @ self.components).reshape(noisy.shape)


def _shrinkage(variance: Tensor, signal: Tensor) -> Tensor:
    """The factor from a noisy number to what is expected behind it."""
    return signal.sqrt() * variance / (signal * variance + 1 - signal)


def _remainder(variance: Tensor, signal: Tensor) -> Tensor:
    """The variance that is left of a number once its noisy value is known."""
    return variance * (1 - signal) / (signal * variance + 1 - signal)
