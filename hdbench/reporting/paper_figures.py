"""The figures of papers that a run was asked for: how samples come about, and what lies between two of them."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from hdbench.geometry.rendering import GENERATED, encode_webp, render
from hdbench.reporting.merging import Record
from hdbench.reporting.tables import Line
from hdbench.shape_files import ShapeSet
from hdbench.shapes import Sequence

SIZE = 192
"""Pixels along each side of a shape."""
KINDS = {"denoising": "denoising", "interpolation": "interpolation between samples"}


@dataclass(frozen=True)
class PaperFigure:
    """Rows of shapes with captions."""

    title: str
    rows: tuple[tuple[tuple[str, str, str], ...], ...]
    """Caption, picture as a data: URL, and why there is none."""


def draw_figures(record: Record, lines: Iterable[Line]) -> list[PaperFigure]:
    """Draw what lies in `figures/<method>/<kind>/` of the runs' folders; empty where no run was asked for any."""
    return [
        PaperFigure(f"{line.title}: {what}", _rows(ShapeSet.open(folder)))
        for line in lines
        for kind, what in KINDS.items()
        if not line.is_control
        and Path(line.method).name == line.method
        and ShapeSet.is_one(folder := record.home(line.rows[0]) / "figures" / line.method / kind)
    ]


def _rows(shapes: ShapeSet) -> tuple[tuple[tuple[str, str, str], ...], ...]:
    """One row per first part of the ids `<row>-<column>-<caption>`."""
    numbered = groupby(range(len(shapes)), key=lambda index: shapes.ids[index].split("-")[0])
    return tuple(tuple(_tile(shapes, index) for index in indices) for _, indices in numbered)


def _tile(shapes: ShapeSet, index: int) -> tuple[str, str, str]:
    name = shapes.ids[index]
    caption = name.split("-", 2)[-1]
    if not shapes.valid[index]:
        return caption, "", shapes.invalid.get(name, "invalid")
    shape = shapes.shape(index)
    middle = len(shape.frames) // 2 if isinstance(shape, Sequence) else 0
    picture = encode_webp(render(shape, size=SIZE, color=GENERATED, frame=middle))
    return caption, f"data:image/webp;base64,{base64.b64encode(picture).decode()}", ""
