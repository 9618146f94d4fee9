"""A GPU that is not there: its tensors lie in the CPU's memory, and operations on tensors of both devices are refused.

torch has no GPU without a driver, but everywhere a device without memory, `meta`: each tensor of that name carries one
of the CPU with its values. What is done only where the device's name is `cuda` (mixed precision, answers to a lack of
memory) is not reached.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("meta")
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
INDEXES = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}


class OnGPU(torch.Tensor):
    """A tensor said to be on the GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=GPU,
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _operate(operation, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """For the operations that make tensors from none; it counts those on the GPU."""

    operations = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.operations += OnGPU in types and operation not in MOVES
        return _operate(operation, args, kwargs or {})


def _tensors(args, kwargs):
    """Those an operation is called with: operations take tensors alone and in lists."""
    values = (*args, *kwargs.values())
    leaves = (leaf for value in values for leaf in (value if isinstance(value, list | tuple) else (value,)))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _held(tensor):
    return tensor.held if isinstance(tensor, OnGPU) else tensor


def _mapped(change, value):
    """What an operation is called with or returns, each tensor of it changed."""
    if isinstance(value, list | tuple):
        return type(value)([_mapped(change, each) for each in value])
    return change(value) if isinstance(value, torch.Tensor) else value


def _operate(operation, args, kwargs):
    tensors = _tensors(args, kwargs)
    on_gpu = [tensor for tensor in tensors if isinstance(tensor, OnGPU)]
    if on_gpu and operation not in MOVES:
        checked = (args[0], *args[2:3]) if operation in INDEXES else tensors  # indices may lie on the CPU
        if any(not isinstance(tensor, OnGPU) and tensor.dim() for tensor in checked):
            raise RuntimeError(f"{operation}: expected all tensors to be on the same device")
    device = kwargs.get("device")
    leads_to_gpu = bool(on_gpu) if device is None else torch.device(device) == GPU
    if operation is torch.ops.aten.copy_.default:
        leads_to_gpu = isinstance(args[0], OnGPU)
    if leads_to_gpu and kwargs.get("generator") is not None:
        raise RuntimeError(f"{operation}: expected a generator of the same device")
    if device is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    args = _mapped(_held, args)
    result = operation(*args, **{name: _mapped(_held, value) for name, value in kwargs.items()})
    if not leads_to_gpu:
        return result
    known = {id(tensor.held): tensor for tensor in on_gpu}  # what is changed in place stays itself
    return _mapped(lambda held: known[id(held)] if id(held) in known else OnGPU(held), result)


@contextmanager
def pretended_gpu() -> Iterator[_Everywhere]:
    """Within it the device `meta` is a GPU, whatever torch asks of the device's name."""
    autocast = torch.autocast
    with pytest.MonkeyPatch.context() as patch, _Everywhere() as everywhere:
        patch.setattr(torch, "autocast", lambda _, **options: autocast("cpu", **options))
        patch.setattr(torch, "inference_mode", torch.no_grad)  # wrappers cannot be viewed in the former
        adam = importlib.import_module("torch.optim.adam")  # torch.optim hides it
        patch.setattr(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)
        patch.setattr(  # which would bypass all operations
            torch.Tensor, "new_tensor", lambda self, data: torch.tensor(data, dtype=self.dtype).to(self.device)
        )
        yield everywhere
