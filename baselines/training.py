"""The training loop all our methods share.

What this module guarantees: a training that is killed and started again goes on from its last checkpoint and
ends with the same bits as one that never stopped. Batches and noise are functions of (seed, step), checkpoints
hold weights, their moving average, the optimiser's moments and the loss curve, and are written atomically.

Which weights are kept is said in `Trained.rule`: those after the last step, or their moving average. Nothing is
chosen by a loss, and no split but the one that is learnt from is seen here.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.seeds import derive_seed, generator
from hdbench.store import is_sound, sealed_path

from .muon import Muon

CURVE_POINTS = 200
"""Points kept of a loss curve."""

Loss = Callable[[Tensor, torch.Generator], Tensor]
"""The loss of one step: indices of the items (B,) int64 and a seeded CPU generator for noise -> a scalar."""


class TrainingRecipe(BaseModel):
    """The training part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int | None = Field(default=None, ge=1)
    """Length in optimiser steps; either this or `epochs`."""
    epochs: int | None = Field(default=None, ge=1)
    """Length in passes over the data."""
    batch_size: int = Field(default=32, ge=1)
    drop_last: bool = False
    """Leave out the last, smaller batch of each pass (where there is a full one)."""
    shuffle: bool = True
    """A new order in each pass; otherwise all passes have the order of the first, drawn from the seed."""
    optimizer: Literal["adam", "adamw", "muon"] = "adamw"
    """`muon`: Muon for the matrices that the method names, AdamW for all else."""
    learning_rate: float = Field(default=2e-4, gt=0)
    muon_rate: float = Field(default=0.02, gt=0)
    """Learning rate of Muon; it rises and falls as the other does."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    """Linear rise of the learning rate at the start."""
    decay: Literal["none", "cosine", "epochs", "linear"] = "none"
    """`cosine`: to zero at the last step. `epochs`: times `decay_factor` every `decay_epochs` passes. `linear`: times
    `decay_factor` in all, on a straight line between the two steps of `decay_span`."""
    decay_factor: float = Field(default=1.0, gt=0, le=1)
    decay_epochs: int = Field(default=1, ge=1)
    decay_span: tuple[int, int] = (0, 1)
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the whole gradient."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of the moving average of the weights, which is then what is kept. It starts as a plain mean."""
    mixed_precision: bool = False
    """Compute in bfloat16 where torch holds it safe, on a GPU. The CPU computes in float32 all the same."""
    keep: Literal["last"] = "last"
    """The weights, or their moving average, after the last step. There is no other choice; stored recipes state it."""
    checkpoint_steps: int = Field(default=1000, ge=1)
    threads: int = Field(default=2, ge=1)
    """CPU threads, whatever the machine has: how sums are split over threads is part of the bits."""

    def total_steps(self, items: int) -> int:
        """Optimiser steps on `items` training items."""
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a training recipe needs either steps or epochs")
        return self.steps if self.steps is not None else (self.epochs or 0) * self.steps_per_epoch(items)

    def steps_per_epoch(self, items: int) -> int:
        """Optimiser steps of one pass over `items` items."""
        full = items // self.batch_size
        return full if self.drop_last and full else math.ceil(items / self.batch_size)

    def rate(self, step: int, items: int) -> float:
        """Learning rate of `step` (from 0)."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.decay == "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * step / self.total_steps(items)))
        if self.decay == "epochs":
            return rate * self.decay_factor ** (step // self.steps_per_epoch(items) // self.decay_epochs)
        if self.decay == "linear":
            start, end = self.decay_span
            share = min(1.0, max(0.0, (step - start) / (end - start)))
            return rate * (1 - share + share * self.decay_factor)
        return rate


@dataclass(frozen=True)
class Trained:
    """What a training leaves behind."""

    weights: dict[str, Tensor]
    """The state dict to keep: of the moving average where there is one, on the CPU."""
    curve: list[tuple[int, float]]
    """(step, mean loss since the point before)."""
    rule: str
    """How these weights were chosen."""


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run a block with `count` torch threads, so that its bits do not hang on the machine's."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def batch_at(step: int, *, items: int, recipe: TrainingRecipe, seed: int) -> npt.NDArray[np.int64]:
    """Indices of the items of one step: each pass is a permutation drawn from (seed, pass)."""
    epoch, place = divmod(step, recipe.steps_per_epoch(items))
    order = generator(seed, "order", epoch if recipe.shuffle else 0).permutation(items)
    return order[place * recipe.batch_size : (place + 1) * recipe.batch_size]


def train(
    model: nn.Module,
    loss: Loss,
    recipe: TrainingRecipe,
    *,
    items: int,
    seed: int,
    workspace: Path,
    progress: Progress,
    description: str = "training",
    matrices: Collection[str] = (),
) -> Trained:
    """Train `model` in place on `items` items, going on from the checkpoint in `workspace` if there is one.

    `matrices` are the names of the parameters that Muon moves where the recipe asks for it. Raises HdbenchError,
    naming a batch size that fits, when the device has not memory enough.
    """
    with fixed_threads(recipe.threads):
        path = workspace / "training.safetensors"
        training = _Training(model, recipe, loss, matrices, items=items, seed=seed, path=path)
        return training.run(progress, description)


class _Training:
    """State of a running training: what a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        recipe: TrainingRecipe,
        loss: Loss,
        matrices: Collection[str],
        *,
        items: int,
        seed: int,
        path: Path,
    ) -> None:
        self.model, self.recipe, self.loss = model, recipe, loss
        self.items, self.seed, self.path = items, seed, path
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.device = next(iter(self.parameters.values())).device
        self.optimizers = _optimizers(self.parameters, recipe, matrices)
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()} if recipe.ema else {}
        self.step = 0
        self.curve: list[tuple[int, float]] = []
        self.recent: list[float] = []

    def run(self, progress: Progress, description: str) -> Trained:
        total = self.recipe.total_steps(self.items)
        self._resume()
        self.model.train()
        with progress.task(description, total, done=self.step) as task:
            while self.step < total:
                value = self._advance(every=max(1, total // CURVE_POINTS))
                task.advance(1, note=f"loss {value:.4f}")
                if self.step % self.recipe.checkpoint_steps == 0 or self.step == total:
                    self._save()
        self.model.eval()
        self.model.zero_grad()  # or the gradients keep their memory as long as the model lives
        kind = f"moving average (decay {self.recipe.ema:g})" if self.recipe.ema else "weights"
        return Trained(self._result(), self.curve, f"{kind} after the last step ({total})")

    def _advance(self, *, every: int) -> float:
        """One optimiser step; returns the loss as last recorded."""
        share = self.recipe.rate(self.step, self.items) / self.recipe.learning_rate
        for optimizer in self.optimizers:
            muon = isinstance(optimizer, Muon)
            for group in optimizer.param_groups:
                group["lr"] = share * self.recipe.muon_rate if muon else self.recipe.rate(self.step, self.items)
        batch = batch_at(self.step, items=self.items, recipe=self.recipe, seed=self.seed)
        try:
            value = self._descend(batch)
        except torch.OutOfMemoryError:
            size = len(batch)
        else:
            self.step += 1
            self._average()
            return self._record(value, every=every)
        # Outside the handler, whose traceback holds on to what did not fit.
        raise self._too_large(size, self._largest_that_fits(batch))

    def _descend(self, batch: npt.NDArray[np.int64]) -> float:
        """Loss, gradient and optimiser step on the items `batch`; returns the loss."""
        seed = derive_seed(self.seed, "noise", self.step)
        with self._precision(), self._seeded(seed):
            value = self.loss(torch.from_numpy(batch), torch.Generator().manual_seed(seed))
        if not torch.isfinite(value):
            raise HdbenchError(
                f"Training diverged: the loss is {value.item():g} at step {self.step + 1}. Lower learning_rate, or set "
                "clip_norm, below [training] in the recipe."
            )
        self.model.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        return value.item()

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """The one whose state knows `parameter`: Muon's are few, all others are Adam's."""
        owners = (
            o for o in self.optimizers for group in o.param_groups if any(p is parameter for p in group["params"])
        )
        return next(owners)

    def _record(self, value: float, *, every: int) -> float:
        self.recent.append(value)
        if self.step % every == 0:
            self.curve.append((self.step, float(np.mean(self.recent))))
            self.recent = []
        return self.curve[-1][1] if self.curve else value

    def _precision(self) -> torch.autocast:
        enabled = self.recipe.mixed_precision and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Torch's global state, as dropout knows no other generator."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def _largest_that_fits(self, batch: npt.NDArray[np.int64]) -> int:
        """The largest of half, a quarter, … of the batch that fits; 0 when none does.

        Each is tried as a whole step, since the optimiser needs memory too. The weights are spoilt afterwards.
        """
        size = len(batch)
        while size := size // 2:
            self.model.zero_grad()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            try:
                self._descend(batch[:size])
            except torch.OutOfMemoryError:
                continue
            return size
        return 0

    def _too_large(self, size: int, fits: int) -> HdbenchError:
        here = f"Training ran out of memory on {self.device} with {size} items in a batch"
        if not fits:
            return HdbenchError(f"{here}, and a single one does not fit; choose a smaller preset or another device.")
        return HdbenchError(f"{here}; {fits} fit. Set batch_size = {fits} below [training] in the recipe.")

    def _average(self) -> None:
        if self.recipe.ema is None:
            return
        weight = 1 - min(self.recipe.ema, self.step / (self.step + 10))
        with torch.no_grad():
            averages = list(self.averages.values())
            torch._foreach_lerp_(averages, [p.detach() for p in self.parameters.values()], weight)

    def _result(self) -> dict[str, Tensor]:
        state = {**self.model.state_dict(), **self.averages}
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}

    def _save(self) -> None:
        tensors = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self.averages.items()}
        for name, parameter in self.parameters.items():
            moments = self._optimizer_of(parameter).state[parameter]
            tensors |= {f"moments/{key}/{name}": value for key, value in moments.items()}
        state = {"step": self.step, "curve": self.curve, "recent": self.recent}
        with sealed_path(self.path) as temporary:
            save_file(
                {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
                temporary,
                {"state": json.dumps(state)},
            )

    def _resume(self) -> None:
        if not is_sound(self.path):
            return
        with safe_open(self.path, framework="pt") as stored:
            state = json.loads(stored.metadata()["state"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
        self.model.load_state_dict(_below("model/", tensors))
        for name, average in _below("average/", tensors).items():
            self.averages[name].copy_(average)
        for name, parameter in self.parameters.items():
            # The count of steps too goes beside the parameter: a fused optimiser keeps it there.
            self._optimizer_of(parameter).state[parameter] = {
                key: tensors[f"moments/{key}/{name}"].to(parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq", "momentum")
                if f"moments/{key}/{name}" in tensors
            }
        self.step, self.recent = state["step"], state["recent"]
        self.curve = [(int(step), float(value)) for step, value in state["curve"]]


def _optimizers(
    parameters: Mapping[str, nn.Parameter], recipe: TrainingRecipe, matrices: Collection[str]
) -> list[torch.optim.Optimizer]:
    """One for the parameters that Muon moves, if any, and one for the others."""
    moved = [p for name, p in parameters.items() if recipe.optimizer == "muon" and name in matrices]
    others = [p for name, p in parameters.items() if recipe.optimizer != "muon" or name not in matrices]
    adam = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    rest = adam(others, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)
    return [rest, Muon(moved, lr=recipe.muon_rate)] if moved else [rest]


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
