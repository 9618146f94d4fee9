"""What methods share of their units of work: training shapes made ready, and samples denoised in blocks.

Shapes made ready are kept, so that a fit which goes on makes none of them twice.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from hdbench.execution import run_units
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.seeds import generator
from hdbench.shapes import Float32
from hdbench.store import is_sound, sealed_path


class NamedUnit(Protocol):
    """A unit of work on some shapes."""

    @property
    def names(self) -> Sequence[str]:
        """The shapes."""


Unit = TypeVar("Unit")
Named = TypeVar("Named", bound=NamedUnit)
Made = TypeVar("Made")

WINDOW = 1024
"""Samples whose blocks are given to workers together, and which are held at most at once."""


def groups_of(names: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """The names in groups of `size`, in order; the last may be smaller."""
    return [tuple(names[first : first + size]) for first in range(0, len(names), size)]


def made_in_units(
    function: Callable[[Named], Sequence[Made]],
    units: Sequence[Named],
    folder: Path,
    *,
    save: Callable[[Path, Sequence[Made]], None],
    load: Callable[[Path], Sequence[Made]],
    context: Context,
    description: str,
) -> Iterator[Made]:
    """What `function` makes of each unit, one after another; only units without a sound file in `folder` are worked on.

    `folder` belongs to these very units in this order: a file is known by its place alone.
    """
    paths = [folder / f"{index:06d}.safetensors" for index in range(len(units))]
    missing = [(unit, path) for unit, path in zip(units, paths, strict=True) if not is_sound(path)]
    total = sum(len(unit.names) for unit in units)
    results = run_units(
        function,
        [unit for unit, _ in missing],
        workers=context.workers,
        progress=context.progress,
        description=description,
        weight=lambda unit: len(unit.names),
        engine=context.engine,
        total=total,
        done=total - sum(len(unit.names) for unit, _ in missing),
    )
    for (_, path), made in zip(missing, results, strict=True):
        with sealed_path(path) as temporary:
            save(temporary, made)
    return (one for path in paths for one in load(path))


def tell_left_out(left_out: Mapping[str, str], shapes: int, learner: str, progress: Progress) -> None:
    """Say which of so many training shapes `learner` could not use, and why; nothing where it uses them all."""
    if left_out:
        shown = ", ".join(f"{name} ({reason})" for name, reason in list(left_out.items())[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        progress.say(f"{len(left_out)} of {shapes} shapes are left out of the training of {learner}: {shown}{more}")


def block_noise(seed: int, method: str, block: int, size: int, device: str) -> Callable[..., Tensor]:
    """A source of normal numbers (size, *shape) for block `block` of samples, called with any shape.

    Each sample has a stream of its own, of (seed, method, index), so that no bit hangs on its neighbours.
    """
    streams = [generator(seed, method, index) for index in range(block * size, (block + 1) * size)]

    def normal(*shape: int) -> Tensor:
        rows = [stream.standard_normal(shape, np.float32) for stream in streams]
        return torch.from_numpy(np.stack(rows)).to(device)

    return normal


def samples_in_blocks(
    denoise: Callable[[Unit], Float32],
    unit_of: Callable[[int], Unit],
    indices: Sequence[int],
    size: int,
    *,
    context: Context,
    description: str,
) -> Iterator[Float32]:
    """The samples `indices`, where `denoise(unit_of(block))` is block `block` of `size` neighbours.

    On the CPU workers share the blocks, so `denoise` must make the same bits whatever process it runs in. Samples are
    handed out as soon as they and those before them are there, so that they can be kept.
    """
    for first in range(0, len(indices), WINDOW):
        waiting = deque(indices[first : first + WINDOW])
        wanted = Counter(index // size for index in waiting)
        blocks = sorted(wanted)
        drawn = run_units(
            denoise,
            [unit_of(block) for block in blocks],
            workers=context.workers if context.device == "cpu" else 1,
            progress=context.progress,
            description=description,
            engine=context.engine,
        )
        samples: dict[int, Float32] = {}
        for block, made in zip(blocks, drawn, strict=True):
            samples[block] = made
            while waiting and waiting[0] // size in samples:
                number, place = divmod(waiting.popleft(), size)
                yield samples[number][place]
                wanted[number] -= 1
                if not wanted[number]:
                    del samples[number]
