"""What all plots of a page share: its colours, its type, and SVG that can stand inline many times over."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import StringIO

import matplotlib
from matplotlib.figure import Figure

# Stand-ins that become the page's own colours, so that one drawing serves light, dark and print.
INK, MUTED, LINE, ACCENT, SURFACE = "#010203", "#010204", "#010205", "#010206", "#010207"
SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216", "#010217", "#010218")
"""Told apart by all kinds of sight, and by `DASHES` and `MARKERS` besides."""
_PAGE_COLORS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SURFACE: "var(--surface)",
    **{color: f"var(--series-{place})" for place, color in enumerate(SERIES, 1)},
}
DASHES: tuple[tuple[float, Sequence[float]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (9, 2)),
    (0, (3, 2)),
    (0, (1, 2)),
    (0, (8, 1, 1, 1, 1, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def style() -> AbstractContextManager[None]:
    """The settings under which plots are drawn."""
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "hdbench",
            "font.family": ["sans-serif"],
            "font.size": 8.5,
            "text.parse_math": False,  # a title is text, whatever dollar signs it holds
            "text.color": INK,
            "axes.edgecolor": LINE,
            "axes.labelcolor": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "xtick.color": LINE,
            "xtick.labelcolor": MUTED,
            "ytick.color": LINE,
            "ytick.labelcolor": MUTED,
            "legend.frameon": False,
            "legend.fontsize": 8,
        }
    )


def to_svg(figure: Figure, prefix: str) -> str:
    """The figure as an `<svg>` element whose ids start with `prefix`, so that many can stand in one page."""
    stream = StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style).*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", text)
    text = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", text, count=2)
    for stand_in, color in _PAGE_COLORS.items():
        text = text.replace(stand_in, color)
    return text


def shortened(title: str) -> str:
    """`title` as short as the margin of a plot asks."""
    return title if len(title) <= 17 else f"{title[:16]}…"
