"""Shapes made ready in units of work whose results are kept, so that a fit which goes on does none of them twice."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from hdbench.execution import run_units
from hdbench.method import Context
from hdbench.store import is_sound, sealed_path


class NamedUnit(Protocol):
    """A unit of work on some shapes."""

    @property
    def names(self) -> Sequence[str]:
        """The shapes."""


Unit = TypeVar("Unit", bound=NamedUnit)
Made = TypeVar("Made")


def groups_of(names: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """The names in groups of `size`, in order; the last may be smaller."""
    return [tuple(names[first : first + size]) for first in range(0, len(names), size)]


def made_in_units(
    function: Callable[[Unit], Sequence[Made]],
    units: Sequence[Unit],
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
