"""The denoiser of HyperDiffusion: a transformer whose tokens are the weight tensors of a field.

Architecture after Peebles et al. 2022 (G.pt) as HyperDiffusion uses it. Module and parameter names are those of
the released checkpoints (below their `model.` prefix), so that their tensors load one to one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

FREQUENCY_COUNT = 128


class ScalarEmbedder(nn.Module):
    """Time steps (B,) as sines and cosines at 128 frequencies 2^a … 2^b, and the step itself: (B, 257).

    The paper's range, 2^0 to 2^20, sends products far beyond float32's integers: what the high channels hold is
    rounding, which a trained network has learnt by heart. The frequencies therefore belong to the weights, and
    their product with the time step is always taken in float32.
    """

    frequencies: Tensor

    def __init__(self, exponents: tuple[float, float]) -> None:
        super().__init__()
        frequencies = 2 ** torch.linspace(*exponents, FREQUENCY_COUNT, device="cpu")  # the same bits on any device
        self.register_buffer("frequencies", frequencies)

    def forward(self, steps: Tensor) -> Tensor:
        """Features (B, 257) of the time steps (B,)."""
        with torch.autocast(steps.device.type, enabled=False):
            scalar = steps.to(torch.float32)[:, None]
            angles = scalar * self.frequencies
            return torch.cat([angles.sin(), angles.cos(), scalar], 1)


class Attention(nn.Module):
    """Multi-head self-attention without a mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) -> the same shape."""
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, tokens, width / heads)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.ln2 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) -> the same shape."""
        x = x + self.attn(self.ln1(x))
        mixed: Tensor = x + self.mlp(self.ln2(x))
        return mixed


class Decoder(nn.Module):
    """Tokens of different sizes in, one output per weight token."""

    def __init__(self, token_sizes: Sequence[int], width: int, depth: int, heads: int, *, positions: bool) -> None:
        super().__init__()
        inputs = (*token_sizes, 2 * FREQUENCY_COUNT + 1)  # the time step is the last token
        self.input_parameter_projections = nn.ModuleList(
            nn.Sequential(nn.Linear(size, width, bias=False)) for size in inputs
        )
        self.ln_in = nn.LayerNorm(width)
        self.pos_emb = nn.Parameter(torch.zeros(1, len(inputs), width), requires_grad=positions)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.ln_f = nn.LayerNorm(width)
        self.output_parameter_projections = nn.ModuleList(
            nn.Sequential(nn.Linear(width, size, bias=False)) for size in token_sizes
        )

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Tokens [(B, size), …] -> outputs of all but the last, side by side (B, sum of sizes)."""
        projected = [layer(token) for layer, token in zip(self.input_parameter_projections, tokens, strict=True)]
        x = self.ln_in(torch.stack(projected, 1)) + self.pos_emb  # (B, tokens, width)
        x = self.ln_f(self.blocks(x))
        outputs = [layer(x[:, index]) for index, layer in enumerate(self.output_parameter_projections)]
        return torch.cat(outputs, 1)


class Transformer(nn.Module):
    """Predicts clean field weights from noisy ones.

    `token_sizes` are the sizes of the field's weight tensors in state-dict order. With `positions` off the
    learned position embedding of the tokens stays zero (the paper's ablation). `time_exponents` is the range of
    the time step's frequencies as powers of two.
    """

    def __init__(
        self,
        token_sizes: Sequence[int],
        *,
        width: int,
        depth: int,
        heads: int,
        positions: bool = True,
        time_exponents: tuple[float, float] = (0.0, 20.0),
    ) -> None:
        super().__init__()
        self.token_sizes = list(token_sizes)
        self.decoder = Decoder(token_sizes, width, depth, heads, positions=positions)
        self.scalar_embedder = ScalarEmbedder(time_exponents)

    def forward(self, weights: Tensor, steps: Tensor) -> Tensor:
        """Prediction (B, D) from noisy weights (B, D) at time steps (B,) int64."""
        outputs: Tensor = self.decoder([*weights.split(self.token_sizes, 1), self.scalar_embedder(steps)])
        return outputs

    def initialize(self, seed: int) -> None:
        """Fresh parameters: N(0, 0.02) for weights of linear layers, zero biases, identity norms, zero positions."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                fresh = torch.empty(module.weight.shape).normal_(0.0, 0.02, generator=generator)
                module.weight.data.copy_(fresh)
                if module.bias is not None:
                    module.bias.data.zero_()
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        self.decoder.pos_emb.data.zero_()
