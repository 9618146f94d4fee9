import json
import shutil

import numpy as np
import pytest

import hdbench
from hdbench import compare, evaluate
from hdbench.errors import HdbenchError
from hdbench.results import Cost, DatasetInfo, Results, Row, load_scores, to_json


def shapes(seed, count=40, *, noise=0.0):
    rng = np.random.default_rng(seed)
    extents = np.array([[1, 1, 1], [3, 0.4, 0.4], [2, 2, 0.2]])[rng.integers(0, 3, count)]
    points = rng.uniform(-1, 1, (count, 64, 3)) * extents[:, None]
    return (points + noise * rng.normal(size=points.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores")
    reference = shapes(99)

    def write(name, samples, reference=reference):
        return evaluate(samples, reference, protocol="hdbench", metrics=("cd", "jsd"), data="d", workers=1).write(
            folder / f"{name}.json"
        )

    return {
        "good": write("good", shapes(1)),
        "again": write("again", shapes(2)),
        "noisy": write("noisy", shapes(3, noise=1.0)),
        "few": write("few", shapes(1, 5)),
        "elsewhere": write("elsewhere", shapes(1), shapes(98)),
    }


def test_the_better_model_is_named_and_swapping_turns_the_sign(written):
    forth, back = compare(written["good"], written["noisy"]), compare(written["noisy"], written["good"])
    for metric in ("nna_cd", "mmd_cd_samples", "jsd"):
        assert forth[metric].better == "a"
        assert forth[metric].paired
        assert forth[metric].lo < forth[metric].difference < forth[metric].hi < 0
        assert back[metric].better == "b"
        assert back[metric].difference == pytest.approx(-forth[metric].difference)
        assert back[metric].a == forth[metric].b


def test_two_seeds_of_one_model_are_not_told_apart(written):
    found = compare(written["good"], written["again"])
    assert found["nna_cd"].better is None
    assert found["nna_cd"].p_value > 0.05
    assert compare(written["good"], written["good"])["nna_cd"].difference == 0


def test_table_has_a_line_per_metric(written):
    found = compare(written["good"], written["noisy"])
    frame = found.table()
    assert list(frame["metric"]) == [row.metric for row in found.rows]
    assert {"a", "b", "difference", "lo", "hi", "p_value", "better", "paired"} <= set(frame.columns)


def test_without_statistics_the_intervals_are_all_there_is(written, tmp_path):
    for name in ("good", "noisy"):
        shutil.copyfile(written[name], tmp_path / f"{name}.json")
    found = compare(tmp_path / "good.json", tmp_path / "noisy.json")["nna_cd"]
    assert not found.paired
    assert found.hi - found.lo > (lambda one: one.hi - one.lo)(compare(written["good"], written["noisy"])["nna_cd"]) / 2


def test_methods_of_a_run_are_compared_over_their_seeds(written, tmp_path):
    path = as_run(written, tmp_path, [("one", "good", 0), ("one", "again", 1), ("two", "noisy", 0)])
    found = compare(path, path, methods=("one", "two"))
    assert found["nna_cd"].better == "a"
    assert found["nna_cd"].method == "one / two"
    means = [load_scores(written[name]).scores[3].value for name in ("good", "again")]
    assert found["nna_cd"].a == pytest.approx(sum(means) / 2)
    assert {row.method for row in compare(path, path).rows} == {"one", "two"}
    with pytest.raises(HdbenchError, match="three"):
        compare(path, path, methods=("one", "three"))
    with pytest.raises(HdbenchError, match="give two names"):
        compare(path, path, methods=("one",))


def as_run(written, folder, rows):
    document = load_scores(written["good"])
    for _, name, _ in rows:
        statistics = written[name].with_name(f"{name}.statistics.npz")
        shutil.copyfile(statistics, folder / statistics.name)
    results = Results(
        run={},
        dataset=DatasetInfo(
            name="d", category="c", fingerprint="f", counts={}, reference=document.reference, reference_ids=[]
        ),
        rows=[
            Row(
                method=method, title=method, model=name, source="trained", seed=seed, cost=Cost(),
                samples=load_scores(written[name]).samples, scores=load_scores(written[name]).scores,
                statistics=load_scores(written[name]).statistics,
            )
            for method, name, seed in rows
        ],
        provenance=document.provenance,
    )  # fmt: skip
    (folder / "results.json").write_text(to_json(results))
    return folder


def test_what_was_measured_in_different_ways_is_refused(written):
    with pytest.raises(HdbenchError, match="different ways"):
        compare(written["good"], written["few"])


def test_what_is_only_said_of_certainty_does_not_matter(written, tmp_path):
    document = json.loads(written["again"].read_text())
    for score in document["scores"]:
        score["signature"] += "|warning:fewer-than-30-shapes"
    (tmp_path / "warned.json").write_text(json.dumps(document))
    shutil.copyfile(written["again"].with_name("again.statistics.npz"), tmp_path / "again.statistics.npz")
    assert compare(written["good"], tmp_path / "warned.json").rows == compare(written["good"], written["again"]).rows


def test_other_references_and_foreign_statistics_are_refused(written, tmp_path):
    with pytest.raises(HdbenchError, match="reference"):
        compare(written["good"], written["elsewhere"])
    shutil.copyfile(written["noisy"].with_name("noisy.statistics.npz"), tmp_path / "good.statistics.npz")
    shutil.copyfile(written["good"], tmp_path / "good.json")
    with pytest.raises(HdbenchError, match="sha256 differs"):
        compare(tmp_path / "good.json", written["good"])


def test_nothing_in_common_is_said(written, tmp_path):
    document = json.loads(written["good"].read_text())
    document["scores"], document["statistics"] = [], {}
    (tmp_path / "empty.json").write_text(json.dumps(document))
    with pytest.raises(HdbenchError, match="in common"):
        compare(written["good"], tmp_path / "empty.json")


def test_it_is_part_of_the_package():
    assert hdbench.compare is compare
