"""The report as one HTML page that needs nothing but itself: no network, no other file, no trust in its data.

Everything that comes from results.json is escaped, and the page's content security policy lets only the scripts
that hdbench put there run, and nothing load from elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hdbench.reporting import facts
from hdbench.reporting.content import Content
from hdbench.reporting.cost_figures import CostPanel, cost_panels
from hdbench.reporting.distances import LineStatistics
from hdbench.reporting.figures import loss_panel, score_panel, strip, yardstick
from hdbench.reporting.paper_figures import PaperFigure
from hdbench.reporting.pictures import SHOWN, Gallery, Near, Pictures, shown_lines
from hdbench.reporting.rounding import rounded, three_digits
from hdbench.reporting.spread import cumulative, feature_maps, strips
from hdbench.reporting.summary import Nearness, verdicts
from hdbench.reporting.tables import Board, Line
from hdbench.reporting.timeline import timeline
from hdbench.reporting.viewer import packed, script_hashes, viewer_page


def render_html(content: Content, pictures: Pictures, figures: Sequence[PaperFigure] = ()) -> str:
    """The page of `content`, with the shapes drawn in `pictures` and `figures`."""
    results, board = content.results, content.board
    loader = PackageLoader("hdbench.reporting")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals |= {"rounded": rounded, "strip": strip, "yardstick": yardstick}
    environment.globals |= {"tooltip": facts.tooltip, "counts": facts.counts}
    style, script, tweaks = (
        loader.get_source(environment, name)[0] for name in ("report.css", "report.js", "viewer.js")
    )
    main, others = _tables(board)
    plotted = replace(main, models=main.models[:SHOWN])
    viewer = viewer_page(tweaks)
    scale = facts.distance_scale(results)
    return environment.get_template("report.html.j2").render(
        results=results,
        title=facts.title(results),
        facts=facts.subtitle(results),
        policy=_policy(f"{viewer}<script>{script}</script>"),
        style=Markup(style),
        script=Markup(script),
        viewer=packed(viewer),
        verdicts=verdicts(main),
        main=main,
        caption=facts.caption(main),
        others=others,
        elsewhere=[{"summary": title, "board": part, "caption": facts.caption(part)} for title, part in content.across],
        elsewhere_note=facts.ELSEWHERE,
        published=content.published,
        published_note=facts.PUBLISHED,
        published_caption=facts.published_caption,
        missing=facts.missing(board),
        portraits=pictures.portraits,
        has_clips=any(tile.frames > 1 for gallery in pictures.galleries for tile in gallery.tiles),
        galleries=[_gallery(gallery, scale) for gallery in pictures.galleries],
        unshown=len(board.lines) - len(shown_lines(board)),
        near=[_near_group(entry, rows, scale) for entry, rows in pictures.near],
        near_unit=f" (×{scale:g})" if scale != 1 else "",
        figures=figures,
        foreign_note=facts.foreign_note(main),
        has_band=any(main.yardstick(index) for index in range(len(main.columns))),
        panels=[_score_panel(plotted, index) for index in range(len(plotted.columns))],
        spread=_spread_panels(content.statistics, scale),
        maps=_feature_maps(content.statistics),
        losses=_loss_panels(shown_lines(board)),
        machine=facts.machine(results),
        costs=_costs(board.lines),
        timeline=timeline(results),
        cost_panels=[_marked(panel) for panel in cost_panels(plotted)],
        making=facts.making(results),
        appendices=facts.appendices(results),
    )


def _policy(scripts: str) -> str:
    """Only these very scripts, inline styles, and pictures and models that stand in the page itself."""
    allowed = " ".join(script_hashes(scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src data:; base-uri 'none'; form-action 'none'"
    )


def _tables(board: Board) -> tuple[Board, list[dict[str, Any]]]:
    """The headline scores of the first protocol, and the other tables with what they are."""
    parts = [
        (f"Under protocol {protocol}" if headline else f"Halves of the scores, protocol {protocol}", part)
        for protocol in board.protocols
        for headline in (True, False)
        if (part := board.only(protocol=protocol, headline=headline)).columns
    ]
    if not parts:
        return board, []
    return parts[0][1], [{"summary": what, "board": part, "caption": facts.caption(part)} for what, part in parts[1:]]


def _marked(panel: CostPanel) -> dict[str, Any]:
    return {"title": panel.title, "label": panel.label, "svg": Markup(panel.svg)}


def _spread_panels(statistics: Sequence[LineStatistics], scale: float) -> list[dict[str, Any]]:
    """Distributions of distances, with their medians in words."""
    if not statistics:
        return []
    unit = f"(×{scale:g})" if scale != 1 else ""
    medians = "; ".join(f"{one.line.title} {three_digits(one.median * scale)}" for one in statistics)
    covering = "; ".join(f"{one.line.title} {three_digits(one.covering_median * scale)}" for one in statistics)
    drawn = (
        (
            "Every sample",
            "a mark is one sample at its distance to the nearest reference shape; the ring is the median",
            medians,
            strips(statistics, scale, unit),
        ),
        (
            "Samples within a distance",
            "share of the samples that have a reference shape so near",
            medians,
            cumulative(statistics, scale, unit, of_reference=False),
        ),
        (
            "Reference shapes within a distance",
            "share of the reference shapes that have a sample so near",
            covering,
            cumulative(statistics, scale, unit, of_reference=True),
        ),
    )
    return [
        {"title": title, "meaning": meaning, "label": f"{title}, {meaning}. Medians: {words}", "svg": Markup(svg)}
        for title, meaning, words, svg in drawn
    ]


def _feature_maps(statistics: Sequence[LineStatistics]) -> list[dict[str, Any]]:
    return [
        {"title": one.line.title, "label": f"Map of features: {one.line.title} and real shapes", "svg": Markup(svg)}
        for one, svg in feature_maps(statistics)
    ]


def _gallery(gallery: Gallery, scale: float) -> dict[str, Any]:
    line = gallery.line
    extremes = (("Nearest to a reference shape", gallery.best), ("Farthest from all of them", gallery.worst))
    of = f" of {line.count + line.invalid}" if line else ""
    return {
        "title": gallery.title,
        "note": f"first {len(gallery.tiles)}{of}",
        "invalid": f"{line.invalid}{of}" if line and line.invalid else "",
        "tiles": gallery.tiles,
        "extremes": [
            {"title": title, "entries": [(tile, three_digits(distance * scale)) for tile, distance in entries]}
            for title, entries in extremes
            if entries
        ],
    }


def _near_group(entry: Nearness, rows: Sequence[Near], scale: float) -> dict[str, Any]:
    return {
        "title": entry.line.title,
        "typical": three_digits(entry.typical * scale),
        "total": len(entry.entries),
        "copies": len(entry.copies),
        "entries": [
            {
                "sample": row.sample,
                "name": row.sample.name,
                "is_copy": row.sample.name in entry.copies,
                "others": [
                    {"tile": tile, "name": tile.name, "distance": three_digits(distance * scale)}
                    for tile, distance in row.training
                ],
            }
            for row in rows
        ],
    }


def _score_panel(board: Board, index: int) -> dict[str, Any]:
    column = board.columns[index]
    return {
        "title": f"{column.label} {column.goal}",
        "meaning": column.meaning,
        "label": f"{column.label}, {facts.spoken(board, index)}",
        "svg": Markup(score_panel(board, index)),
    }


def _loss_panels(models: Sequence[Line]) -> list[dict[str, Any]]:
    panels = []
    for index, line in enumerate(models):
        if curve := line.rows[0].loss_curve:
            label = f"{line.title}: training loss from {curve[0][1]:.3g} to {curve[-1][1]:.3g} in {curve[-1][0]} steps"
            panels.append({"title": line.title, "label": label, "svg": Markup(loss_panel(line, index))})
    return panels


def _costs(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Training time, time per sample and memory of each line as meters."""
    costs = [line.rows[0].cost for line in lines]
    meters = zip(
        _meters([cost.fit_s for cost in costs], facts.duration),
        _meters([cost.sample_s_per_shape for cost in costs], facts.duration),
        _meters([cost.peak_memory_bytes for cost in costs], facts.memory),
        strict=True,
    )
    return [
        {"title": line.title, "device": cost.device, "meters": row}
        for line, cost, row in zip(lines, costs, meters, strict=True)
    ]


Amount = TypeVar("Amount", int, float)


def _meters(values: Sequence[Amount | None], text: Callable[[Amount | None], str]) -> list[dict[str, Any]]:
    """Each value as text, with its width in percent of a table cell."""
    largest = max((value for value in values if value), default=None)
    return [
        {"text": text(value), "share": round(60 * value / largest, 1) if value and largest else 0} for value in values
    ]
