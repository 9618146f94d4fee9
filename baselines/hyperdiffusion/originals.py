"""Files of the original HyperDiffusion, read as what they are.

Two kinds are known: the Lightning checkpoint of a denoiser, and folders of overfitted fields with one file
`occ_<shape>_jitter_0_model_final.pth` each. The number of attention heads is in none of them; all published models
have the 16 of the preset `paper`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hdbench.checkpoints import read_checkpoint, refuse_misfit, tensors_of
from hdbench.errors import HdbenchError

from ..diffusion import GaussianDiffusion
from ..placement import Placement
from .collection import FittedField
from .fields import FieldLayout
from .transformer import Transformer

PREFIX = "model."
BUFFERS = ("betas", "alphas", "alpha_hats", "alpha_hats_prev")
"""Saved beside the denoiser. All four hold the betas."""
FIELD_FILE = re.compile(r"occ_(?P<name>.+)_jitter_(?P<jitter>\d+)_model_final\.pth")
FRAMES = 16
"""Of every 4D shape."""
AS_IT_IS = Placement((0.0, 0.0, 0.0), 1.0)
"""The originals' shapes live in the field's own cube; where they stood before is not known."""


@dataclass(frozen=True, eq=False)
class OriginalDenoiser:
    """The network of a Lightning checkpoint, and what its tensors say of it."""

    weights: dict[str, Tensor]
    """Under our transformer's names, float32."""
    betas: Tensor | None
    """(T,) of the diffusion it was trained with, where the file has them."""
    layout: FieldLayout
    width: int
    depth: int

    @property
    def facts(self) -> dict[str, Any]:
        """What the file decides of the recipe."""
        return {
            "fields": asdict(self.layout),
            "denoiser": {"width": self.width, "depth": self.depth},
        }

    def refuse_other_diffusion(self, diffusion: GaussianDiffusion, where: Path) -> None:
        """Raise HdbenchError when the checkpoint was trained with another noise schedule."""
        known = torch.from_numpy(diffusion.betas)
        if self.betas is None:
            return
        if self.betas.ndim != 1 or not len(self.betas):
            raise HdbenchError(f"{where} does not fit: its betas have shape {tuple(self.betas.shape)}, expected (T,).")
        if self.betas.shape != known.shape or not torch.allclose(self.betas.double(), known, rtol=1e-5, atol=0):
            raise HdbenchError(
                f"{where} was trained with {len(self.betas)} betas from {float(self.betas[0]):.3g} to "
                f"{float(self.betas[-1]):.3g}, not the recipe's; --set diffusion.timesteps, beta_start and beta_end."
            )


def read_denoiser(path: Path) -> OriginalDenoiser:
    """Read a Lightning checkpoint; HdbenchError says what does not fit."""
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint, Mapping) or "state_dict" not in checkpoint:
        raise HdbenchError(f"{path} holds no 'state_dict'; expected HyperDiffusion's Lightning checkpoint (.ckpt).")
    state = tensors_of(checkpoint["state_dict"], f"The state_dict of {path}")
    buffers = {name: state.pop(name) for name in BUFFERS if name in state}
    foreign = sorted(name for name in state if not name.startswith(PREFIX))
    if foreign or not state:
        found = f"its tensor {foreign[0]!r} is of another model" if foreign else "it is empty"
        raise HdbenchError(f"{path} is no checkpoint of HyperDiffusion's transformer: {found}.")
    weights = {name.removeprefix(PREFIX): tensor.float() for name, tensor in state.items()}
    layout, width, depth = _size(weights, path)
    refuse_misfit(weights, _expected(layout, width, depth), str(path))
    if diverged := next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None):
        raise HdbenchError(f"{path} cannot be used: tensor {diverged!r} holds numbers that are not finite.")
    return OriginalDenoiser(weights, buffers.get("betas"), layout, width, depth)


def _size(weights: Mapping[str, Tensor], path: Path) -> tuple[FieldLayout, int, int]:
    """Fields, width and depth of the transformer whose tensors these are."""
    projections = [weights.get(f"decoder.output_parameter_projections.{k}.0.weight") for k in range(len(weights))]
    present = [tensor for tensor in projections if tensor is not None]
    blocks = {match[1] for name in weights if (match := re.match(r"decoder\.blocks\.(\d+)\.", name))}
    if not present or not blocks or any(tensor.ndim != 2 for tensor in present):
        raise HdbenchError(f"{path} is no checkpoint of HyperDiffusion's transformer: it lacks projections or blocks.")
    sizes = [len(tensor) for tensor in present]
    return layout_of(sizes, str(path)), present[0].shape[1], len(blocks)


def _expected(layout: FieldLayout, width: int, depth: int) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = Transformer(layout.sizes, width=width, depth=depth, heads=1)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def layout_of(sizes: Sequence[int], where: str) -> FieldLayout:
    """The fields whose weight tensors have these sizes: weight, bias, weight, bias, …"""
    hidden = tuple(sizes[1:-1:2])
    features = sizes[0] // hidden[0] if all(sizes) and hidden else 0
    for dimensions in (3, 4):  # an encoding has an odd number of features per coordinate, so only one can fit
        per_coordinate, rest = divmod(features, dimensions)
        layout = FieldLayout(hidden, per_coordinate // 2, dimensions)
        if hidden and not rest and per_coordinate % 2 and layout.sizes == tuple(sizes):
            return layout
    raise HdbenchError(
        f"{where} is of fields with weight tensors of {', '.join(map(str, sizes))} numbers, which are no "
        "coordinate network of 3 or 4 dimensions."
    )


def read_fields(folder: Path) -> tuple[list[FittedField], FieldLayout]:
    """Read a folder of overfitted fields, sorted by name; all must be of one architecture.

    A field is called as its shape; of one that was fitted several times, `<shape>_jitter_<k>` from k = 1 on. Files of
    other names are left alone. Raises HdbenchError where there is no field or one does not fit.
    """
    files = {_field_name(match): path for path in folder.iterdir() if (match := FIELD_FILE.fullmatch(path.name))}
    if not files:
        raise HdbenchError(f"{folder} holds no overfitted fields; expected occ_<shape>_jitter_0_model_final.pth files.")
    layout: FieldLayout | None = None
    fields = []
    for name, path in sorted(files.items()):
        state = tensors_of(read_checkpoint(path), str(path))
        layout = layout or layout_of(_sizes(state, path), str(path))
        names = _tensor_names(len(layout.shapes))
        refuse_misfit(state, dict(zip(names, layout.shapes, strict=True)), str(path))
        vector = layout.flatten(state).float().numpy()
        reason = None if np.isfinite(vector).all() else "its weights are not finite"
        frames = FRAMES if layout.dimensions == 4 else 1
        fields.append(FittedField(name, vector, AS_IT_IS, frames, float("nan"), reason))
    assert layout is not None  # there is at least one file
    return fields, layout


def _field_name(match: re.Match[str]) -> str:
    return match["name"] if int(match["jitter"]) == 0 else f"{match['name']}_jitter_{match['jitter']}"


def _sizes(state: Mapping[str, Tensor], path: Path) -> list[int]:
    names = _tensor_names(len(state))
    if missing := sorted(set(names) - state.keys()):
        raise HdbenchError(f"{path} is no overfitted field: tensor {missing[0]!r} is missing.")
    return [state[name].numel() for name in names]


def _tensor_names(count: int) -> list[str]:
    return [f"layers.{k // 2}.{'bias' if k % 2 else 'weight'}" for k in range(count)]
