"""Other people's torch files, read without running what they hold.

A pickle can run any code when it is read. `read_checkpoint` lets nothing be unpickled but tensors, plain containers
and a short list of harmless classes that training scripts store beside their weights; anything else is refused by
its name.
"""

import argparse
import pathlib
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hdbench.errors import HdbenchError


class _Name:
    """Stands in for a class that a file only names, as the key of a dictionary."""


def _plain_dict(*_: object) -> dict[Any, Any]:
    """What a defaultdict is read as: torch's reader fills no other kind of dictionary."""
    return {}


def _harmless() -> list[Any]:
    # Accuracies were saved as numpy numbers, whose pickles name these (older numpy under its older module).
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    numbers = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]
    arguments = [argparse.Namespace, dict]
    renamed = [
        (_plain_dict, "collections.defaultdict"),
        (scalar, "numpy.core.multiarray.scalar"),
        (pathlib.PurePosixPath, "pathlib.PosixPath"),  # where Lightning's callbacks put their files
        (_Name, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    ]
    return [scalar, *numbers, *arguments, *renamed]


def read_checkpoint(path: Path) -> Any:
    """What `torch.save` wrote to `path`: tensors, containers and harmless values, on the CPU.

    Tensors of files in torch's zip format stay on disk until they are used. Raises HdbenchError for a file that
    cannot be read, is no torch file, or holds anything else.
    """
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror or error}).") from error
    except pickle.UnpicklingError as error:
        raise HdbenchError(f"{path} is refused: {_complaint(error)}") from error
    except Exception as error:  # torch's reader trusts a file's structure: a damaged one can end in any error
        raise HdbenchError(f"{path} is no torch checkpoint ({_first_line(error)}).") from error


def tensors_of(state: Any, where: str) -> dict[str, Tensor]:
    """`state` as a dictionary of plain tensors by name, without gradients; HdbenchError when it is anything else."""
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise HdbenchError(f"{where} is no state dict: a dictionary of tensors is expected.")
    for name, tensor in state.items():
        is_plain = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_complex())
        if not is_plain:
            raise HdbenchError(f"{where} does not fit: tensor {str(name)!r} is no dense tensor of real numbers.")
    return {str(name): tensor.detach() for name, tensor in state.items()}


def refuse_misfit(found: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]], where: str) -> None:
    """Raise HdbenchError naming the first tensor that is missing, superfluous, or of another shape than expected."""
    for name, shape in expected.items():
        if name not in found:
            raise HdbenchError(f"{where} does not fit: tensor {name!r} is missing.")
        if tuple(found[name].shape) != tuple(shape):
            raise HdbenchError(
                f"{where} does not fit: tensor {name!r} has shape {tuple(found[name].shape)}, expected {tuple(shape)}."
            )
    if superfluous := sorted(found.keys() - expected.keys()):
        raise HdbenchError(f"{where} does not fit: tensor {superfluous[0]!r} has no place in this model.")


def _complaint(error: pickle.UnpicklingError) -> str:
    """Torch's explanation, cut to what the file holds that it must not."""
    text = str(error)
    start = text.lower().find("unsupported")
    sentence = text[start:].split(". ")[0].splitlines()[0] if start >= 0 else "it is not a checkpoint of plain weights"
    return f"{sentence}. Only tensors, containers and numpy numbers are read, since anything else could run code."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
