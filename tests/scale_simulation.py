"""How long 55 ShapeNet categories, four methods and three seeds take on a cluster: the schedule of their units.

    python tests/scale_simulation.py

prints the tables of docs/scale.md, which says what is assumed. Nothing is computed but the schedule.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CATEGORIES = 55
SHAPES = 51_300
"""Of ShapeNetCore v2, over all categories."""
TRAINED, COMPARED = 0.80, 0.15
"""Shares of a category: training and test split."""
MOST_SAMPLES = 1_000
"""Per method and seed; fewer where the test split has fewer."""
SEEDS = 3

FIELDS_PER_UNIT, SAMPLES_PER_UNIT = 8, 32
PREPARE_S, FIELD_S = 0.5, 1.0
"""Of one shape on one core: reading, turning and sampling it; labelling its points and fitting its field."""
TRAINING_S = {"hyperdiffusion": 225.0, "dpc": 240.0, "voxel": 500.0, "pvd": 545.0}
SAMPLE_S = {"hyperdiffusion": 1.0, "dpc": 1.1, "voxel": 0.2, "pvd": 1.5}
"""Of one model, and of one sample, on one core, with the recipes `default`."""
PAIR_S, CLOUD_S = 0.96e-3, 7e-3
"""Of a pair of clouds under exact EMD with intervals, and of the features of one cloud."""


@dataclass(frozen=True)
class Unit:
    """One unit of work: its time on one worker, and the numbers of the units it waits for."""

    seconds: float
    after: tuple[int, ...] = ()
    stage: str = ""


@dataclass(frozen=True)
class Schedule:
    """What became of a list of units."""

    seconds: float
    """From the first unit's start to the last one's end."""
    busy: float
    """Share of the workers' time spent on units."""


def schedule(units: Sequence[Unit], workers: int) -> Schedule:
    """Give each free worker the first unit in the list that waits for nothing, as Ray does but for transfers."""
    missing = [len(unit.after) for unit in units]
    followers: list[list[int]] = [[] for _ in units]
    for number, unit in enumerate(units):
        for earlier in unit.after:
            followers[earlier].append(number)
    ready = [number for number, count in enumerate(missing) if count == 0]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            number = heapq.heappop(ready)
            heapq.heappush(running, (now + units[number].seconds, number))
        now, finished = heapq.heappop(running)
        for number in followers[finished]:
            missing[number] -= 1
            if not missing[number]:
                heapq.heappush(ready, number)
    work = sum(unit.seconds for unit in units)
    return Schedule(now, work / (workers * now) if now else 1.0)


def category_sizes() -> list[int]:
    """Shapes per category, largest first: they fall as one over the rank."""
    largest = SHAPES / sum(1 / rank for rank in range(1, CATEGORIES + 1))
    return [round(largest / rank) for rank in range(1, CATEGORIES + 1)]


def run_units_of(shapes: int, *, fits: int = 1, seeds: int = SEEDS, first: int = 0) -> Iterator[Unit]:
    """The units of `hdbench run --seeds` on a category of so many shapes, numbered from `first`.

    All models are fitted first (each method `fits` times, from fields of their own), then sample sets are drawn one
    after another, then all are scored: as hdbench.cluster does it.
    """
    trained, samples = int(TRAINED * shapes), max(1, min(int(COMPARED * shapes), MOST_SAMPLES))
    made = first

    def numbered(stage: str, seconds: Sequence[float], after: tuple[int, ...]) -> tuple[list[Unit], tuple[int, ...]]:
        nonlocal made
        numbers = tuple(range(made, made + len(seconds)))
        made += len(seconds)
        return [Unit(duration, after, stage) for duration in seconds], numbers

    prepare, before = numbered("prepare", [PREPARE_S * part for part in _parts(trained + samples, 32)], ())
    yield from prepare
    fields, fitted = numbered("fields", [FIELD_S * part for part in _parts(trained, FIELDS_PER_UNIT)] * fits, before)
    yield from fields
    models: tuple[int, ...] = ()
    for method, seconds in TRAINING_S.items():
        units, numbers = numbered("training", [seconds] * fits, fitted if method == "hyperdiffusion" else before)
        yield from units
        models += numbers
    done, drawn = models, ()
    for method in SAMPLE_S:
        for _ in range(seeds):
            batches, done = numbered(
                "sampling", [SAMPLE_S[method] * part for part in _parts(samples, SAMPLES_PER_UNIT)], done
            )
            yield from batches
            drawn += done
    score = 2 * samples**2 * PAIR_S + 2 * samples * CLOUD_S
    yield from numbered("scores", [score] * (len(SAMPLE_S) * seeds), done)[0]


def all_units(*, fits: int = 1) -> list[Unit]:
    """The units of all categories, whose runs are started at once."""
    units: list[Unit] = []
    for shapes in category_sizes():
        units.extend(run_units_of(shapes, fits=fits, first=len(units)))
    return units


def _parts(count: int, size: int) -> list[int]:
    return [min(size, count - start) for start in range(0, count, size)]


def _tables() -> Iterator[str]:
    yield "| workers | one model per method, 3 sample sets | busy | 3 models per method, a sample set each | busy |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for workers in (1, 8, 64):
        cells = []
        for fits in (1, SEEDS):
            result = schedule(all_units(fits=fits), workers)
            cells.append(f"{result.seconds / 3600:.1f} h | {result.busy:.0%}".replace("%", " %"))
        yield f"| {workers} | {' | '.join(cells)} |"
    units = all_units()
    yield from ("", "| stage | units | core hours |", "| --- | ---: | ---: |")
    for stage in dict.fromkeys(unit.stage for unit in units):
        seconds = [unit.seconds for unit in units if unit.stage == stage]
        yield f"| {stage} | {len(seconds):,} | {sum(seconds) / 3600:.1f} |"


if __name__ == "__main__":
    print("\n".join(_tables()))
