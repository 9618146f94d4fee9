"""How models lie in their folders: tensors in `model.safetensors`, everything else in `model.json`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hdbench.errors import HdbenchError
from hdbench.method import Method
from hdbench.recipe import Recipe
from hdbench.store import write_atomic

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class StoredModel(Generic[R]):
    """What a model's folder holds."""

    recipe: R
    report: dict[str, Any]
    """What the model remembers of how it was made; its `loss_curve` is a list of (step, loss)."""
    tensors: dict[str, Tensor]

    def network(self, prefix: str = "") -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix`, by the rest of their names."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def save_model(method: Method, folder: Path, *, report: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model; same model, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    description = {"method": method.name, "version": method.version, "recipe": method.recipe.model_dump(mode="json")}
    text = json.dumps(description | {"report": report}, indent=1, ensure_ascii=False)
    write_atomic(folder / "model.json", text + "\n")


@contextmanager
def reading_model(method: type[Method], recipe_type: type[R], folder: Path) -> Iterator[StoredModel[R]]:
    """What lies in `folder`. What goes wrong in the block is the folder's fault, and raises HdbenchError."""
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        report = dict(description["report"])
        report["loss_curve"] = [(int(step), float(value)) for step, value in report["loss_curve"]]
        recipe = recipe_type.model_validate(description["recipe"])
        yield StoredModel(recipe, report, load_file(folder / "model.safetensors"))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise HdbenchError(f"{folder} holds no {method.title} model that can be read ({reason}).") from error
