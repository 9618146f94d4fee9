import json
import time

import numpy as np
import pytest
from report_examples import example_results, example_run, results, row, score

from hdbench.errors import HdbenchError
from hdbench.metrics.nearest import lists_from_matrix
from hdbench.metrics.scoring import Statistics
from hdbench.progress import Progress
from hdbench.reporting import report
from hdbench.reporting.content import Content
from hdbench.reporting.merging import open_runs
from hdbench.reporting.report import write_report
from hdbench.results import Results, SetInfo, load_results, to_json
from hdbench.store import file_digest


def written(folder, document: Results):
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(to_json(document), encoding="utf-8")
    return folder


def one(method: str, value: float, **other) -> Results:
    return results([row(method, [score("nna_cd", value, 0.05)], **other)])


def titles(record) -> list[str]:
    return [line.title for line in Content(record).board.lines]


def test_methods_of_several_runs_share_columns_and_are_ranked_together(tmp_path):
    folders = [written(tmp_path / name, one(name, value)) for name, value in (("alpha", 0.9), ("beta", 0.6))]
    board = Content(open_runs(folders)).board
    assert len(board.columns) == 1
    assert [(line.title, line.cells[0].is_best) for line in board.models] == [("Alpha", False), ("Beta", True)]


def test_seeds_of_one_recipe_become_one_line(tmp_path):
    first = one("alpha", 0.9, seed=0, model="trained-0", recipe={"width": 64})
    second = one("alpha", 0.7, seed=1, model="trained-1", recipe={"width": 64})
    other = one("alpha", 0.5, seed=0, model="trained-2", recipe={"width": 32})
    folders = [written(tmp_path / str(k), document) for k, document in enumerate((first, second, other))]
    lines = Content(open_runs(folders)).board.models
    assert [(len(line.rows), line.cells[0].score.value) for line in lines] == [(2, 0.8), (1, 0.5)]


@pytest.mark.parametrize("source", ["zoo", "trained"])
def test_one_model_sampled_otherwise_is_another_line(tmp_path, source):
    runs = [
        one("alpha", value, seed=seed, model="the-model", source=source, recipe={"width": 64, "steps": steps})
        for seed, (value, steps) in enumerate([(0.9, 25), (0.5, 500)])
    ]
    lines = Content(open_runs([written(tmp_path / str(k), run) for k, run in enumerate(runs)])).board.models
    assert [line.cells[0].score.value for line in lines] == [0.9, 0.5]


def test_other_signatures_share_no_column_and_say_what_differs(tmp_path):
    scores = [
        score("nna_cd", value, 0.1, signature=f"nna_cd|points:{count}|samples:4")
        for value, count in ((0.6, 2048), (0.7, 512))
    ]
    folders = [written(tmp_path / str(k), results([row(f"m{k}", [one])])) for k, one in enumerate(scores)]
    board = Content(open_runs(folders)).board
    assert [column.label for column in board.columns] == ["1-NNA-CD (points 2048)", "1-NNA-CD (points 512)"]
    assert [[cell is not None for cell in line.cells] for line in board.models] == [[True, False], [False, True]]


def test_the_same_samples_are_there_once_with_the_scores_of_both_runs(tmp_path):
    jsd = score("jsd", 0.1, 0.01, protocol="dpc", signature="jsd|protocol:dpc", unit="bits")
    first = one("alpha", 0.9)
    second = results([first.rows[0].model_copy(update={"scores": [jsd], "other_scores": first.rows[0].scores})])
    record = open_runs([written(tmp_path / "a", first), written(tmp_path / "b", second)])
    (only,) = record.results.rows
    assert [(one.protocol, one.metric) for one in only.scores] == [("hyperdiffusion", "nna_cd"), ("dpc", "jsd")]
    assert only.other_scores == []


def test_models_of_other_code_are_told_apart(tmp_path):
    old = one("alpha", 0.9)
    new = old.model_copy(
        update={"provenance": old.provenance.model_copy(update={"git": {"commit": "beefbeefbeef", "dirty": False}})}
    )
    record = open_runs([written(tmp_path / "a", old), written(tmp_path / "b", new)])
    assert titles(record) == ["Alpha @c0ffee", "Alpha @beefbee"]
    beta = one("beta", 0.7).model_copy(update={"provenance": new.provenance})
    assert titles(open_runs([tmp_path / "a", written(tmp_path / "c", beta)])) == ["Alpha", "Beta"]
    assert record.results.provenance.git == {"commit": "c0ffee, beefbeefbeef", "dirty": True}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"category": "chair"}, "category"),
        ({"name": "shapenet"}, "dataset"),
        ({"fingerprint": "0" * 64}, "fingerprint"),
        ({"reference": SetInfo(path="reference", sha256="00" * 32, count=4)}, "reference"),
    ],
)
def test_runs_over_other_data_are_refused_in_one_line(tmp_path, change, word):
    document = one("alpha", 0.9)
    other = document.model_copy(update={"dataset": document.dataset.model_copy(update=change)})
    folders = [written(tmp_path / "a", document), written(tmp_path / "b", other)]
    with pytest.raises(HdbenchError, match=word) as error:
        open_runs(folders)
    assert "\n" not in str(error.value)
    assert str(folders[1]) in str(error.value)


