import pytest
from report_examples import example_results, half_size_held_out, results, row, score

from hdbench.reporting.summary import verdicts
from hdbench.reporting.tables import board


@pytest.mark.parametrize(
    ("value", "standing"),
    [(0.05, "short of real shapes"), (0.0301, "not told apart from real shapes"), (0.01, "beyond real shapes")],
)
def test_the_leader_is_measured_by_real_shapes(value, standing):
    real = row("held-out", [score("mmd_cd", 0.03, 0.001)], source="control")
    (verdict,) = verdicts(board(results([row("alpha", [score("mmd_cd", value, 0.001)]), real])))
    assert verdict.standing == standing
    assert str(verdict.real) == "3.00 ± 0.10"


def test_real_shapes_of_another_signature_measure_nobody():
    (verdict,) = verdicts(board(half_size_held_out()))
    assert verdict.standing == ""
    assert verdict.real is None


def test_leaders_share_the_place_when_nobody_could_tell_them_apart():
    found = {verdict.column.metric: verdict for verdict in verdicts(board(example_results()))}
    assert (found["mmd_cd"].heading, found["mmd_cd"].claim) == ("Alpha, Beta", "tie of 2")
    assert (found["cov_cd"].heading, found["cov_cd"].claim) == ("Beta", "best")
