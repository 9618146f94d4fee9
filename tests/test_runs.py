import ast
import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hdbench import runs
from hdbench.cli_runs import runs_app
from hdbench.errors import HdbenchError
from hdbench.runs import (
    DAY,
    HOUR,
    age_in_words,
    find,
    kept_in,
    of_stage,
    parse_size,
    removable,
    remove,
    size_in_words,
)
from hdbench.store import MANIFEST, Key, Store, lock

NOW = 1_700_000_000.0


def put(store: Store, stage: str, name: str, *, size: int, made: float, used: float) -> str:
    """An artefact of one file, made and used so many days ago; its key."""
    inputs = {"method": name, "recipe": "0" * 64, "dataset": {"name": "procedural", "category": "chair"}}
    key = Key(stage, 1, inputs)
    folder = store.get_or_make(key, lambda folder: (folder / "data").write_bytes(bytes(size))).folder
    os.utime(folder, (0, NOW - made * DAY))
    os.utime(folder / MANIFEST, (0, NOW - used * DAY))
    return key.digest


def test_the_stages_are_those_of_the_source():
    named = [
        ast.literal_eval(node.args[0])
        for path in Path(runs.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Key"
    ]
    assert sorted({*named}) == [*runs.STAGES]


def test_stages_of_methods_are_known_by_what_they_left(store):
    put(store, "fields", "own", size=1, made=1, used=1)
    assert [item.stage for item in of_stage(kept_in(store.root), "fields")] == ["fields"]
    with pytest.raises(HdbenchError, match=r"Available: .*fields, .*"):
        of_stage(kept_in(store.root), "nothing")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def keys(store) -> dict[str, str]:
    return {
        "old": put(store, "model", "old", size=50_000, made=40, used=1),
        "idle": put(store, "samples", "idle", size=20_000, made=20, used=20),
        "new": put(store, "model", "new", size=10_000, made=2, used=2),
        "busy": put(store, "scores", "busy", size=5_000, made=90, used=0.5 * HOUR / DAY),
    }


def going(store: Store, keys: dict[str, str], **rules: object) -> set[str]:
    found = {item.key for item in removable(kept_in(store.root), now=NOW, **rules)}
    return {name for name, key in keys.items() if key in found}


class TestWhatIsThere:
    def test_the_largest_stands_first(self, store, keys):
        found = kept_in(store.root)
        assert [item.key for item in found] == [keys[name] for name in ("old", "idle", "new", "busy")]
        assert 50_000 < found[0].size < 51_000
        assert (found[0].stage, found[0].state) == ("model", "finished")
        assert found[0].what == "method old, procedural chair"
        assert found[0].used == NOW - DAY

    def test_finding_is_using(self, store):
        put(store, "model", "old", size=10, made=40, used=40)
        before = kept_in(store.root)[0]
        put_again = Key("model", 1, dict(before.inputs))
        assert not store.get_or_make(put_again, pytest.fail).fresh
        after = kept_in(store.root)[0]
        assert after.used > before.used
        assert after.made == before.made

    def test_unfinished_and_damaged(self, store, keys):
        (store.root / "workspaces" / "model" / "ab").mkdir(parents=True)
        (store.root / "workspaces" / "model" / "ab" / "part").write_bytes(bytes(99))
        old = store.root / "artefacts" / "model" / keys["old"]
        (old / "data").write_bytes(b"cut")
        (store.root / "artefacts" / "model" / keys["new"] / MANIFEST).write_text("{")
        states = {item.key: item.state for item in kept_in(store.root)}
        assert states["ab"] == "unfinished"
        assert states[keys["old"]] == states[keys["new"]] == "damaged"
        assert states[keys["idle"]] == "finished"

    def test_by_the_beginning_of_its_key(self, store, keys):
        found = kept_in(store.root)
        assert find(found, keys["old"][:10]).key == keys["old"]
        with pytest.raises(HdbenchError, match="Nothing in the store"):
            find(found, "xyz")
        with pytest.raises(HdbenchError, match="4 keys begin with"):
            find(found, "")

    def test_an_empty_store(self, tmp_path):
        assert kept_in(tmp_path / "missing") == []


class TestWhatMayGo:
    @pytest.mark.parametrize(
        ("rules", "expected"),
        [
            ({}, set()),
            ({"older": 30}, {"old"}),
            ({"older": 1}, {"old", "idle", "new"}),  # busy was used within the hour
            ({"unused": 10}, {"idle"}),
            ({"unused": 1.5}, {"idle", "new"}),
            ({"unused": 0, "stage": "model"}, {"old", "new"}),
            ({"keep": 70_000}, {"idle"}),
            ({"keep": 60_000}, {"idle", "new"}),
            ({"keep": 0}, {"old", "idle", "new"}),
            ({"keep": 10**9}, set()),
            ({"keep": 70_000, "older": 30}, {"old"}),
            ({"keep": 30_000, "older": 30}, {"old", "idle"}),
        ],
    )
    def test_rules(self, store, keys, rules, expected):
        assert going(store, keys, **rules) == expected

    def test_what_was_left_and_what_is_damaged(self, store, keys):
        (store.root / "artefacts" / "model" / keys["old"] / "data").write_bytes(b"")
        workspace = store.root / "workspaces" / "model" / "ab"
        workspace.mkdir(parents=True)
        for path in (workspace, store.root / "artefacts" / "model" / keys["old"]):
            for inner in (*path.iterdir(), path):
                os.utime(inner, (0, NOW - DAY))
        found = {item.key for item in removable(kept_in(store.root), now=NOW, unfinished=True)}
        assert found == {"ab", keys["old"]}

    def test_goes(self, store, keys):
        item = find(kept_in(store.root), keys["old"])
        assert remove(store.root, item)
        assert {kept.key for kept in kept_in(store.root)} == set(keys.values()) - {keys["old"]}
        assert remove(store.root, item)  # gone already: nothing to do
        assert put(store, "model", "old", size=50_000, made=0, used=0) == keys["old"]

    def test_stays_while_another_works_on_it(self, store, keys):
        item = find(kept_in(store.root), keys["old"])
        with lock(store.root / "locks" / f"model-{item.key}"):
            assert not remove(store.root, item)
        assert item.folder.exists()

    def test_what_a_killed_cleaning_left_goes_the_next_time(self, store, keys):
        folder = store.root / "artefacts" / "model" / keys["old"]
        folder.rename(folder.with_name(f".{folder.name}.tmp"))
        (item,) = (kept for kept in kept_in(store.root) if kept.state != "finished")
        assert remove(store.root, item)
        assert len(kept_in(store.root)) == 3


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 20 * 10**9), ("1.5 MiB", 3 * 2**19), ("1000", 1000), ("0", 0), ("3kb", 3000)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 XB", "1e3"])
def test_no_sizes(text):
    with pytest.raises(HdbenchError, match="write it like 20GB"):
        parse_size(text)


