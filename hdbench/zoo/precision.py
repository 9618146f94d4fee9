"""Weights at half size: matrices stored as float16, and read back as float32.

Vectors (biases, norms, means) stay as they are: they weigh next to nothing, and errors in them cost most. A file
says in its header whether it was halved, so that reading it back needs nothing else.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hdbench.errors import HdbenchError

if TYPE_CHECKING:
    from torch import Tensor

_KEY, _HALF = "hdbench.precision", "float16"


def halve(source: Path, target: Path) -> None:
    """Write the safetensors file `source` to `target` with its float32 matrices as float16, the nearest values.

    Raises HdbenchError for what is no such file, and where a weight is too large for float16 (beyond 65,504).
    """
    import torch
    from safetensors.torch import save_file

    tensors, _ = _read(source)
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float32 and tensor.ndim >= 2:
            tensors[name] = tensor.half()
            if not bool(torch.isfinite(tensors[name]).all()):
                raise HdbenchError(f"{source}: tensor {name!r} does not fit float16; leave --half out.")
    save_file(tensors, target, metadata={_KEY: _HALF})


def widen(source: Path, target: Path) -> None:
    """Write the safetensors file `source` to `target`, what `halve` made float16 as float32, all else as it is.

    Raises HdbenchError for what is no such file.
    """
    import torch
    from safetensors.torch import save_file

    tensors, metadata = _read(source)
    if metadata.get(_KEY) != _HALF:
        target.write_bytes(source.read_bytes())
        return
    wide = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}
    save_file(wide, target)


def _read(path: Path) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """The tensors of a safetensors file, and what its header says beside them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise HdbenchError(f"{path} is no safetensors file ({error}).") from error
