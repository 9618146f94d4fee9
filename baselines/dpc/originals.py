"""Checkpoints of the original DPC, read as what they are.

A file holds `args`, the training script's command line, and `state_dict`, with the schedule's tables among the
weights. The generators load, with the flow prior or a normal one; the autoencoder has no prior to draw shapes from.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hdbench.checkpoints import read_checkpoint, refuse_misfit, tensors_of
from hdbench.errors import HdbenchError

from .network import DPCNetwork

PRIORS = ("flow", "gaussian")
_FIELDS = {
    "latent_dim": ("network", "latent"),
    "latent_flow_depth": ("network", "flow_depth"),
    "latent_flow_hidden_dim": ("network", "flow_width"),
    "residual": ("network", "residual"),
    "num_steps": ("diffusion", "timesteps"),
    "sched_mode": ("diffusion", "schedule"),
    "beta_1": ("diffusion", "beta_start"),
    "beta_T": ("diffusion", "beta_end"),
    "flexibility": ("diffusion", "flexibility"),
    "kl_weight": ("objective", "kl_weight"),
    "scale_mode": ("clouds", "scale"),
}
"""Where an option of the original's stands in a recipe."""


@dataclass(frozen=True, eq=False)
class OriginalGenerator:
    """The tensors of a checkpoint, and what its options say of the recipe."""

    tensors: dict[str, Tensor]
    facts: dict[str, dict[str, Any]]

    def fill(self, network: DPCNetwork, where: Path) -> None:
        """Load the tensors into `network`; HdbenchError when they, or the schedule, are of another model."""
        expected = network.state_dict()
        refuse_misfit(self.tensors, {name: tensor.shape for name, tensor in expected.items()}, str(where))
        betas = "diffusion.var_sched.betas"
        if not torch.allclose(self.tensors[betas].float(), expected[betas], rtol=1e-4, atol=1e-8):
            raise HdbenchError(
                f"{where} was trained with betas from {float(self.tensors[betas][1]):.3g} to "
                f"{float(self.tensors[betas][-1]):.3g}, not the recipe's; --set diffusion.beta_start and beta_end."
            )
        network.load_state_dict(self.tensors)


def read_generator(path: Path) -> OriginalGenerator:
    """Read a checkpoint of the original training script; HdbenchError says what does not fit."""
    checkpoint = read_checkpoint(path)
    if not isinstance(checkpoint, Mapping) or "state_dict" not in checkpoint or "args" not in checkpoint:
        raise HdbenchError(f"{path} holds no 'args' and 'state_dict'; expected a checkpoint of DPC's train_gen.py.")
    options = checkpoint["args"]
    options = vars(options) if isinstance(options, argparse.Namespace) else options
    if not isinstance(options, Mapping):
        raise HdbenchError(f"{path} holds options that cannot be read; expected an argparse.Namespace in 'args'.")
    prior = options.get("model")
    if prior not in PRIORS:
        raise HdbenchError(
            f"{path} is no generator of DPC (its prior is {str(prior)[:40]!r}, not flow or gaussian): an autoencoder "
            "has no prior to draw shapes from. Import a generator, such as GEN_airplane.pt."
        )
    if options.get("spectral_norm"):
        raise HdbenchError(f"{path} was trained with spectral norm, which no released generator was; not supported.")
    tensors = tensors_of(checkpoint["state_dict"], f"The state_dict of {path}")
    return OriginalGenerator(tensors, _facts(options, prior))


def _facts(options: Mapping[str, Any], prior: str) -> dict[str, dict[str, Any]]:
    """What the options decide of the recipe, as nested tables."""
    facts: dict[str, dict[str, Any]] = {}
    for option, (table, field) in _FIELDS.items():
        if option in options:
            facts.setdefault(table, {})[field] = options[option]
    if "num_steps" in options:
        facts["sampling"] = {"steps": options["num_steps"]}
    if prior == "gaussian":
        facts.setdefault("network", {})["flow_depth"] = 0
    if "scale_mode" in options and options["scale_mode"] is None:
        facts["clouds"]["scale"] = "none"
    return facts
