import pytest
from report_examples import results, row

from hdbench.reporting import facts
from hdbench.reporting.tables import board
from hdbench.results import SetInfo


def samples(count: int, invalid: int = 0) -> SetInfo:
    return SetInfo(path="samples/alpha", sha256="ab" * 32, count=count, invalid=invalid)


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ([samples(3)], "trained, 3 samples"),
        ([samples(4)], "trained, 4 samples"),
        ([samples(10)], "trained, first 4 of 10 samples scored"),
        ([samples(3, invalid=1)], "trained, 3 of 4 valid"),
        ([samples(9, invalid=1)], "trained, 9 of 10 valid, first 4 of 9 samples scored"),
        ([samples(4), samples(4)], "trained, 8 samples, 2 seeds"),
        ([samples(10), samples(10)], "trained, first 4 per seed of 20 samples scored, 2 seeds"),
    ],
)
def test_counts_say_what_was_scored_of_what_there_is(drawn, words):
    """The reference holds 4 shapes."""
    rows = [row("alpha", [], samples=info, seed=seed) for seed, info in enumerate(drawn)]
    (line,) = board(results(rows)).models
    assert facts.counts(line) == words


def test_controls_have_no_origin():
    (line,) = board(results([row("noise", [], source="control")])).controls
    assert facts.counts(line) == "4 samples"
