"""When a run did what: a track per method, with a bar per stage; long pauses are cut short."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hdbench.reporting import facts
from hdbench.results import Results, Stage

LONGEST_PAUSE = 0.05
"""Share of all the work that a time without any takes up at most, as between a run that was killed and its end."""
_COLUMNS = (("prepare", "model", "adopted"), ("samples",), ("scores",))
"""Stages whose times stand in one column."""
_WORDS = {
    "prepare": "data prepared",
    "model": "trained",
    "adopted": "fetched from the zoo",
    "samples": "sampled",
    "scores": "scored",
}


@dataclass(frozen=True)
class Bar:
    """One stage on a track; `left` and `width` in percent."""

    kind: str
    left: float
    width: float
    words: str


@dataclass(frozen=True)
class Track:
    """What was done for one method, or for all."""

    title: str
    bars: tuple[Bar, ...]
    cells: tuple[str, ...]
    """How long model or data, samples and scores took; "found" where the store had them."""
    nodes: str


@dataclass(frozen=True)
class Cut:
    """A pause that was cut short, at `left` percent."""

    left: float
    words: str


@dataclass(frozen=True)
class Timeline:
    """The tracks of a run."""

    tracks: tuple[Track, ...]
    cuts: tuple[Cut, ...]
    caption: str
    has_nodes: bool


def timeline(results: Results) -> Timeline | None:
    """The timeline of a run; None where it was not written down."""
    if not results.timeline:
        return None
    made = [stage for stage in results.timeline if not stage.found]
    axis = _Axis(made)
    titles: dict[str | None, str] = {None: "Data", **{row.method: row.title for row in results.rows}}
    groups = {method: [stage for stage in results.timeline if stage.method == method] for method in titles}
    return Timeline(
        tuple(_track(titles[method], stages, axis) for method, stages in groups.items() if stages),
        axis.cuts,
        _caption(made, len(results.timeline) - len(made), axis),
        any(stage.node is not None for stage in results.timeline),
    )


class _Axis:
    """Places on the axis, in percent, of times in seconds since the epoch."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._busy: list[list[float]] = []
        for start, end in sorted((stage.start, stage.start + stage.seconds) for stage in stages):
            if self._busy and start <= self._busy[-1][1]:
                self._busy[-1][1] = max(self._busy[-1][1], end)
            else:
                self._busy.append([start, end])
        self.work = sum(end - start for start, end in self._busy)
        longest = LONGEST_PAUSE * self.work
        self._places, place, cuts = [0.0] * len(self._busy), 0.0, []
        for index, (start, end) in enumerate(self._busy):
            if index:
                pause = start - self._busy[index - 1][1]
                if pause > longest:
                    cuts.append((place + longest / 2, f"nothing for {facts.duration(pause)}"))
                place += min(pause, longest)
            self._places[index] = place
            place += end - start
        self._total = place or 1.0
        self.cuts = tuple(Cut(round(100 * at / self._total, 2), words) for at, words in cuts)

    def place(self, time: float) -> float:
        """Where a time within the work lies."""
        index = max(index for index, (start, _) in enumerate(self._busy) if start <= time)
        return round(100 * (self._places[index] + time - self._busy[index][0]) / self._total, 2)


def _track(title: str, stages: Sequence[Stage], axis: _Axis) -> Track:
    bars = tuple(_bar(stage, axis) for stage in stages if not stage.found)
    cells = tuple(_cell([stage for stage in stages if stage.stage in column]) for column in _COLUMNS)
    nodes = sorted({stage.node for stage in stages if stage.node is not None})
    return Track(title, bars, cells, ", ".join(map(str, nodes)))


def _bar(stage: Stage, axis: _Axis) -> Bar:
    left = axis.place(stage.start)
    what = _WORDS.get(stage.stage, stage.stage) + ("" if stage.seed is None else f", seed {stage.seed}")
    when = datetime.fromtimestamp(stage.start, UTC)
    where = "" if stage.node is None else f", on node {stage.node}"
    words = f"{what}: {facts.duration(stage.seconds)} from {when:%H:%M:%S} UTC{where}"
    return Bar(stage.stage, left, round(axis.place(stage.start + stage.seconds) - left, 2), words)


def _cell(stages: Sequence[Stage]) -> str:
    if not stages:
        return "–"
    made = [stage.seconds for stage in stages if not stage.found]
    found = len(stages) - len(made)
    if not made:
        return "found"
    return facts.duration(sum(made)) + (f", {found} found" if found else "")


def _caption(made: Sequence[Stage], found: int, axis: _Axis) -> str:
    if not made:
        return "Everything was in the store already."
    start = datetime.fromtimestamp(min(stage.start for stage in made), UTC)
    times = f"From {start:%Y-%m-%d %H:%M} UTC, {facts.duration(axis.work)} of work"
    cut = "; dashed lines are pauses, cut short" if axis.cuts else ""
    return f"{times}{cut}." + (f" {found} of {found + len(made)} stages were found in the store." if found else "")
