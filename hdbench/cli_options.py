"""What the commands share: their options, and how they read and print."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdbench.errors import HdbenchError

if TYPE_CHECKING:
    from rich.console import Console

    from hdbench.execution import Engine
    from hdbench.progress import Progress
    from hdbench.stages import Workshop

Category = Annotated[
    str, typer.Option(help="What to generate: airplane, animal, car, chair, or a category of your dataset.")
]
Dataset = Annotated[str, typer.Option(help="A dataset's name, NAME:PATH, or a folder or .npz of your own shapes.")]
Protocol = Annotated[
    str | None, typer.Option(help="How shapes become numbers; hyperdiffusion, or hyperdiffusion-4d, if not given.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")]
LogFile = Annotated[
    Path | None, typer.Option(help="Append what is done, how long it takes and on how much memory: JSON lines.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on the first file that cannot be read.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
EngineName = Annotated[
    str, typer.Option("--engine", metavar="local|ray[://ADDRESS]", help="Where to compute: here, or on a Ray cluster.")
]
Preset = Annotated[str, typer.Option(help="smoke, default, paper, or a recipe file of your own.")]
Limit = Annotated[int | None, typer.Option(min=2, help="At most so many shapes of each split, for a quick try.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe: fields.octaves=0; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def choose_progress(*, quiet: bool, log_file: Path | None = None, device: str = "cpu") -> "Progress":
    """Bars where standard error is a terminal, plain lines where not, silence on request; also written to a file."""
    from hdbench.journal import Journal
    from hdbench.progress import PlainProgress, Progress, RichProgress

    shown = Progress() if quiet else RichProgress() if sys.stderr.isatty() else PlainProgress()
    return shown if log_file is None else Journal(shown, log_file, device=device)


def open_workshop(progress: "Progress", device: str, engine: str = "local") -> "Workshop":
    """What the stages work with; `device` and `engine` as on the command line."""
    from hdbench.stages import Workshop
    from hdbench.store import Store

    chosen = engine_called(engine)
    return Workshop(Store(progress=progress), progress, device_called(device), chosen.workers, chosen)


def engine_called(name: str) -> "Engine":
    """The engine that the command line calls `name`; HdbenchError where there is none."""
    from hdbench.execution import LOCAL
    from hdbench.ray_engine import RayEngine

    if name == "local":
        return LOCAL
    if name != "ray" and not name.startswith("ray://"):
        raise HdbenchError(f"Unknown engine {name!r}; choose local, ray, or ray://ADDRESS.")
    return RayEngine(name.removeprefix("ray").removeprefix("://") or None)


def device_called(name: str) -> str:
    """ "cpu" or "cuda", for what the command line calls `name`; HdbenchError for what is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise HdbenchError(f"Unknown device {name!r}; choose auto, cpu or cuda.")
    if name == "cpu":
        return name
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise HdbenchError("There is no CUDA device here; leave --device out or say --device cpu.")
    return "cuda" if torch.cuda.is_available() else "cpu"


def console() -> "Console":
    """Where tables are printed."""
    from rich.console import Console

    return Console(highlight=False)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """Print `rows` as a table, or as JSON for scripts."""
    if as_json:
        print(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=1))
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for place, name in enumerate(header):
        table.add_column(name, overflow="fold", no_wrap=place == 0)  # names are for copying
    for row in rows:
        table.add_row(*row)
    console().print(table, markup=False)
