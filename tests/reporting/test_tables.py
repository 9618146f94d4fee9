import io

import pandas as pd
import pytest
from report_examples import example_results, half_size_held_out, results, row, score

from hdbench.reporting.export import table, to_csv
from hdbench.reporting.rounding import display_scale, rounded
from hdbench.reporting.tables import board


def marks(metric: str, arranged=None) -> dict[str, tuple[bool, bool]]:
    """Best and tied by method, of one column."""
    arranged = arranged or board(example_results())
    index = [column.metric for column in arranged.columns].index(metric)
    cells = {line.method: line.cells[index] for line in arranged.lines}
    return {method: (cell.is_best, cell.is_tied) for method, cell in cells.items() if cell}


def test_models_and_controls_stand_apart_in_order():
    arranged = board(example_results())
    assert [line.method for line in arranged.models] == ["alpha", "beta"]
    assert [line.method for line in arranged.controls] == ["train-copy", "held-out", "noise"]
    assert [column.label for column in arranged.columns] == ["MMD-CD", "COV-CD", "1-NNA-CD"]


def test_overlapping_intervals_tie_and_the_target_decides():
    assert marks("mmd_cd")["alpha"] == marks("mmd_cd")["beta"] == (True, True)
    assert marks("cov_cd")["beta"] == (True, False)  # higher
    assert marks("nna_cd")["alpha"] == (True, False)  # 0.6 is nearer to 0.5 than 0.9
    assert marks("nna_cd")["beta"] == (False, False)


def test_controls_are_never_best():
    for metric in ("mmd_cd", "cov_cd", "nna_cd"):
        found = marks(metric)
        assert not any(found[control][0] for control in ("train-copy", "held-out", "noise"))


def test_models_with_other_signatures_share_no_column():
    other = score("mmd_cd", 0.001, 0.0001, signature="mmd_cd|points:100")
    arranged = board(results([row("alpha", [score("mmd_cd", 0.03, 0.001)]), row("beta", [other])]))
    assert [column.signature for column in arranged.columns] == [
        "mmd_cd|protocol:hyperdiffusion|samples:4",
        "mmd_cd|points:100",
    ]
    alpha, beta = arranged.models
    assert (alpha.cells[0].is_best, alpha.cells[1]) == (True, None)
    assert (beta.cells[0], beta.cells[1].is_best) == (None, True)


def test_a_control_with_its_own_count_stands_in_the_models_column_with_a_mark():
    arranged = board(half_size_held_out())
    assert len(arranged.columns) == 1
    assert arranged.controls[0].cells[0].is_foreign
    assert arranged.yardstick(0) is None
    assert not arranged.models[0].cells[0].is_foreign


def test_a_model_without_values_stands_in_the_others_columns_with_its_reason():
    broken = row("alpha", [score("mmd_cd", None, signature="mmd_cd|short", reason="no valid samples")])
    control = row("held-out", [score("mmd_cd", 0.02, 0.001)], source="control")
    for rows in ([broken, control], [broken, row("beta", [score("mmd_cd", 0.03, 0.001)]), control]):
        arranged = board(results(rows))
        assert len(arranged.columns) == 1
        assert arranged.models[0].cells[0].score.reason == "no valid samples"
        assert not arranged.models[0].cells[0].is_best
        assert not arranged.controls[0].cells[0].is_foreign


def test_only_controls_still_make_a_table():
    control = row("noise", [score("mmd_cd", 0.4, 0.01)], source="control")
    arranged = board(results([control]))
    assert arranged.models == ()
    assert arranged.controls[0].cells[0].score.value == 0.4


def test_no_rows_make_an_empty_board():
    assert board(results([])).columns == ()


def test_seeds_of_a_model_are_averaged_and_other_models_of_a_method_are_not():
    rows = [
        row("alpha", [score("mmd_cd", 0.030, 0.002)], seed=0),
        row("alpha", [score("mmd_cd", 0.040, 0.004)], seed=1),
        row("alpha", [score("mmd_cd", 0.9, 0.004)], model="another-model"),
    ]
    first, second = board(results(rows)).models
    assert first.cells[0].score.value == pytest.approx(0.035)
    assert first.cells[0].score.interval == pytest.approx((0.032, 0.038))
    assert [line.count for line in (first, second)] == [8, 4]
    assert first.title != second.title  # told apart by the model's hash
    assert "another" in second.title


