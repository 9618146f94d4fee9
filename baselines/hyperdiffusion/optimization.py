"""Gradients and optimisers of fields, S of them at once: every tensor has the fields as its first dimension.

The backward pass is written out, since autograd's bookkeeping costs as much as the arithmetic at this size. No sum
runs over fields, so what becomes of one hangs on its neighbours by no more than the rounding of a batched product.
"""

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..muon import descend
from .fields import FieldLayout

CHUNK = 512
"""Rows of a batch taken through the network at once on a CPU: few enough that the activations stay in the cache."""
ADAM_SHARE = 0.3
"""Learning rate of Adam, for what is no matrix, as a share of Muon's."""


class FieldNetworks:
    """Fields being fitted: their weight vectors, and the gradients of their mean cross-entropies in the same layout."""

    def __init__(self, layout: FieldLayout, starts: Tensor) -> None:
        self.vectors = starts.clone()  # (S, D)
        self.slope = torch.zeros_like(self.vectors)
        self.tensors = _stacked(layout, self.vectors)
        self.slopes = _stacked(layout, self.slope)
        self._chunk = CHUNK if starts.device.type == "cpu" else None

    def gradient(self, features: Tensor, targets: Tensor) -> Tensor:
        """Set `slope` to the gradients on encoded points (S, P, features), targets (S, P); returns mean losses (S,)."""
        self.slope.zero_()
        rows = self._chunk or targets.shape[1]
        chunks = zip(features.split(rows, 1), targets.split(rows, 1), strict=True)
        losses = [self._accumulate(*chunk, share=1 / targets.shape[1]) for chunk in chunks]
        return torch.stack(losses).sum(0)

    def _accumulate(self, features: Tensor, targets: Tensor, *, share: float) -> Tensor:
        weights, biases = self.tensors[::2], self.tensors[1::2]
        activations = [features]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            activations.append(torch.baddbmm(bias[:, None], activations[-1], weight.mT).relu_())
        output = torch.baddbmm(biases[-1][:, None], activations[-1], weights[-1].mT).squeeze(2)  # (S, P)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(output, targets, reduction="none").sum(1) * share
        slope = ((output.sigmoid_() - targets) * share)[:, :, None]  # by the logits, (S, P, 1)
        for layer in reversed(range(len(weights))):
            self.slopes[2 * layer].baddbmm_(slope.mT, activations[layer])
            self.slopes[2 * layer + 1] += slope.sum(1)
            if layer:
                slope = torch.ops.aten.threshold_backward(torch.bmm(slope, weights[layer]), activations[layer], 0)
        return losses


def _stacked(layout: FieldLayout, vectors: Tensor) -> list[Tensor]:
    """Views of the weight tensors in `vectors` (S, D), each (S, *its shape)."""
    parts = vectors.split(layout.sizes, 1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, layout.shapes, strict=True)]


class Optimizer(Protocol):
    """Moves networks along their slopes."""

    def step(self, losses: Tensor) -> bool:
        """One step, after which losses were (S,); False when no field has anything more to gain."""


class _Adam:
    """Adam (Kingma and Ba 2015), number by number."""

    def __init__(self, like: Tensor, *, epsilon: float = 1e-8) -> None:
        self.epsilon = epsilon
        self.first = torch.zeros_like(like)
        self.second = torch.zeros_like(like)
        self.steps = 0

    def direction(self, slope: Tensor, beta1: float = 0.9, beta2: float = 0.999) -> Tensor:
        """The step of learning rate 1 along `slope` (S, N), to be subtracted, (S, N)."""
        self.steps += 1
        self.first.lerp_(slope, 1 - beta1)
        self.second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
        scale = (self.second / (1 - beta2**self.steps)).sqrt_().add_(self.epsilon)
        return self.first / scale / (1 - beta1**self.steps)


class MuonCosine:
    """Muon (Jordan et al. 2024) on the matrices, Adam on the rest; warm-up over 5 %, then a cosine to zero."""

    def __init__(self, networks: FieldNetworks, learning_rate: float, steps: int) -> None:
        self.networks, self.learning_rate, self.total = networks, learning_rate, steps
        matrices = [slope.ndim == 3 and slope.shape[1] > 1 for slope in networks.slopes]
        self.matrices = [k for k, is_matrix in enumerate(matrices) if is_matrix]
        self.momenta = [torch.zeros_like(networks.slopes[k]) for k in self.matrices]
        sizes = [slope[0].numel() for slope in networks.slopes]
        # Places (N,) in a vector of all that is in no matrix. Few: Adam of whole vectors takes a twentieth of a step,
        # most of it for roots of zeros.
        self.rest = torch.from_numpy(np.flatnonzero(~np.repeat(matrices, sizes))).to(networks.slope.device)
        self.adam = _Adam(networks.slope[:, self.rest])
        self.done = 0

    def step(self, losses: Tensor) -> bool:
        """See `Optimizer.step`; the schedule alone decides on the end."""
        self.done += 1
        rate = self.learning_rate * self._schedule()
        for k, momentum in zip(self.matrices, self.momenta, strict=True):
            descend(self.networks.tensors[k], self.networks.slopes[k], momentum, rate)
        moved = self.adam.direction(self.networks.slope.index_select(1, self.rest)).mul_(-rate * ADAM_SHARE)
        self.networks.vectors.scatter_add_(1, self.rest.expand_as(moved), moved)
        return True

    def _schedule(self) -> float:
        warmup = max(1, min(self.total, max(20, self.total // 20)))
        if self.done < warmup:
            return self.done / warmup
        return 0.5 * (1 + math.cos(math.pi * (self.done - warmup) / max(1, self.total - warmup)))


class AdamPlateau:
    """The original's: Adam, rate times 0.8 after 10 epochs without a new best loss, end after 50; field by field.

    It sums its loss over the batch where ours is a mean: the same steps, were Adam's epsilon not.
    """

    def __init__(self, networks: FieldNetworks, learning_rate: float, *, batch: int, steps_per_epoch: int) -> None:
        self.networks, self.steps_per_epoch = networks, steps_per_epoch
        self.adam = _Adam(networks.slope, epsilon=1e-8 / batch)
        count = len(networks.vectors)
        self.rates = np.full(count, learning_rate)
        self.best = np.full(count, np.inf)
        self.since_best, self.since_cut = np.zeros(count, int), np.zeros(count, int)
        self.losses: list[Tensor] = []
        self.factors = self._factors()

    def step(self, losses: Tensor) -> bool:
        """See `Optimizer.step`."""
        self.networks.vectors.sub_(self.adam.direction(self.networks.slope).mul_(self.factors))
        self.losses.append(losses)
        return len(self.losses) < self.steps_per_epoch or self._end_epoch()

    def _end_epoch(self) -> bool:
        means = torch.stack(self.losses).mean(0).double().cpu().numpy()
        self.losses = []
        better = (means < self.best) & self._running
        self.best = np.where(better, means, self.best)
        self.since_best = np.where(better, 0, self.since_best + 1)
        self.since_cut = np.where(better, 0, self.since_cut + 1)
        cut = self.since_cut > 10
        self.rates = np.where(cut, np.maximum(0.8 * self.rates, 1e-5), self.rates)
        self.since_cut[cut] = 0
        self.factors = self._factors()
        return bool(self._running.any())

    @property
    def _running(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return self.since_best < 50

    def _factors(self) -> Tensor:
        """Learning rates (S, 1), zero for fields whose patience is over."""
        rates = torch.from_numpy(np.where(self._running, self.rates, 0.0))
        return rates.to(self.networks.vectors)[:, None]
