"""Protocols in words: what `hdbench protocols show` prints and docs/protocols.md sets side by side."""

from hdbench.metrics.protocols import PROTOCOLS, Protocol

_NORMALISATIONS = {
    "none": "none",
    "unit-deviation": "centre on the point mean; divide by the deviation of the centred coordinates",
    "unit-deviation-uncentred": "centre on the point mean; divide by the deviation (ddof 1) of the raw coordinates",
    "bounding-box": "bounding box centred, largest half extent 1",
    "half-bounding-box": "bounding box centred, largest half extent 0.5",
    "centred-frames": "each frame centred on its point mean; one scale for all frames, largest coordinate 0.95",
}
_REDUCTIONS = {"first": "the first", "random": "a seeded choice of"}


def facts_of(protocol: Protocol) -> list[tuple[str, str]]:
    """(title, text) of everything the protocol fixes."""
    scales = ", ".join(f"{metric} x {factor:g}" for metric, factor in protocol.table_scale.items())
    normalisation = _NORMALISATIONS[protocol.normalisation]
    if protocol.denormalises:
        normalisation += "; samples first de-normalised with the training split's moments, where it is given"
    return [
        ("protocol", protocol.name),
        ("title", protocol.title),
        ("source", protocol.source),
        ("shapes", protocol.layout),
        ("points", f"{_REDUCTIONS[protocol.reduction]} {protocol.point_count} of those a shape has"),
        ("normalisation", normalisation),
        ("distances", ", ".join(f"{family}: {name}" for family, name in protocol.distances.items())),
        ("metrics", ", ".join(protocol.metrics)),
        ("JSD", _NORMALISATIONS[protocol.jsd_normalisation] if protocol.jsd_normalisation else "not reported"),
        ("tables print", scales or "values as they are"),
        ("samples", protocol.sample_count),
        ("selection", protocol.selection),
        ("reference", protocol.reference),
        ("quirks kept", "; ".join(protocol.quirks) or "none"),
    ]


def side_by_side() -> str:
    """All protocols as one Markdown table, a column each."""
    columns = [facts_of(protocol) for protocol in PROTOCOLS.values()]
    titles = [title for title, _ in columns[0]]
    header, *rows = ([titles[row], *(column[row][1] for column in columns)] for row in range(len(titles)))
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