def test_a_score_nobody_has_is_left_out_with_its_reason():
    missing = score("fpd", None, reason="no weights")
    arranged = board(results([row("alpha", [score("mmd_cd", 0.03, 0.001), missing])]))
    assert [column.metric for column in arranged.only(protocol="hyperdiffusion", headline=True).columns] == ["mmd_cd"]
    assert arranged.reason(1) == "no weights"
    assert arranged.reason(0) is None


def test_halves_of_scores_stand_in_a_table_of_their_own():
    scores = [score("nna_cd", 0.6, 0.05), score("nna_cd_samples", 0.62, 0.05), score("nna_cd_reference", 0.58, 0.05)]
    arranged = board(results([row("alpha", scores)]))
    main, halves = (arranged.only(protocol="hyperdiffusion", headline=headline) for headline in (True, False))
    assert [column.label for column in main.columns] == ["1-NNA-CD"]
    assert [column.label for column in halves.columns] == ["1-NNA-CD (samples)", "1-NNA-CD (reference)"]


@pytest.mark.parametrize(
    ("value", "half", "scale", "text"),
    [
        (0.0342, 0.00131, 100, "3.42 ± 0.13"),
        (0.6612, 0.06, 100, "66 ± 6"),
        (0.0305, 0.0182, 100, "3.0 ± 1.8"),
        (0.03412345, 0.00024, 100, "3.41 ± 0.02"),
        (1.0, 0.0, 100, "100 ± 0"),
        (0.4137, 0.0, 1, "0.414 ± 0.000"),
        (1234.0, 250.0, 1, "1234 ± 250"),
        (-0.00012, 0.0005, 1, "-0.0001 ± 0.0005"),
        (4.123e-4, 1.3e-6, 1, "0.0004123 ± 0.0000013"),
        (6.4e-29, 5e-30, 1, "6.4e-29 ± 5e-30"),
        (6.4e-29, 3e-28, 1, "1e-28 ± 3e-28"),
        (6.4e-29, 0.0, 1, "6.40e-29 ± 0"),
        (1e-31, 5e-30, 1, "0 ± 5e-30"),
        (0.5, 3e-12, 1, "0.50000000 ± 3e-12"),
        (0.0, 5e-324, 1, "0 ± 5e-324"),
    ],
)
def test_numbers_are_rounded_by_their_interval(value, half, scale, text):
    assert str(rounded(score("mmd_cd", value, half), scale)) == text


def test_rounding_without_interval_value_or_symmetry():
    assert str(rounded(score("mmd_cd", 0.034567), 100)) == "3.46"
    assert str(rounded(score("mmd_cd", 0.59), 100)) == "59.0"
    assert str(rounded(score("mmd_cd", None, reason="empty"), 100)) == "–"
    lopsided = score("cov_cd", 0.98, interval=(0.9, 1.0))
    assert str(rounded(lopsided, 100)) == "98 +2 −8"


def test_display_scale_is_the_papers():
    assert display_scale("hyperdiffusion", "mmd_cd", "squared length") == 100
    assert display_scale("pvd", "mmd_cd", "squared length") == 1
    assert display_scale("somebody's own", "nna_cd", "fraction") == 100


def test_table_has_every_row_and_score():
    document = example_results()
    frame = table(document)
    assert len(frame) == sum(len(row.scores) for row in document.rows)
    alpha = frame[(frame.method == "alpha") & (frame.metric == "mmd_cd")].iloc[0]
    assert (alpha.value, alpha.lo, alpha.hi) == pytest.approx((0.034, 0.032, 0.036))
    assert alpha.best
    assert alpha.invalid == 1
    assert set(frame[frame.best & (frame.metric == "cov_cd")].method) == {"beta"}
    assert not frame[frame.source == "control"].best.any()


def test_csv_opens_in_pandas_as_the_same_table():
    frame = table(example_results())
    back = pd.read_csv(io.StringIO(to_csv(frame)))
    assert list(back.columns) == list(frame.columns)
    assert back.value.tolist() == frame.value.tolist()
    assert back.best.dtype == bool


def test_csv_holds_no_formulas_for_spreadsheets():
    hostile = row("alpha", [score("mmd_cd", -0.5, 0.1)], title='=HYPERLINK("http://example.org")')
    back = pd.read_csv(io.StringIO(to_csv(table(results([hostile])))))
    assert back.title[0].startswith("'=")
    assert back.value[0] == -0.5  # numbers stay numbers