def test_a_single_run_stays_as_it_is(tmp_path):
    assert open_runs([written(tmp_path / "a", example_results())]).results == example_results()


def test_the_report_of_two_runs_draws_the_shapes_of_both_and_stands_on_its_own(tmp_path, monkeypatch):
    first = example_run(tmp_path / "a").write()
    second = example_run(tmp_path / "b")
    second.results = second.results.model_copy(
        update={
            "rows": [
                entry.model_copy(update={"title": "Gamma", "model": "g", "recipe": {"width": 1}})
                for entry in second.results.rows[:1]
            ]
        }
    )
    second.write()
    files = write_report([first.folder, second.folder], out=tmp_path / "together", progress=Progress())
    page = files[0].read_text(encoding="utf-8")
    assert 'data-title="Alpha ·' in page
    assert 'data-title="Gamma ·' in page
    assert [line.name for line in files] == [
        "report.html", "report.md", "leaderboard.csv", "leaderboard.tex", "results.json",
    ]  # fmt: skip
    assert {entry.title for entry in load_results(tmp_path / "together").rows} >= {"Alpha", "Gamma"}
    monkeypatch.chdir(tmp_path)
    (again, *_) = write_report([first.folder, second.folder], progress=Progress())
    assert again.parent.name.startswith("report-")
    assert again.read_bytes() == files[0].read_bytes()


def test_a_folder_with_another_run_is_not_written_over(tmp_path):
    example_run(tmp_path / "a").write()
    other = written(tmp_path / "b", one("beta", 0.6))
    (other / "plan.json").write_text("{}")
    before = (other / "results.json").read_bytes()
    with pytest.raises(HdbenchError, match="another run"):
        write_report(tmp_path / "a", out=other, progress=Progress())
    assert (other / "results.json").read_bytes() == before


def test_a_place_that_cannot_be_written_is_said_before_anything_is_drawn(tmp_path, monkeypatch):
    example_run(tmp_path / "a").write()
    monkeypatch.setattr(report, "draw_pictures", lambda *_, **__: pytest.fail("it was drawn"))
    (tmp_path / "file").write_text("")
    with pytest.raises(HdbenchError, match="cannot be written"):
        write_report(tmp_path / "a", out=tmp_path / "file" / "x", progress=Progress())


@pytest.mark.parametrize("methods", [20, 200])
def test_two_hundred_runs_make_one_report_in_ten_seconds(tmp_path, methods):
    """Of one seed or ten per method, all with controls, statistics and scores under seven protocols."""
    lists = lists_from_matrix(np.random.default_rng(0).uniform(0.1, 1, (128, 128)), reference_count=64)
    arrays = {f"hyperdiffusion/cd/{name}": array for name, array in lists.arrays().items()}
    Statistics(arrays).save(tmp_path / "statistics.npz")
    statistics = {"alpha.statistics.npz": file_digest(tmp_path / "statistics.npz")}
    protocols = ("dpc", "pvd", "pointflow", "lion", "lion-box", "hdbench")
    folders = []
    for run in range(200):
        rng = np.random.default_rng(run)
        method = f"method-{run % methods}"
        own = [score(name, float(rng.uniform(0.2, 0.8)), 0.05) for name in ("mmd_cd", "cov_cd", "nna_cd", "fpd", "kpd")]
        others = [
            one.model_copy(update={"protocol": name, "signature": f"{one.metric}|protocol:{name}"})
            for name in protocols
            for one in own[:3]
        ]
        trained = row(
            method,
            own,
            seed=run // methods,
            model=f"model-{run}",
            other_scores=others,
            statistics=statistics,
            recipe={"width": 64},
            loss_curve=[(step, 1 / step) for step in range(1, 200)],
        )
        folder = written(tmp_path / f"run-{run}", results([trained, *example_results().rows[2:]]))
        (folder / "alpha.statistics.npz").write_bytes((tmp_path / "statistics.npz").read_bytes())
        folders.append(folder)
    start = time.process_time()  # whatever else the machine does
    files = write_report(folders, out=tmp_path / "together", progress=Progress())
    assert time.process_time() - start < 10
    assert files[0].stat().st_size < 10_000_000
    merged = json.loads(files[-1].read_text(encoding="utf-8"))
    assert len(merged["rows"]) == 203
    assert len(Content(open_runs(folders)).board.models) == methods
