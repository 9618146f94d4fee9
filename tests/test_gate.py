import json
from xml.etree import ElementTree

import numpy as np
import pytest

from hdbench import evaluate
from hdbench.errors import HdbenchError
from hdbench.gate import gate
from hdbench.reporting.verdicts import headline, to_junit, to_markdown
from hdbench.thresholds import DEFAULT_THRESHOLDS, Threshold, load_thresholds

POINTS = 64


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
    """Evaluate samples against one common reference, and write the scores."""
    folder = tmp_path_factory.mktemp("scores")
    reference = {}

    def evaluated(name, samples, *, count=150, metrics=("cd", "jsd")):
        reference.setdefault(count, shapes(999, count))
        scores = evaluate(samples, reference[count], protocol="hdbench", metrics=metrics, workers=1)
        return scores.write(folder / f"{name}.json")

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
    report = gate(write("seed-2", shapes(2, 150)), write("seed-1", shapes(1, 150)))
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


def test_few_samples_are_underpowered(write):
    report = gate(write("few-new", shapes(2, 20), count=20), write("few-old", shapes(1, 20), count=20))
    assert verdicts(report)["nna_cd"] == "underpowered"
    assert not report.has("regressed")


def test_a_floor_forgives_what_is_sure_but_small(write):
    old, new = write("sharp", shapes(1, 150)), write("noisy", shapes(2, 150, noise=0.1))
    lenient = {name: Threshold(floor=10.0, detect=20.0) for name in ("nna_cd", "mmd_cd", "cov_cd")}
    assert set(verdicts(gate(new, old, thresholds=lenient)).values()) == {"ok"}


def test_what_cannot_be_compared_is_refused(write, tmp_path):
    old = write("complete", shapes(1, 150))
    with pytest.raises(HdbenchError, match="lacks 1 of the values"):
        gate(write("partial", shapes(1, 150), metrics=["cd"]), old)
    with pytest.raises(HdbenchError, match="measured in different ways"):
        gate(write("half", shapes(1, 75), count=75), old)
    stranger = tmp_path / "stranger.json"
    stranger.write_text("[1, 2]")
    with pytest.raises(HdbenchError, match="is no result of hdbench"):
        gate(stranger, old)
    with pytest.raises(HdbenchError, match="cannot be read"):
        gate(tmp_path / "missing.json", old)


def test_exchanged_statistics_are_noticed(write, tmp_path):
    old = write("original", shapes(1, 150))
    moved = tmp_path / old.name
    moved.write_bytes(old.read_bytes())
    (tmp_path / "original.statistics.npz").write_bytes(b"something else")
    with pytest.raises(HdbenchError, match="sha256 differs"):
        gate(old, moved)


def test_without_statistics_intervals_must_do(write, tmp_path):
    old = write("with", shapes(1, 150))
    alone = tmp_path / "alone.json"
    alone.write_bytes(old.read_bytes())
    report = gate(write("worse-still", shapes(2, 150, kinds=1)), alone)
    assert verdicts(report)["nna_cd"] == "regressed"
    assert {finding.note for finding in report.findings if finding.metric != "invalid"} == {"unpaired"}


def test_thresholds_from_pyproject_and_flags(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.hdbench.gate]\nnna_cd = { floor = 0.1 }\n")
    thresholds = load_thresholds(project, ["cov_cd=0.3"])
    assert thresholds["nna_cd"] == Threshold(floor=0.1, detect=0.2)
    assert thresholds["cov_cd"].floor == 0.3
    assert load_thresholds(tmp_path / "none.toml") == DEFAULT_THRESHOLDS
    project.write_text("[tool.hdbench.gate]\nnna_cd = { flor = 0.1 }\n")
    with pytest.raises(HdbenchError, match=r"\[tool.hdbench.gate\]: nna_cd: flor"):
        load_thresholds(project)
    for flag in ("cov_cd", "cov_cd=much", "cov_cd=-1"):
        with pytest.raises(HdbenchError, match="cov_cd"):
            load_thresholds(tmp_path / "none.toml", [flag])


def test_what_others_read(write):
    old, new = write("old", shapes(1, 150)), write("new", shapes(2, 150, kinds=1))
    report = gate(new, old)
    suite = ElementTree.fromstring(to_junit(report))[0]
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == [finding.metric for finding in report.findings if finding.verdict == "regressed"]
    assert suite.get("failures") == str(len(failed))
    markdown = to_markdown(report)
    assert "✗ regressed" in markdown
    assert f"{len(failed)} regressed" in markdown


def test_names_cannot_smuggle_markup(write, tmp_path):
    old = write("honest", shapes(1, 150))
    document = json.loads(old.read_text())
    for score in document["scores"]:
        score["protocol"] = "<script>|`[x](http://y)"
    hostile = tmp_path / "hostile.json"
    hostile.write_text(json.dumps(document))
    report = gate(hostile, hostile)
    assert "<script>" not in to_markdown(report) + to_junit(report)
    assert "](http" not in to_markdown(report)
