"""The three networks of DPC: PointNet encoder, normalising flow, pointwise denoiser.

Module and parameter names are those of the released checkpoints, so that their tensors load one to one.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..diffusion import GaussianDiffusion


class PointNetEncoder(nn.Module):
    """A cloud (B, P, 3) -> mean and log-variance (B, latent) of its latent, whatever the order of its points.

    `widths` are those of the four layers before the maximum over the points, `head_widths` those of the two
    hidden layers of either head.
    """

    def __init__(self, latent: int, widths: Sequence[int], head_widths: Sequence[int]) -> None:
        super().__init__()
        for number, (inputs, outputs) in enumerate(pairwise((3, *widths)), 1):
            self.add_module(f"conv{number}", nn.Conv1d(inputs, outputs, 1))
            self.add_module(f"bn{number}", nn.BatchNorm1d(outputs))
        self.depth = len(widths)
        for head in "mv":
            for number, (inputs, outputs) in enumerate(pairwise((widths[-1], *head_widths, latent)), 1):
                self.add_module(f"fc{number}_{head}", nn.Linear(inputs, outputs))
            for number, width in enumerate(head_widths, 1):
                self.add_module(f"fc_bn{number}_{head}", nn.BatchNorm1d(width))
        self.head_depth = len(head_widths) + 1

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, latent) of the latents of clouds (B, P, 3)."""
        x = points.flatten(0, 1)  # (B P, 3): a convolution of kernel 1 is a linear layer
        for number in range(1, self.depth + 1):
            convolution = self.get_submodule(f"conv{number}")
            assert isinstance(convolution, nn.Conv1d)
            x = functional.linear(x, convolution.weight[:, :, 0], convolution.bias)
            x = self.get_submodule(f"bn{number}")(x)
            x = functional.relu_(x) if number < self.depth else x
        pooled = x.unflatten(0, points.shape[:2]).amax(1)  # (B, width)
        return self._head("m", pooled), self._head("v", pooled)

    def _head(self, head: str, x: Tensor) -> Tensor:
        for number in range(1, self.head_depth):
            x = self.get_submodule(f"fc{number}_{head}")(x)
            x = functional.relu(self.get_submodule(f"fc_bn{number}_{head}")(x))
        result: Tensor = self.get_submodule(f"fc{self.head_depth}_{head}")(x)
        return result