def test_words():
    assert [size_in_words(size) for size in (0, 999, 1000, 1_234_567, 999_600, 5 * 10**13)] == [
        "0 B", "999 B", "1 KB", "1.23 MB", "1 MB", "50 TB",
    ]  # fmt: skip
    assert [age_in_words(age) for age in (-1, 59, 61, 2 * HOUR, 3 * DAY)] == ["0 s", "59 s", "1 min", "2 h", "3 d"]


class TestCommands:
    @pytest.fixture
    def command(self, store, keys, monkeypatch):
        monkeypatch.setenv("HDBENCH_STORE", str(store.root))
        monkeypatch.setattr("hdbench.runs.now", lambda: NOW)

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(runs_app, arguments, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            return result.output

        return run

    def test_list(self, command, keys):
        rows = json.loads(command("list", "--json"))
        assert [row["key"] for row in rows] == [keys[name] for name in ("old", "idle", "new", "busy")]
        text = command("list", "--stage", "model")
        assert "2 in " in text
        assert "method old" in text
        assert "idle" not in text

    def test_a_stage_that_is_none_is_refused(self, command, keys):
        for arguments in (["list", "--stage", "modle"], ["clean", "--unfinished", "--stage", "modle"]):
            with pytest.raises(HdbenchError, match=r"Unknown stage 'modle'\. Did you mean 'model'\? Available: a"):
                command(*arguments)
        assert "0 in " in command("list", "--stage", "report")  # a stage that has left nothing yet

    def test_show(self, command, keys):
        text = command("show", keys["idle"][:8])
        assert "used 20 d ago" in text
        assert "data  20 KB" in text
        assert '"method": "idle"' in text

    def test_clean(self, command, store, keys):
        assert "1 would go: 20" in command("clean", "--unused", "10", "--dry-run")
        assert len(kept_in(store.root)) == 4
        assert "1 removed: 20" in command("clean", "--unused", "10")
        assert "2 removed" in command("clean", "--keep", "1KB")
        assert {item.key for item in kept_in(store.root)} == {keys["busy"]}

    def test_clean_asks_what(self, command):
        with pytest.raises(HdbenchError, match="What shall go"):
            command("clean")

    def test_each_has_an_example(self, command):
        for name in ("list", "show", "clean"):
            assert f"hdbench runs {name}" in command(name, "--help")

    def test_an_empty_store(self, command, store):
        shutil.rmtree(store.root)
        assert "0 in " in command("list")
