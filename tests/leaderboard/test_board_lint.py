import json

import numpy as np
import pytest
from board_examples import add_entry, audit, change_scores, new_board, told

from hdbench.errors import HdbenchError
from hdbench.leaderboard.lint import identity_errors, lint_board, value_errors
from hdbench.metrics.scoring import Statistics
from hdbench.store import file_digest


@pytest.fixture
def board(tmp_path):
    return new_board(tmp_path / "board")


def texts(board):
    return [finding.text for finding in lint_board(board) if finding.level == "error"]


def score_of(document, metric):
    return next(score for score in document["protocols"][0]["scores"] if score["metric"] == metric)


def test_a_sound_board_passes(board):
    for seed in range(3):
        add_entry(board, seed)
    assert lint_board(board) == []


def set_to(metric, value, interval=None):
    def change(document):
        score_of(document, metric).update(value=value, interval=interval)

    return change


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("nna_cd", 1.2, "outside 0 to 1"),
        ("nna_cd", 0.51, "but its halves give"),
        ("nna_cd", 0.51, "statistics.npz gives"),
        ("cov_cd", 1.01, "more than min(1, samples / references)"),
        ("cov_cd", -0.1, "outside 0 to 1"),
        ("mmd_cd", -1.0, "outside 0 to"),
        ("mmd_cd", 0.001, "statistics.npz gives"),
    ],
)
def test_impossible_values_are_found(board, metric, value, expected):
    change_scores(add_entry(board, 0), set_to(metric, value))
    assert any(expected in text for text in texts(board)), texts(board)


def test_an_interval_contains_its_value(board):
    def change(document):
        score = score_of(document, "mmd_cd")
        score["interval"] = [score["value"] + 1, score["value"] + 2]

    change_scores(add_entry(board, 0), change)
    assert any("outside its interval" in text for text in texts(board))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_refused_when_read(board, number):
    folder = add_entry(board, 0)
    path = folder / "scores.json"
    value = json.loads(path.read_text())["protocols"][0]["scores"][0]["value"]
    path.write_text(path.read_text().replace(f'"value": {value!r}', f'"value": {number}', 1))
    with pytest.raises(HdbenchError, match=r"scores\.json"):
        lint_board(board)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("protocol:hyperdiffusion", "protocol:pvd", "signature says protocol:pvd"),
        ("distance:cd_sq", "distance:cd_l2", "signature says distance:cd_l2"),
        ("unit-deviation-uncentred", "none", "signature says normalisation:none"),
        ("samples:16", "samples:1600", "signature says samples:1600"),
        ("0a1b2c3d", "ffffffff", "signature says data:"),
        ("|version:1", "|version:0", "signature says version:0"),
    ],
)
def test_a_signature_is_of_the_protocol_it_claims(board, old, new, expected):
    def change(document):
        score = score_of(document, "mmd_cd")
        assert old in score["signature"]
        score["signature"] = score["signature"].replace(old, new)

    change_scores(add_entry(board, 0), change)
    assert any(expected in text for text in texts(board)), texts(board)


def test_an_unknown_metric_and_an_unknown_protocol_are_found(board):
    change_scores(add_entry(board, 0), lambda document: score_of(document, "mmd_cd").update(metric="mmd_best"))
    change_scores(add_entry(board, 1), lambda document: document["protocols"][0].update(protocol="ours"))
    assert any("mmd_best" in text for text in texts(board))
    assert any("'ours' is unknown" in text for text in texts(board))


@pytest.mark.parametrize("name", ["samples.npz", "statistics.npz", "gallery.json", "gallery-0.webp"])
def test_files_that_were_changed_or_removed_are_found(board, name):
    folder = add_entry(board, 0)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert any(f"{name} is not the file" in text for text in texts(board))
    (folder / name).unlink()
    assert any(f"{name} is missing" in text for text in texts(board))


def test_lists_that_lead_out_of_their_sets_are_not_followed(board):
    folder = add_entry(board, 0)
    arrays = Statistics.load(folder / "statistics.npz").arrays
    far = np.full_like(arrays["hyperdiffusion/cd/reference_index"], 2**30)
    Statistics({**arrays, "hyperdiffusion/cd/reference_index": far}).save(folder / "statistics.npz")
    digest = file_digest(folder / "statistics.npz")
    change_scores(folder, lambda document: document["files"].update({"statistics.npz": digest}))
    assert any("statistics.npz cannot be read (neighbours that are not there)" in text for text in texts(board))


def test_scores_of_other_samples_are_found(board):
    folder, other = add_entry(board, 0), add_entry(board, 1)
    (folder / "scores.json").write_bytes((other / "scores.json").read_bytes())
    assert any("name different samples" in text for text in texts(board))


def test_scores_made_by_other_code_are_found(board):
    change_scores(add_entry(board, 0), lambda document: document["protocols"][0].update(key="0" * 64))
    assert any("by other code" in text for text in texts(board))


def test_a_protocol_that_the_board_asks_for_may_not_be_missing(board):
    add_entry(board, 0)
    (board / "board.json").write_text('{"schema": "hdbench/leaderboard/1", "protocols": ["hyperdiffusion", "dpc"]}')
    assert any("no scores under dpc" in text for text in texts(board))


def test_the_same_samples_stand_on_a_board_once(board):
    add_entry(board, 0)
    change_scores(add_entry(board, 1), lambda document: document["samples"].update(sha256=f"{0:064x}"))
    assert any("its samples are those of" in text for text in texts(board))


def test_copies_of_training_shapes_are_flagged_for_models_alone(board):
    copied = audit(near_copies=0.6, p_value=0.0001)
    add_entry(board, 0, audited=copied)
    add_entry(board, 1, audited=copied, kind="control")
    add_entry(board, 2, audited=audit(near_copies=0.6, p_value=0.4))
    (finding,) = lint_board(board)
    assert finding.level == "flag"
    assert "60% of the samples lie as near to a training shape" in finding.text


@pytest.mark.parametrize("schema", ["hdbench/leaderboard/2", "hdbench/entry/1", 7])
def test_boards_of_another_schema_are_refused(board, schema):
    (board / "board.json").write_text(json.dumps({"schema": schema}))
    with pytest.raises(HdbenchError, match="schema"):
        lint_board(board)


def test_divergences_stay_below_their_unit():
    assert value_errors(told("jsd", 0.9, None)) == []
    assert value_errors(told("jsd", 1.1, None)) == ["jsd is 1.1, outside 0 to 1"]
    assert value_errors(told("jsd", 0.7, None, unit="nats")) == ["jsd is 0.7, outside 0 to 0.693147"]
    assert value_errors(told("kpd", -0.1, None)) == []


def test_coverage_of_few_samples_is_bounded_by_their_share():
    scores = [told("cov_cd", 0.6, None)]
    assert identity_errors(scores, 10, 6) == []
    assert identity_errors(scores, 10, 5) == ["cov_cd is 0.6, more than min(1, samples / references) = 0.5"]


def test_halves_are_weighted_by_the_sizes_of_the_sets():
    halves = [told("nna_cd_samples", 0.9, None), told("nna_cd_reference", 0.3, None)]
    assert identity_errors([told("nna_cd", 0.5, None), *halves], 20, 10) == []
    assert identity_errors([told("nna_cd", 0.6, None), *halves], 20, 10) != []
    assert np.isclose((20 * 0.3 + 10 * 0.9) / 30, 0.5)
