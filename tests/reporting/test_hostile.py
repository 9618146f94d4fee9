"""Results and statistics are files, and may be anyone's: reports of them may be odd, never dangerous."""

import json

import numpy as np
import pytest
from headless import EXECUTABLE, Browser
from report_examples import example_results, results, row, score, whole_run

from hdbench.errors import HdbenchError
from hdbench.metrics.scoring import Statistics
from hdbench.reporting.report import write_report
from hdbench.results import Cost, SetInfo, to_json
from hdbench.store import file_digest

SCRIPT = "\"'></script></title></style><script>window.hacked=1</script><img src=x onerror=window.hacked=1>{{ 7*7 }}"


def changed(run, change) -> None:
    """Write the run's results alone, after `change` did to them what hdbench never would."""
    document = json.loads(to_json(run.results))
    change(document)
    run.folder.mkdir()
    (run.folder / "results.json").write_text(json.dumps(document), encoding="utf-8")


def in_score(**fields):
    return lambda document: document["rows"][0]["scores"][0].update(fields)


def in_samples(**fields):
    return lambda document: document["rows"][0]["samples"].update(fields)


def in_cost(**fields):
    return lambda document: document["rows"][0]["cost"].update(fields)


@pytest.mark.parametrize(
    "change",
    [
        in_score(value=float("nan")),
        in_score(value=float("inf")),
        in_score(value=0.1, interval=[0.0, float("-inf")]),
        in_score(value="<script>"),
        in_score(target="sideways"),
        in_samples(count=1.5),
        in_cost(fit_s=float("nan")),
        lambda document: document.update(schema="hdbench/results/99"),
        lambda document: document.update(rows={"a": 1}),
        lambda document: document["rows"][0].update(loss_curve=[[1, float("nan")]]),
        in_score(value=1e308, interval=[-1e308, 1e308]),
        in_score(target=-1e308),
        in_samples(count=10**40, invalid=10**40),
        in_cost(sample_s_per_shape=1e308),
        in_cost(peak_memory_bytes=10**400),
        lambda document: document["rows"][0].update(loss_curve=[[1, 1e308]]),
        lambda document: document["rows"][0]["neighbours"][0].update(distances=[1e308]),
        lambda document: document["dataset"].update(counts={"train": 10**40}),
    ],
)
def test_what_is_no_number_or_schema_of_ours_is_refused_in_one_line(small_run, change):
    changed(small_run, change)
    with pytest.raises(HdbenchError) as error:
        small_run.report()
    assert "\n" not in str(error.value)
    assert not (small_run.folder / "report.html").exists()


@pytest.mark.parametrize(
    "change",
    [
        in_score(value=-0.5, interval=[-0.6, -0.4]),
        in_score(value=1e18, interval=[-1e18, 1e18]),
        in_score(value=5e-324, interval=[0, 1e-323]),
        in_score(value=0.5, interval=[0.9, 0.1]),
        in_score(value=0.5, interval=[0.9, 0.95], target=1e18),
        in_samples(count=-3, invalid=-7),
        in_cost(fit_s=-1.0, sample_s_per_shape=1e18, peak_memory_bytes=-(10**17)),
        in_cost(fit_s=1e-300, sample_s_per_shape=5e-324, peak_memory_bytes=10**18),
        lambda document: document["rows"][0].update(loss_curve=[[-5, -1e18], [10**18, 1e18]], seed=-(10**30)),
        lambda document: document["dataset"].update(counts={"train": -1, "test": 10**17}),
        lambda document: document["dataset"]["reference"].update(count=-5),
        lambda document: document["provenance"].update(machine={"memory_bytes": -1, "cores": {"a": []}}, seeds=[]),
        lambda document: document["rows"][0]["neighbours"][0].update(distances=[-1e18, 1e18, 0.0]),
        lambda document: document["rows"][0]["neighbours"][0].update(distances=[1.0], training=["../../x", "/etc"]),
        lambda document: document.update(rows=[]),
    ],
)
def test_odd_numbers_make_an_odd_report_and_no_traceback(small_run, change):
    changed(small_run, change)
    assert "</html>" in small_run.report()[0].read_text(encoding="utf-8")


def hostile_run(folder):
    """Script wherever text may stand."""
    run = whole_run(folder)
    clean = run.results.rows[0]
    evil = clean.model_copy(
        update={
            "title": SCRIPT,
            "model": SCRIPT,
            "samples": SetInfo(path=SCRIPT, sha256=SCRIPT, count=3, invalid=1, invalid_ids={SCRIPT: SCRIPT}),
            "scores": [*clean.scores, score("fpd", None, protocol=SCRIPT, reason=SCRIPT, signature=SCRIPT)],
            "other_scores": [score(f"nna_{SCRIPT}", 0.5, 0.1, protocol=SCRIPT, signature=f"x|{SCRIPT}", unit=SCRIPT)],
            "recipe": {SCRIPT: SCRIPT},
            "cost": Cost(fit_s=1.0, device=SCRIPT),
        }
    )
    dataset = run.results.dataset.model_copy(update={"name": SCRIPT, "category": SCRIPT, "skipped": {SCRIPT: SCRIPT}})
    made = run.results.provenance.model_copy(
        update={"hdbench": SCRIPT, "command": SCRIPT, "machine": {SCRIPT: SCRIPT}, "packages": {SCRIPT: SCRIPT}}
    )
    update = {"rows": [evil, *run.results.rows[1:]], "dataset": dataset, "provenance": made, "run": {SCRIPT: SCRIPT}}
    run.results = run.results.model_copy(update=update)
    return run.write()


