"""Numbers that no run gives, refused before anything is drawn of them: a results file may be anyone's."""

from collections.abc import Iterator

from hdbench.errors import HdbenchError
from hdbench.results import Results, Row

LARGEST = 1e18
"""No score, loss, cost or count of a run comes near it, and plots hold up to it."""


def refuse_implausible(results: Results, where: str) -> None:
    """Raise HdbenchError, calling the results `where`, for a number that is beyond all that is measured."""
    for what, number in _numbers(results):
        if abs(number) > LARGEST:
            raise HdbenchError(f"{where}: {what} is beyond {LARGEST:g}, which no run gives; make the results again.")


def _numbers(results: Results) -> Iterator[tuple[str, float]]:
    yield from ((f"the number of {split} shapes", count) for split, count in results.dataset.counts.items())
    for row in results.rows:
        yield from ((f"{what} of {row.title!r}", number) for what, number in _numbers_of_row(row))


def _numbers_of_row(row: Row) -> Iterator[tuple[str, float]]:
    for score in (*row.scores, *row.other_scores):
        targets = () if isinstance(score.target, str) else (score.target,)
        for number in (score.value, *(score.interval or ()), *targets):
            yield score.metric, number or 0.0
    costs = row.cost.fit_s, row.cost.sample_s_per_shape, row.cost.peak_memory_bytes
    yield from (("a cost", number or 0.0) for number in costs)
    yield from (("a count", number) for number in (row.samples.count, row.samples.invalid))
    yield from (("the loss curve", number) for point in row.loss_curve for number in point)
    yield from (("a distance", number) for entry in row.neighbours for number in entry.distances)
