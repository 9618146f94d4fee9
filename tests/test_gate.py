import json
import shutil

import numpy as np
import pytest

from hdbench import evaluate
from hdbench.errors import HdbenchError
from hdbench.gate import gate
from hdbench.reporting.verdicts import explanation, headline
from hdbench.results import load_scores
from hdbench.store import file_digest
from hdbench.thresholds import Threshold

POINTS = 64
BOTH = ("cd", "jsd")


def shapes(seed, count, *, kinds=3, noise=0.0):
    """Boxes, sticks and plates, as points on their surfaces; fewer `kinds` is mode dropping."""
    rng = np.random.default_rng(seed)
    extents = np.array([[1, 1, 1], [3, 0.4, 0.4], [2, 2, 0.2]])[rng.integers(0, kinds, count)]
    extents = extents * np.exp(0.2 * rng.normal(size=(count, 3)))
    points = rng.uniform(-1, 1, (count, POINTS, 3))
    side = rng.integers(0, 3, (count, POINTS, 1))
    points = np.where(np.arange(3) == side, np.sign(points), points) * extents[:, None]
    return (points + noise * rng.normal(size=points.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Evaluate samples against one common reference, and write the scores; each name is made once."""
    folder = tmp_path_factory.mktemp("scores")
    reference, written = {}, {}

    def evaluated(name, samples, *, count=150, metrics=("cd",)):
        if name not in written:
            reference.setdefault(count, shapes(999, count))
            scores = evaluate(samples, reference[count], protocol="hdbench", metrics=metrics, workers=1)
            written[name] = scores.write(folder / f"{name}.json")
        return written[name]

    return evaluated


def verdicts(report):
    return {finding.metric: finding.verdict for finding in report.findings}


def test_the_same_result_is_the_same_to_the_last_bit(write):
    path = write("same", shapes(1, 150))
    report = gate(path, path)
    assert set(verdicts(report).values()) == {"ok"}
    assert report.notes == ("Samples and values are the same to the last bit.",)
    assert headline(report) == "no metric has changed"


def test_another_seed_of_the_same_model_passes(write):
    report = gate(write("seed-2", shapes(2, 150), metrics=BOTH), write("seed-1", shapes(1, 150), metrics=BOTH))
    found = verdicts(report)
    assert found.pop("jsd") == "underpowered"  # 150 clouds of 64 points fill space too thinly
    assert set(found.values()) == {"ok"}
    assert set(found) == {"mmd_cd", "cov_cd", "nna_cd", "invalid"}  # and no halves


def test_dropped_modes_and_noise_are_caught(write):
    old = write("before", shapes(1, 150))
    for worse, noticed_by in ((shapes(2, 150, kinds=2), "mmd_cd"), (shapes(2, 150, noise=0.3), "nna_cd")):
        new = write("worse", worse)
        assert verdicts(gate(new, old))[noticed_by] == "regressed"
        back = gate(old, new)
        assert verdicts(back)[noticed_by] == "improved"
        assert not back.has("regressed")


def rewritten(source, folder, change=lambda document: None, arrays=lambda stored: None):
    """A copy of a scores file in `folder`, with its JSON and its statistics changed in place."""
    folder.mkdir(exist_ok=True)
    statistics = folder / f"{source.stem}.statistics.npz"
    with np.load(source.parent / statistics.name) as stored:
        members = dict(stored)
    arrays(members)
    np.savez(statistics, **members)
    document = json.loads(source.read_text())
    document["statistics"][statistics.name] = file_digest(statistics)
    change(document)
    copy = folder / source.name
    copy.write_text(json.dumps(document))
    return copy


def found(report, metric):
    return next(finding for finding in report.findings if finding.metric == metric)


def test_few_samples_are_underpowered(write):
    report = gate(*(write(f"few-{seed}", shapes(seed, 20), count=20, metrics=BOTH) for seed in (2, 1)))
    assert {metric for metric, verdict in verdicts(report).items() if verdict == "underpowered"} >= {"nna_cd", "jsd"}
    assert not report.has("regressed")
    assert "times as many shapes" in explanation(found(report, "nna_cd"))


def test_a_handful_of_samples_is_underpowered_too_unless_nothing_has_changed(write):
    old, new = (write(f"tiny-{seed}", shapes(seed, 5), count=5, metrics=BOTH) for seed in (1, 2))
    found = verdicts(gate(new, old))
    assert {found[metric] for metric in ("mmd_cd", "cov_cd", "nna_cd", "jsd")} == {"underpowered"}
    notes = {finding.note for finding in gate(new, old).findings}
    assert "a set has fewer than 8 shapes; draw more (--count)" in notes
    same = gate(old, old)
    assert set(verdicts(same).values()) == {"ok"}


def test_samples_of_the_same_noise_are_compared_one_by_one(write):
    """A model hardly changed, sampled from the same seed: what its samples share cancels."""
    old = write("before-rounding", shapes(1, 40), count=40, metrics=BOTH)
    touched = shapes(1, 40) + np.float32(1e-3) * np.random.default_rng(0).normal(size=(40, POINTS, 3))
    new = write("after-rounding", touched.astype(np.float32), count=40, metrics=BOTH)
    other = write("other-noise", shapes(2, 40), count=40, metrics=BOTH)
    for metric in ("mmd_cd", "jsd"):
        assert found(gate(new, old), metric).visible < found(gate(other, old), metric).visible / 3


def test_more_invalid_samples_are_a_regression(write, tmp_path):
    old = write("all-valid", shapes(1, 40), count=40)

    def lose(document):
        document["samples"]["invalid"] = 20

    worse = gate(rewritten(old, tmp_path, lose), old)
    assert verdicts(worse) == {"mmd_cd": "ok", "cov_cd": "ok", "nna_cd": "ok", "invalid": "regressed"}
    assert found(worse, "invalid").new == pytest.approx(1 / 3)
    assert verdicts(gate(old, tmp_path / old.name))["invalid"] == "improved"


def test_a_value_that_is_no_more_is_a_regression_and_one_that_is_new_is_not_judged(write, tmp_path):
    old = write("with-values", shapes(1, 40), count=40)

    def lose(document):
        score = next(score for score in document["scores"] if score["metric"] == "nna_cd")
        score |= {"value": None, "interval": None, "reason": "none of 40 samples is valid", "signature": "other"}

    lost = rewritten(old, tmp_path, lose)
    assert found(gate(lost, old), "nna_cd").verdict == "regressed"
    assert explanation(found(gate(lost, old), "nna_cd")) == "it has no value any more; none of 40 samples is valid"
    assert found(gate(old, lost), "nna_cd").verdict == "new"
    assert not gate(old, lost).has("regressed")


def test_a_model_of_which_hardly_a_sample_is_valid_is_judged(write):
    """What changes in a signature with the number of valid samples is no other way of measuring."""
    old = write("whole", shapes(1, 40), count=40)
    broken = shapes(2, 40)
    broken[4:] = np.nan
    found = verdicts(gate(write("broken", broken, count=40), old))
    assert found["invalid"] == "regressed"
    assert found["nna_cd"] == "underpowered"


def test_what_is_not_gated_may_be_missing(write, tmp_path):
    old, new = (write(f"missing-{seed}", shapes(seed, 40), count=40) for seed in (1, 2))

    def forget_halves(document):
        document["scores"] = [score for score in document["scores"] if not score["metric"].endswith("_samples")]

    assert verdicts(gate(rewritten(new, tmp_path, forget_halves), old)) == verdicts(gate(new, old))


def test_a_floor_forgives_what_is_sure_but_small(write):
    old, new = write("sharp", shapes(1, 150)), write("noisy", shapes(2, 150, noise=0.1))
    lenient = {name: Threshold(floor=10.0, detect=20.0) for name in ("nna_cd", "mmd_cd", "cov_cd")}
    assert set(verdicts(gate(new, old, thresholds=lenient)).values()) == {"ok"}


def test_what_cannot_be_compared_is_refused(write, tmp_path):
    old = write("complete", shapes(1, 150), metrics=BOTH)
    with pytest.raises(HdbenchError, match="lacks 1 of the values"):
        gate(write("partial", shapes(1, 150)), old)
    with pytest.raises(HdbenchError, match="measured in different ways"):
        gate(write("half", shapes(1, 75), count=75, metrics=BOTH), old)
    stranger = tmp_path / "stranger.json"
    stranger.write_text("[1, 2]")
    with pytest.raises(HdbenchError, match="is no result of hdbench"):
        gate(stranger, old)
    with pytest.raises(HdbenchError, match="cannot be read"):
        gate(tmp_path / "missing.json", old)


def test_another_reference_is_refused_and_another_machine_is_not(write, tmp_path):
    """Machines round apart in the last digits; another reference differs in the first."""
    old, new = (write(f"here-{seed}", shapes(seed, 40), count=40) for seed in (1, 2))

    def scaled(factor):
        def change(stored):
            stored["hdbench/cd/reference_distance"] *= factor
            stored["hdbench/cd/sample_distance"] *= factor

        return change

    there = rewritten(new, tmp_path / "rounded", arrays=scaled(1 + 1e-9))
    assert verdicts(gate(there, old)) == verdicts(gate(new, old))
    with pytest.raises(HdbenchError, match="same reference"):
        gate(rewritten(new, tmp_path / "other", arrays=scaled(1.01)), old)


def test_exchanged_statistics_are_noticed(write, tmp_path):
    old = write("original", shapes(1, 150))
    moved = tmp_path / old.name
    moved.write_bytes(old.read_bytes())
    (tmp_path / "original.statistics.npz").write_bytes(b"something else")
    with pytest.raises(HdbenchError, match="sha256 differs"):
        gate(old, moved)


def test_values_must_be_those_of_the_statistics(write, tmp_path):
    old, new = (write(f"stated-{seed}", shapes(seed, 40), count=40) for seed in (1, 2))

    def flatter(document):
        document["scores"][0]["value"] /= 2

    with pytest.raises(HdbenchError, match=r"in the results and .* in their statistics"):
        gate(rewritten(new, tmp_path, flatter), old)


def test_without_statistics_intervals_must_do(write, tmp_path):
    old = write("with", shapes(1, 150))
    alone = tmp_path / "alone.json"
    alone.write_bytes(old.read_bytes())
    report = gate(write("worse-still", shapes(2, 150, kinds=1)), alone)
    assert verdicts(report)["nna_cd"] == "regressed"
    assert {finding.note for finding in report.findings if finding.metric != "invalid"} == {"unpaired"}


def test_an_interval_that_is_missing_on_one_side_is_no_certainty(write, tmp_path):
    old = write("with", shapes(1, 150))

    def without(document):
        document["scores"][3] |= {"interval": None}
        document["statistics"] = {}

    report = gate(write("worse-still", shapes(2, 150, kinds=1)), rewritten(old, tmp_path, without))
    finding = next(finding for finding in report.findings if finding.metric == "nna_cd")
    assert (finding.verdict, finding.note) == ("underpowered", "a value has no interval")
    assert finding.worse > 0.2


def results_of(scores, folder, *, changes=({},)):
    """A run's folder with one row per entry of `changes`, each made of `scores` and its own copy of the statistics."""
    folder.mkdir()
    document = json.loads(scores.read_text())
    statistics = scores.with_name(f"{scores.stem}.statistics.npz")
    rows = []
    for index, change in enumerate(changes):
        name = f"{index}.statistics.npz"
        shutil.copyfile(statistics, folder / name)
        row = {"method": "pvd", "title": "PVD", "model": "m", "source": "trained", "seed": index, "cost": {}}
        row |= {"samples": document["samples"], "scores": document["scores"]}
        rows.append(row | {"statistics": {name: file_digest(folder / name)}} | change)
    dataset = {"name": "boxes", "category": "box", "fingerprint": "f", "counts": {}, "reference_ids": []}
    results = {
        "schema": "hdbench/results/1",
        "run": {},
        "dataset": dataset | {"reference": document["reference"]},
        "rows": rows,
        "provenance": document["provenance"] | {"git": {"commit": "c", "dirty": False}},
    }
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_folders_of_runs_seeds_and_controls(write, tmp_path):
    scores = write("of-a-run", shapes(1, 40), count=40)
    other = json.loads(write("of-another", shapes(2, 40), count=40).read_text())
    old = results_of(scores, tmp_path / "old", changes=({}, {}, {"method": "noise", "source": "control"}))
    report = gate(old, old)
    assert {finding.method for finding in report.findings} == {"pvd"}
    assert report.notes == ("Samples and values are the same to the last bit.",)
    controls = results_of(scores, tmp_path / "controls", changes=({"source": "control"},))
    with pytest.raises(HdbenchError, match="no value that is gated"):
        gate(old, controls)
    with pytest.raises(HdbenchError, match="no method, protocol and dataset in common"):
        gate(scores, old)
    unsteady = results_of(scores, tmp_path / "unsteady", changes=({"samples": other["samples"]}, {}))
    notes = gate(unsteady, old).notes
    assert notes == ("The same code, model, seeds and machine gave other samples: pvd is not deterministic.",)
    relearnt = results_of(scores, tmp_path / "relearnt", changes=({"samples": other["samples"], "model": "n"}, {}))
    assert gate(relearnt, old).notes == ()
    rescored = [score | {"value": score["value"] + 1e-3} for score in json.loads(scores.read_text())["scores"]]
    changed = results_of(scores, tmp_path / "changed", changes=({"scores": rescored, "statistics": {}}, {}))
    assert "the scoring of cov_cd" in gate(changed, old).notes[0]


def test_two_evaluations_of_one_seed_are_not_called_indeterminate(write):
    assert gate(write("mine", shapes(2, 40), count=40), write("theirs", shapes(1, 40), count=40)).notes == ()


def point_elsewhere(stored):
    stored["hdbench/cd/sample_index"][0, 0] = 10**6


def count_wrongly(stored):
    stored["hdbench/cd/reference_count"] = np.array(10**12)


def cut_short(stored):
    stored["hdbench/cd/sample_distance"] = stored["hdbench/cd/sample_distance"][:3]


def forget_an_array(stored):
    del stored["hdbench/cd/sample_index"]


def measure_nothing(stored):
    stored["hdbench/cd/reference_distance"][0, 0] = np.nan


def leave_the_grid(stored):
    stored["hdbench/jsd/sample_nodes"][0, 0] = 32000


def flatten_the_nodes(stored):
    stored["hdbench/jsd/sample_nodes"] = stored["hdbench/jsd/sample_nodes"].ravel()


@pytest.mark.parametrize(
    "spoil",
    [
        point_elsewhere,
        count_wrongly,
        cut_short,
        forget_an_array,
        measure_nothing,
        leave_the_grid,
        flatten_the_nodes,
    ],
)
def test_statistics_of_no_scoring_are_refused(write, tmp_path, spoil):
    old, new = (write(f"spoilt-{seed}", shapes(seed, 40), count=40, metrics=BOTH) for seed in (1, 2))
    with pytest.raises(HdbenchError, match=r"are not what hdbench writes .* score the shapes again"):
        gate(rewritten(new, tmp_path, arrays=spoil), old)


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (("scores", 0, "value"), float("nan"), "finite number"),
        (("scores", 0, "value"), 1e308, "in the results and"),
        (("scores", 0, "interval"), [-1e308, 1e308], None),
        (("scores", 0, "target"), "sideways", "target"),
        (("samples", "count"), -5, "cannot be"),
        (("samples", "invalid"), 10**30, "cannot be"),
        (("schema",), "hdbench/scores/9", "schema"),
        (("scores",), {}, "scores"),
    ],
)
def test_hostile_values_are_refused_in_one_line(write, tmp_path, place, value, complaint):
    old, new = (write(f"honest-{seed}", shapes(seed, 40), count=40) for seed in (1, 2))

    def spoil(document):
        *way, last = place
        for step in way:
            document = document[step]
        document[last] = value

    hostile = rewritten(new, tmp_path, spoil)
    if complaint is None:
        assert verdicts(gate(hostile, old)) == verdicts(gate(new, old))
        return
    with pytest.raises(HdbenchError, match=complaint):
        gate(hostile, old)


def test_enormous_values_without_statistics_do_not_break_the_gate(write, tmp_path):
    old = write("usual", shapes(1, 40), count=40)
    for score in (huge := json.loads(old.read_text()))["scores"]:
        score |= {"value": 1e308, "interval": [-1e308, 1e308]}
    path = tmp_path / "huge.json"
    path.write_text(json.dumps(huge))
    report = gate(path, old)
    assert headline(report)
    assert all(explanation(finding) for finding in report.findings)
    assert load_scores(path).scores[0].value == 1e308
