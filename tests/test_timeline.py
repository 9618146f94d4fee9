"""When a run did what: told by its artefacts, the same each time it is asked."""

import json
import socket

import pytest

from hdbench.benchmark import Plan, Run
from hdbench.progress import Progress
from hdbench.results import Results, load_results
from hdbench.store import MANIFEST, Key, Made, Store, made_of
from hdbench.timeline import Step, timeline


@pytest.fixture
def step(tmp_path):
    """A step whose artefact was made at that time, on that machine."""

    def make(stage: str, start: float, seconds: float, host: str = "a", **whose) -> Step:
        folder = tmp_path / f"{stage}-{start}"
        folder.mkdir()
        (folder / MANIFEST).write_text(json.dumps({"made": {"start": start, "seconds": seconds, "host": host}}))
        return Step(stage, folder, **whose)

    return make


def test_an_artefact_says_when_it_was_made_and_how_long_that_took(tmp_path):
    before = Store(tmp_path).get_or_make(Key("stage", 1, {}), lambda folder: None)
    made = made_of(before.folder)
    assert made.host == socket.gethostname()
    assert made.start == pytest.approx((before.folder / MANIFEST).stat().st_mtime, abs=60)
    assert 0 <= made.seconds < 60
    assert made_of(Store(tmp_path).get_or_make(Key("stage", 1, {}), lambda folder: None).folder) == made


def test_of_an_older_artefact_nobody_knows(tmp_path):
    assert made_of(tmp_path) is None
    for text in ("{}", "[]", "{", '{"made": {"start": 1}}'):
        (tmp_path / MANIFEST).write_text(text)
        assert made_of(tmp_path) is None
    (tmp_path / MANIFEST).write_text('{"made": {"start": 1, "seconds": 2, "host": "a"}}')
    assert made_of(tmp_path) == Made(1, 2, "a")
    assert timeline([Step("model", tmp_path / "nowhere")], began=0) == []


def test_stages_stand_in_the_order_of_time_and_each_once(step):
    model = step("model", 20, 5, method="m")
    steps = [model, step("samples", 26, 1, method="m", seed=0), model, step("prepare", 10, 3)]
    found = timeline(steps, began=0)
    assert [(one.stage, one.method, one.seed, one.start, one.seconds) for one in found] == [
        ("prepare", None, None, 10, 3),
        ("model", "m", None, 20, 5),
        ("samples", "m", 0, 26, 1),
    ]
    assert not any(one.found for one in found)


def test_what_was_finished_before_the_run_began_was_found(step):
    steps = [step("prepare", 10, 3), step("model", 20, 5), step("samples", 26, 1)]
    assert [one.found for one in timeline(steps, began=25.5)] == [True, True, False]


def test_machines_are_counted_and_not_named(step):
    hosts = ("node-a.example", "node-b.example", "node-a.example")
    steps = [step("samples", start, 1, host) for start, host in enumerate(hosts)]
    found = timeline(steps, began=0)
    assert [one.node for one in found] == [1, 2, 1]
    assert "example" not in "".join(one.model_dump_json() for one in found)
    assert [one.node for one in timeline(steps[:1], began=0)] == [None]


def test_a_run_keeps_its_timeline_and_another_one_has_found_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "_report", lambda run: None)
    monkeypatch.setattr("hdbench.other_protocols.other_protocols", lambda *_: ())
    plan = Plan("chair", methods=("noise", "train-copy"), protocol="pvd", limit=4, count=3, seeds=2)

    def execute(name: str) -> Results:
        run = Run(plan, store=Store(tmp_path / "store"), folder=tmp_path / name, progress=Progress())
        return run.execute()

    first = execute("one").timeline
    whose = [(one.stage, one.method, one.seed) for one in first]
    assert whose[:2] == [("prepare", None, None)] * 2
    for method in plan.methods:
        assert whose.count(("model", method, None)) == 1
        for seed in (0, 1):
            assert {("samples", method, seed), ("scores", method, seed)} <= {*whose}
    assert len(whose) == 2 + 2 * 5
    assert not any(one.found for one in first)
    assert [one.start for one in first] == sorted(one.start for one in first)
    assert execute("one").timeline == first
    assert load_results(tmp_path / "one").timeline == first
    again = execute("another").timeline
    assert all(one.found for one in again)
    assert [one.model_copy(update={"found": False}) for one in again] == first


def test_results_without_a_timeline_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "_report", lambda run: None)
    plan = Plan("chair", methods=("noise",), protocol="pvd", limit=2, count=2)
    results = Run(plan, store=Store(tmp_path / "store"), folder=tmp_path / "run", progress=Progress()).execute()
    record = results.model_dump(mode="json", by_alias=True)
    del record["timeline"]
    read = Results.model_validate_json(json.dumps(record))
    assert (read.timeline, read.rows) == ([], results.rows)