class AffineCoupling(nn.Module):
    """One half of the numbers scales and shifts the other; the halves change places after where `swap`."""

    def __init__(self, size: int, width: int, *, swap: bool) -> None:
        super().__init__()
        self.kept = size - size // 2
        self.swap = swap
        self.net_s_t = nn.Sequential(
            nn.Linear(self.kept, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, 2 * (size - self.kept)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The transformed numbers (B, size), and the logarithm of the Jacobian's determinant (B,)."""
        kept, changed = self._halves(x)
        scale, shift = self._scale_and_shift(kept)
        return self._joined(kept, changed * scale + shift), scale.log().sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """What `forward` made `y` (B, size) of."""
        kept, changed = self._halves(y)
        scale, shift = self._scale_and_shift(kept)
        return self._joined(kept, (changed - shift) / scale)

    def _scale_and_shift(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.net_s_t(kept).chunk(2, 1)
        return torch.sigmoid(scale + 2.0), shift

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x[:, : self.kept], x[:, self.kept :]
        return (second, first) if self.swap else (first, second)

    def _joined(self, kept: Tensor, changed: Tensor) -> Tensor:
        return torch.cat([changed, kept] if self.swap else [kept, changed], 1)


class LatentFlow(nn.Module):
    """A bijection between latents and standard normal numbers. Without couplings it is the identity.

    Couplings can only shrink numbers. Unless they may `stretch` in the end (after ActNorm; Kingma and Dhariwal 2018),
    latents that lie closer together than normal numbers stay there, and what is drawn from the prior lies between them.
    """

    stretch: nn.Parameter | None

    def __init__(self, size: int, depth: int, width: int, *, stretch: bool = False) -> None:
        super().__init__()
        if size % 2 and depth:
            raise ValueError(f"a flow halves its numbers, and {size} cannot be halved")
        self.register_parameter("stretch", nn.Parameter(torch.zeros(size)) if stretch else None)
        self.chain = nn.ModuleList(AffineCoupling(size, width, swap=index % 2 == 0) for index in range(depth))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Normal numbers (B, size) of latents (B, size), and the log-determinant of the way there (B,)."""
        x, total = latents, latents.new_zeros(len(latents))
        for coupling in self.chain:
            x, log_determinant = coupling(x)
            total = total + log_determinant
        return (x, total) if self.stretch is None else (x * self.stretch.exp(), total + self.stretch.sum())

    def inverse(self, normal: Tensor) -> Tensor:
        """Latents (B, size) of normal numbers (B, size)."""
        x = normal if self.stretch is None else normal * (-self.stretch).exp()
        for coupling in reversed(self.chain):
            assert isinstance(coupling, AffineCoupling)
            x = coupling.inverse(x)
        return x


class ConcatSquash(nn.Module):
    """A linear layer whose outputs are scaled and shifted by what the context says."""

    def __init__(self, inputs: int, outputs: int, context: int) -> None:
        super().__init__()
        self._layer = nn.Linear(inputs, outputs)
        self._hyper_bias = nn.Linear(context, outputs, bias=False)
        self._hyper_gate = nn.Linear(context, outputs)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, P, inputs) and contexts (B, 1, context) -> (B, P, outputs)."""
        gate = torch.sigmoid(self._hyper_gate(context))
        return torch.addcmul(self._hyper_bias(context), self._layer(x), gate)


class PointwiseNet(nn.Module):
    """Predicts the noise of each point for itself, given the shape's latent and the beta of the time step.

    With `octaves` it also sees sines and cosines of the coordinates, of 1/2, 1, 2, … radians per unit.
    """

    frequencies: Tensor

    def __init__(self, latent: int, widths: Sequence[int], *, residual: bool, octaves: int = 0) -> None:
        super().__init__()
        self.residual = residual
        self.register_buffer("frequencies", 0.5 * 2.0 ** torch.arange(octaves), persistent=False)
        sizes = (3 + 6 * octaves, *widths, 3)
        self.layers = nn.ModuleList(ConcatSquash(inputs, outputs, latent + 3) for inputs, outputs in pairwise(sizes))

    def forward(self, x: Tensor, time: Tensor, latents: Tensor) -> Tensor:
        """Noise (B, P, 3) in points (B, P, 3) at times (B,), given latents (B, latent)."""
        time = time[:, None, None]
        context = torch.cat([time, time.sin(), time.cos(), latents[:, None]], 2)  # (B, 1, latent + 3)
        output = self._encoded(x)
        for index, layer in enumerate(self.layers):
            output = layer(output, context)
            if index + 1 < len(self.layers):
                output = functional.leaky_relu_(output, 0.01)
        return x + output if self.residual else output

    def _encoded(self, x: Tensor) -> Tensor:
        if not len(self.frequencies):
            return x
        angles = (x[..., None] * self.frequencies).flatten(2)  # (B, P, 3 octaves)
        return torch.cat([x, angles.sin(), angles.cos()], 2)


class VarianceSchedule(nn.Module):
    """The tables of a diffusion of T steps as the checkpoints hold them: (T + 1,) each, step 0 being the data."""

    betas: Tensor

    def __init__(self, diffusion: GaussianDiffusion) -> None:
        super().__init__()
        betas, signal = diffusion.betas, diffusion.alphas_cumprod
        tables = {
            "betas": (0.0, betas),
            "alphas": (1.0, 1 - betas),
            "alpha_bars": (1.0, signal),
            "sigmas_flex": (0.0, betas**0.5),
            "sigmas_inflex": (0.0, diffusion.posterior_variance**0.5),
        }
        for name, (first, table) in tables.items():
            padded = torch.cat([torch.tensor([first], dtype=torch.float64), torch.from_numpy(table)])
            self.register_buffer(name, padded.float())


class PointDiffusion(nn.Module):
    """The denoiser with its schedule."""

    def __init__(self, net: PointwiseNet, schedule: VarianceSchedule) -> None:
        super().__init__()
        self.net = net
        self.var_sched = schedule


class DPCNetwork(nn.Module):
    """Encoder, prior and denoiser."""

    def __init__(
        self,
        diffusion: GaussianDiffusion,
        *,
        latent: int,
        encoder_widths: Sequence[int],
        head_widths: Sequence[int],
        flow_depth: int,
        flow_width: int,
        decoder_widths: Sequence[int],
        flow_stretch: bool = False,
        residual: bool = True,
        octaves: int = 0,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.time_scale = time_scale
        self.encoder = PointNetEncoder(latent, encoder_widths, head_widths)
        self.flow = LatentFlow(latent, flow_depth, flow_width, stretch=flow_stretch)
        decoder = PointwiseNet(latent, decoder_widths, residual=residual, octaves=octaves)
        self.diffusion = PointDiffusion(decoder, VarianceSchedule(diffusion))

    def denoise(self, x: Tensor, steps: Tensor, latents: Tensor) -> Tensor:
        """Noise (B, P, 3) in points (B, P, 3) after `steps` (B,) int64 of the diffusion, 0 being its first step."""
        times = self.diffusion.var_sched.betas[steps + 1] * self.time_scale
        prediction: Tensor = self.diffusion.net(x, times, latents)
        return prediction

    def divergence(self, latents: Tensor, log_variance: Tensor) -> Tensor:
        """KL(q(z|x) || p(z)) in nats by one draw z of it (B,): `latents` (B, D), of log-variance (B, D).

        The original counts the normal prior's constant D times: its values are higher by D (D - 1) log(2 pi) / 2,
        which moves no gradient and would hide the rest of the loss.
        """
        normal, log_determinant = self.flow(latents)
        # The normal distributions' constants are the same for latent and prior, and cancel.
        log_prior = log_determinant - 0.5 * normal.square().sum(1)
        entropy = 0.5 * (log_variance + 1).sum(1)
        return -entropy - log_prior

    @property
    def matrices(self) -> list[str]:
        """Names of the denoiser's weights between hidden layers: what Muon may move."""
        inner = range(1, len(self.diffusion.net.layers) - 1)
        return [f"diffusion.net.layers.{index}._layer.weight" for index in inner]

    def initialize(self, seed: int) -> None:
        """Fresh parameters: uniform within 1 / sqrt(inputs) for linear layers and convolutions, identity norms."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                bound = module.weight[0].numel() ** -0.5
                for parameter in module.parameters():
                    parameter.data.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
            elif isinstance(module, nn.BatchNorm1d):
                module.reset_parameters()
