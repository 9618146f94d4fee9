import json
import sys

import pytest

from hdbench.cli_options import choose_progress
from hdbench.errors import HdbenchError
from hdbench.journal import Journal
from hdbench.progress import Progress
from hdbench.store import Key, Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "run.jsonl"


def lines(path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_stages_units_and_tasks(path, tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 3))
    monkeypatch.setattr("hdbench.journal.time.monotonic", lambda: float(next(clock)))
    journal = Journal(Progress(), path, device="cpu")
    store = Store(tmp_path / "store", progress=journal)

    def make(folder):
        (folder / "a").write_text("a")
        with journal.task("Fitting", 4, done=1) as task:
            task.advance(2, "loss 0.5")
            task.advance()

    key = Key("model", 1, {"seed": 0})
    store.get_or_make(key, make)
    store.get_or_make(key, make)
    found = lines(path)
    assert [line["event"] for line in found] == ["unit", "unit", "task", "stage", "stage"]
    assert [line["stage"] for line in found] == ["model"] * 5
    assert (found[0]["task"], found[0]["units"], found[0]["done"], found[0]["total"]) == ("Fitting", 2, 3, 4)
    assert found[0]["note"] == "loss 0.5"
    assert found[1]["units"] == 1
    assert (found[2]["outcome"], found[2]["done"]) == ("done", 4)
    assert [(line["fresh"], line["outcome"], line["key"]) for line in found[3:]] == [
        (True, "done", key.digest),
        (False, "done", key.digest),
    ]
    assert all(line["seconds"] > 0 and line["device"] == "cpu" for line in found)
    assert all(line["time"].endswith("Z") for line in found)
    if sys.platform == "linux":
        assert all(line["memory_bytes"] > 2**20 for line in found)


def test_many_units_are_few_lines(path):
    journal = Journal(Progress(), path, device="cpu")
    with journal.task("Training", 5000) as task:
        for _ in range(5000):
            task.advance()
    units = [line for line in lines(path) if line["event"] == "unit"]
    assert sum(line["units"] for line in units) == 5000
    assert len(units) < 100


@pytest.mark.parametrize(("error", "outcome"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_what_ends_badly_is_said(path, tmp_path, error, outcome):
    journal = Journal(Progress(), path, device="cpu")

    def make(folder):
        with journal.task("Fitting", 4) as task:
            task.advance()
            raise error

    with pytest.raises(error):
        Store(tmp_path / "store", progress=journal).get_or_make(Key("model", 1, {}), make)
    found = lines(path)
    assert [(line["event"], line["outcome"]) for line in found] == [("task", outcome), ("stage", outcome)]
    assert found[0]["done"] == 1


def test_shows_what_the_other_shows(path):
    seen = []

    class Shown(Progress):
        def say(self, message):
            seen.append(message)

    Journal(Shown(), path, device="cpu").say("two\nlines")
    assert seen == ["two\nlines"]
    assert lines(path)[0]["text"] == "two\nlines"


def test_secrets_are_taken_out(path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", 'canary-"3f6c1d"')
    journal = Journal(Progress(), path, device="cpu")
    journal.say('from https://jo:canary@host/a with canary-"3f6c1d"')
    assert "canary" not in path.read_text()
    assert lines(path)[0]["text"] == "from https://***@host/a with ***"


def test_lines_are_appended(path):
    for message in ("one", "two"):
        Journal(Progress(), path, device="cpu").say(message)
    assert [line["text"] for line in lines(path)] == ["one", "two"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "log"):
        with pytest.raises(HdbenchError, match="choose another --log-file"):
            Journal(Progress(), path, device="cpu")


def test_is_chosen_by_its_option(path):
    assert isinstance(choose_progress(quiet=True, log_file=path, device="cpu"), Journal)
    assert not isinstance(choose_progress(quiet=True), Journal)
