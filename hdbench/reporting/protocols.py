"""Protocols in words: what `hdbench protocols show` prints, and the page docs/protocols.md.

`python -m hdbench.reporting.protocols docs/protocols.md` makes the page anew from its heading "Side by side" on.
"""

import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from hdbench.metrics.protocols import PROTOCOLS, Protocol

HEADING = "## Side by side\n"
"""Where the written part of docs/protocols.md ends and the made part begins."""

_NORMALISATIONS = {
    "none": "none",
    "unit-deviation": "centre on the point mean; divide by the deviation of the centred coordinates",
    "unit-deviation-uncentred": "centre on the point mean; divide by the deviation (ddof 1) of the raw coordinates",
    "bounding-box": "bounding box centred, largest half extent 1",
    "half-bounding-box": "bounding box centred, largest half extent 0.5",
    "centred-frames": "each frame centred on its point mean; one scale for all frames, largest coordinate 0.95",
}
_REDUCTIONS = {"first": "the first", "random": "a seeded choice of"}

_PER_DISTANCE = {
    "MMD": ("mmd_{}", "mmd_{}_samples"),
    "COV": ("cov_{}",),
    "1-NNA": ("nna_{}", "nna_{}_samples", "nna_{}_reference"),
}
_WITHOUT_DISTANCE = {
    "JSD": ("jsd",),
    "FPD, KPD": ("fpd", "kpd"),
    "novelty": ("novelty_ratio", "novelty_p", "near_copies", "duplicates"),
}


def facts_of(protocol: Protocol) -> list[tuple[str, str]]:
    """(title, text) of everything the protocol fixes."""
    scales = ", ".join(f"{metric} x {factor:g}" for metric, factor in protocol.table_scale.items())
    return [
        ("protocol", protocol.name),
        ("title", protocol.title),
        ("source", protocol.source),
        ("shapes", protocol.layout),
        ("points", f"{_REDUCTIONS[protocol.reduction]} {protocol.point_count} of those a shape has"),
        ("normalisation", _normalisation(protocol)),
        ("distances", ", ".join(f"{family}: {name}" for family, name in protocol.distances.items())),
        ("metrics", ", ".join(protocol.metrics)),
        ("JSD", _jsd(protocol)),
        ("tables print", scales or "values as they are"),
        ("samples", protocol.sample_count),
        ("selection", protocol.selection),
        ("reference", protocol.reference),
        ("quirks kept", " ".join(protocol.quirks) or "none"),
    ]


def side_by_side() -> str:
    """All protocols in Markdown: a table of what is short, then a section for each with its sources and quirks."""
    shared = [quirk for quirk in _first().quirks if all(quirk in other.quirks for other in PROTOCOLS.values())]
    names = [
        f"{name}: {', '.join(f'`{metric}`' for metric in metrics)}".replace("{}", "cd")
        for name, metrics in (_PER_DISTANCE | _WITHOUT_DISTANCE).items()
    ]
    sections = [_section(protocol, without=shared) for protocol in PROTOCOLS.values()]
    parts = [
        HEADING.strip(),
        _table(),
        "Names of the metrics (under another distance with its name in place of `cd`):",
        _bullets(names),
    ]
    parts += ["In all protocols:", _bullets(shared)] if shared else []
    return "\n\n".join([*parts, *sections]) + "\n"


def renewed(page: str) -> str:
    """`page` with all that follows from its heading "Side by side" on made anew."""
    return page.partition(HEADING)[0] + side_by_side()


def _first() -> Protocol:
    return next(iter(PROTOCOLS.values()))


def _table() -> str:
    """A line per protocol: eight of them are easier to compare below each other than abreast."""
    head = ["protocol", "points of a shape", "normalisation", "distances", "metrics", "JSD counts", "tables print"]
    rows = [
        [
            f"[{protocol.name}](#{protocol.name})",
            f"{_REDUCTIONS[protocol.reduction]} {protocol.point_count}",
            _normalisation(protocol),
            "<br>".join(f"{family}: `{name}`" for family, name in protocol.distances.items()),
            metrics_in_short(protocol.metrics),
            _jsd(protocol),
            scales_in_short(protocol),
        ]
        for protocol in PROTOCOLS.values()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def _section(protocol: Protocol, *, without: Sequence[str]) -> str:
    lines = [
        f"Shapes: {'clouds or sequences' if protocol.layout == 'either' else protocol.layout}.",
        f"Reference: {protocol.reference.rstrip('.')}.",
        f"Samples: {protocol.sample_count}.",
        *([f"Selection: {protocol.selection}."] if protocol.selection != "none" else []),
        *(f"Quirk: {quirk}" for quirk in protocol.quirks if quirk not in without),
    ]
    return f"### {protocol.name}\n\n{protocol.title}. Source: {protocol.source}.\n\n{_bullets(lines)}"


def metrics_in_short(metrics: Sequence[str]) -> str:
    """`metrics` by family, such as "MMD, COV, 1-NNA under cd and emd; JSD"; what fills no family by its own name."""
    left = list(metrics)

    def taken(names: Sequence[str]) -> bool:
        if not set(names) <= set(left):
            return False
        left[:] = [name for name in left if name not in names]
        return True

    distances = [name.removeprefix("mmd_") for name in metrics if name.startswith("mmd_")]
    templates = [template for family in _PER_DISTANCE.values() for template in family]
    complete = [distance for distance in distances if taken([template.format(distance) for template in templates])]
    words = [f"{', '.join(_PER_DISTANCE)} under {' and '.join(complete)}"] if complete else []
    words += [family for family, names in _WITHOUT_DISTANCE.items() if taken(names)]
    return "; ".join([*words, *left])


def scales_in_short(protocol: Protocol) -> str:
    """What the paper's table multiplies by, for the metrics the protocol computes, by factor."""
    computed = [(factor, name) for name, factor in protocol.table_scale.items() if name in protocol.metrics]
    groups = groupby(sorted(computed, key=lambda item: item[0]), key=lambda item: item[0])
    return "<br>".join(f"{', '.join(f'`{name}`' for _, name in group)} x {factor:g}" for factor, group in groups)


def _normalisation(protocol: Protocol) -> str:
    words = _NORMALISATIONS[protocol.normalisation]
    if protocol.denormalises:
        words += "; samples first de-normalised with the training split's moments, where it is given"
    return words


def _jsd(protocol: Protocol) -> str:
    how = protocol.jsd_normalisation
    if how is None:
        return "not reported"
    words = "points as they are" if how == "none" else _NORMALISATIONS[how]
    return f"{words}; samples de-normalised as for distances" if protocol.denormalises else words


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