@pytest.mark.slow
@pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
def test_no_script_of_a_results_file_runs_in_a_browser(tmp_path):
    page = hostile_run(tmp_path / "run").report()[0]
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(page)
        browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        browser.evaluate("document.querySelector('button[data-glb]').click()")
        browser.wait_for("document.documentElement.dataset.viewer === 'ready'")
        assert browser.evaluate("window.hacked === undefined")
        assert browser.evaluate("document.querySelectorAll('script:not([type])').length") == 1
        assert browser.evaluate("document.querySelectorAll('[onerror], [onload], [onclick]').length") == 0
        assert browser.messages == []  # not even a violation of the page's policy
        assert {request.split(":")[0] for request in browser.requests} <= {"file", "data"}
    finally:
        browser.close()


def test_statistics_are_read_from_the_runs_own_folder_only(tmp_path):
    run = whole_run(tmp_path / "run").write()
    outside = tmp_path / "outside.npz"
    Statistics({"hyperdiffusion/cd/reference_count": np.array(1)}).save(outside)
    changed_names = {"../outside.npz": file_digest(outside)}
    document = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    for entry in document["rows"]:
        entry["statistics"] = changed_names
    (run.folder / "results.json").write_text(json.dumps(document), encoding="utf-8")
    page = write_report(run.folder, out=tmp_path / "elsewhere")[0].read_text(encoding="utf-8")
    assert '<h2 class="below">Distributions' not in page
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == [
        "leaderboard.csv", "leaderboard.tex", "report.html", "report.md", "results.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arrays",
    [
        {"reference_count": np.array(4), "sample_count": np.array(4)},
        {"sample_count": np.array(10**9)},
        {"reference_count": np.array(-1)},
        {"reference_distance": np.zeros((2, 2))},
        {"sample_distance": np.zeros(8)},
        {"reference_count": np.array(["<script>"])},
    ],
)
def test_statistics_that_do_not_fit_are_refused_in_one_line(tmp_path, arrays):
    run = whole_run(tmp_path / "run").write()
    path = run.folder / "alpha.statistics.npz"
    kept = dict(Statistics.load(path).arrays)
    if len(arrays) == 2:  # counts alone
        kept = {"hyperdiffusion/cd/reference_index": np.zeros((1, 1))}
    Statistics({**kept, **{f"hyperdiffusion/cd/{name}": array for name, array in arrays.items()}}).save(path)
    document = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    document["rows"][0]["statistics"] = {path.name: file_digest(path)}
    (run.folder / "results.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(HdbenchError) as error:
        run.report()
    assert "\n" not in str(error.value)


def test_distances_that_are_none_make_a_report_all_the_same(tmp_path):
    run = whole_run(tmp_path / "run").write()
    path = run.folder / "alpha.statistics.npz"
    kept = dict(Statistics.load(path).arrays)
    kept["hyperdiffusion/cd/reference_distance"] = np.full_like(kept["hyperdiffusion/cd/reference_distance"], np.nan)
    kept["hyperdiffusion/cd/sample_distance"] = -kept["hyperdiffusion/cd/sample_distance"]
    kept["hyperdiffusion/features/sample_features"] = np.full((4, 6), np.inf)
    Statistics(kept).save(path)
    document = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    document["rows"][0]["statistics"] = {path.name: file_digest(path)}
    (run.folder / "results.json").write_text(json.dumps(document), encoding="utf-8")
    assert "</html>" in run.report()[0].read_text(encoding="utf-8")


def test_statistics_of_another_run_are_refused(tmp_path):
    run = whole_run(tmp_path / "run").write()
    (run.folder / "alpha.statistics.npz").write_bytes((run.folder / "beta.statistics.npz").read_bytes())
    with pytest.raises(HdbenchError, match="sha256 differs"):
        run.report()


def test_a_line_break_in_a_name_ends_no_comment_of_the_latex(small_run):
    evil = row("alpha", [score("nna_cd", 0.5, 0.1)], title="a\n\\input{/etc/passwd}\r\\write18{x}")
    dataset = example_results().dataset.model_copy(update={"name": "b\n\\input{c}"})
    small_run.results = results([evil], dataset=dataset)
    text = (small_run.write().report()[0].parent / "leaderboard.tex").read_text(encoding="utf-8")
    for line in text.splitlines():
        assert "\\input" not in line.split("%")[0]
        assert "\\write" not in line.split("%")[0]
