import json
import math

import pytest
from pydantic import ValidationError

from hdbench.errors import HdbenchError
from hdbench.results import (
    Cost,
    DatasetInfo,
    Provenance,
    Results,
    Row,
    Score,
    Scores,
    SetInfo,
    best_rows,
    load_results,
    load_scores,
    to_json,
)

PROVENANCE = Provenance(hdbench="0", git=None, packages={}, machine={}, seeds=[0], command="hdbench")
SET = SetInfo(path="here", sha256="0", count=3)


def score(value, interval=None, target="lower", **fields) -> Score:
    return Score(
        protocol="p", metric="m", value=value, interval=interval, target=target, unit="u", signature="s", **fields
    )


def scores_document(value: float = 0.1) -> Scores:
    return Scores(samples=SET, reference=SET, scores=[score(value)], provenance=PROVENANCE)


def results_document() -> Results:
    row = Row(
        method="a", title="A", model="m", source="trained", seed=0, samples=SET, scores=[score(1 / 3)], cost=Cost(),
        loss_curve=[(1, 0.5)],
    )  # fmt: skip
    dataset = DatasetInfo(
        name="d", category="c", fingerprint="f", counts={"test": 1}, reference=SET, reference_ids=["x"]
    )
    return Results(run={"seed": 0}, dataset=dataset, rows=[row], provenance=PROVENANCE)


class TestDocuments:
    def test_come_back_as_they_were(self, tmp_path):
        (tmp_path / "scores.json").write_text(to_json(scores_document()))
        (tmp_path / "results.json").write_text(to_json(results_document()))
        assert load_scores(tmp_path / "scores.json") == scores_document()
        assert load_results(tmp_path / "results.json") == load_results(tmp_path) == results_document()

    @pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
    def test_numbers_keep_every_bit(self, tmp_path, value):
        (tmp_path / "scores.json").write_text(to_json(scores_document(value)))
        assert load_scores(tmp_path / "scores.json").scores[0].value == value

    def test_name_their_schema_first(self):
        assert next(iter(json.loads(to_json(scores_document())).items())) == ("schema", "hdbench/scores/1")
        assert next(iter(json.loads(to_json(results_document())).items())) == ("schema", "hdbench/results/1")

    def test_hold_finite_numbers_only(self):
        for value in (math.nan, math.inf):
            with pytest.raises(ValidationError):
                score(value)
            with pytest.raises(ValidationError):
                score(1.0, (0.0, value))

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"schema": "hdbench/scores/2"}, "schema: Input should be 'hdbench/scores/1' (got 'hdbench/scores/2')"),
            ({"scores": None}, "scores: Input should be a valid array"),
            ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ],
    )
    def test_of_another_form_are_refused(self, tmp_path, change, words):
        (tmp_path / "a.json").write_text(json.dumps(json.loads(to_json(scores_document())) | change))
        with pytest.raises(HdbenchError) as caught:
            load_scores(tmp_path / "a.json")
        assert words in str(caught.value)
        assert str(tmp_path / "a.json") in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"schema": "hdbench/results/1"}'])
    def test_that_are_none_are_refused_in_one_line(self, tmp_path, content):
        (tmp_path / "results.json").write_bytes(content)
        with pytest.raises(HdbenchError, match=r"results\.json") as caught:
            load_results(tmp_path)
        assert "\n" not in str(caught.value)

    def test_that_are_missing(self, tmp_path):
        with pytest.raises(HdbenchError, match="cannot be read"):
            load_results(tmp_path)

    def test_the_other_kind(self, tmp_path):
        (tmp_path / "a.json").write_text(to_json(results_document()))
        with pytest.raises(HdbenchError, match="schema"):
            load_scores(tmp_path / "a.json")


@pytest.mark.parametrize(("target", "best"), [("lower", 1), ("higher", 2), (0.5, 0)], ids=["lower", "higher", "half"])
def test_distance_from_best_follows_the_target(target, best):
    values = [0.45, 0.2, 0.9]
    distances = [score(value, target=target).distance_from_best() for value in values]
    assert distances.index(min(distances)) == best
    assert score(None, target=target).distance_from_best() == math.inf


class TestBestRows:
    def test_the_best_and_its_equals(self):
        rows = [score(3.0), score(1.0), None, score(1.0), score(None), score(2.0)]
        assert best_rows(rows) == [1, 3]

    def test_what_intervals_cannot_tell_apart(self):
        rows = [score(1.0, (0.9, 1.2)), score(1.3, (1.1, 1.5)), score(1.4, (1.25, 1.6)), score(1.15)]
        assert best_rows(rows) == [0, 1, 3]

    def test_higher_is_better(self):
        rows = [score(0.9, (0.8, 1.0), "higher"), score(0.7, (0.6, 0.85), "higher"), score(0.5, (0.4, 0.6), "higher")]
        assert best_rows(rows) == [0, 1]

    def test_either_side_of_a_value(self):
        rows = [
            score(0.60, (0.58, 0.62), 0.5),
            score(0.41, (0.39, 0.43), 0.5),  # as far below as the first is above
            score(0.80, (0.75, 0.85), 0.5),
            score(0.30, (0.28, 0.55), 0.5),  # could be 0.5
        ]
        assert best_rows(rows) == [0, 1, 3]

    def test_none(self):
        assert best_rows([]) == best_rows([None, score(None)]) == []
