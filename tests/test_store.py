import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hdbench import store as store_module
from hdbench.errors import HdbenchError
from hdbench.store import (
    MANIFEST,
    Key,
    Store,
    atomic_path,
    canonical,
    copy_tree,
    default_root,
    digest,
    file_digest,
    is_sound,
    lock,
    remove_leftovers,
    sealed_path,
    write_atomic,
)

KEY = Key("stage", 1, {"count": 3, "name": "é"})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def make(folder: Path) -> None:
    (folder / "a.txt").write_text("alpha")
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "b.bin").write_bytes(bytes(range(256)))


class TestKeys:
    def test_do_not_change_with_versions(self):
        assert canonical({"b": [1, 2.5, None], "a": "é"}) == '{"a":"\\u00e9","b":[1,2.5,null]}'
        assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        assert KEY.digest == "284c25feb8b6f7d5826e433e42d2210dfb34dad2f470dc3f66708ec1767c17e2"

    def test_do_not_depend_on_the_order_of_inputs(self):
        assert Key("stage", 1, {"name": "é", "count": 3}).digest == KEY.digest

    @pytest.mark.parametrize(
        "other",
        [
            Key("stages", 1, {"count": 3, "name": "é"}),
            Key("stage", 2, {"count": 3, "name": "é"}),
            Key("stage", 1, {"count": "3", "name": "é"}),
            Key("stage", 1, {"count": 3}),
        ],
    )
    def test_change_with_everything_else(self, other):
        assert other.digest != KEY.digest

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("a"), {1, 2}])
    def test_refuse_what_has_no_spelling(self, value):
        with pytest.raises((TypeError, ValueError)):
            digest({"x": value})


class TestStore:
    def test_makes_once(self, store):
        calls = []
        first = store.get_or_make(KEY, lambda folder: (calls.append(folder), make(folder)))
        second = store.get_or_make(KEY, lambda folder: calls.append(folder))
        assert len(calls) == 1
        assert (first.fresh, second.fresh) == (True, False)
        assert first.folder == second.folder
        assert (second.folder / "a.txt").read_text() == "alpha"

    def test_writes_down_what_an_artefact_is_made_from(self, store):
        folder = store.get_or_make(KEY, make).folder
        manifest = json.loads((folder / MANIFEST).read_text())
        assert manifest["inputs"] == {"count": 3, "name": "é"}
        assert manifest["files"]["sub/b.bin"] == {"sha256": file_digest(folder / "sub" / "b.bin"), "size": 256}
        assert set(manifest["files"]) == {"a.txt", "sub/b.bin"}

    def test_keeps_keys_apart(self, store):
        folders = {store.get_or_make(Key("stage", version, {}), make).folder for version in range(3)}
        assert len(folders) == 3

    @pytest.mark.parametrize("damage", ["changed", "cut", "missing", "manifest cut", "manifest gone", "manifest odd"])
    def test_makes_again_what_was_damaged(self, store, damage):
        folder = store.get_or_make(KEY, make).folder
        if damage == "changed":
            (folder / "a.txt").write_text("alphA")
        if damage == "cut":
            (folder / "sub" / "b.bin").write_bytes(b"")
        if damage == "missing":
            (folder / "a.txt").unlink()
        if damage == "manifest cut":
            (folder / MANIFEST).write_text('{"files"')
        if damage == "manifest gone":
            (folder / MANIFEST).unlink()
        if damage == "manifest odd":
            (folder / MANIFEST).write_text("[]")
        again = store.get_or_make(KEY, make)
        assert again.fresh
        assert (again.folder / "a.txt").read_text() == "alpha"
        assert not store.get_or_make(KEY, make).fresh

    def test_goes_on_where_it_stopped(self, store):
        def stops(folder: Path) -> None:
            write_atomic(folder / "half.txt", "half")
            (folder / ".other.x.tmp").write_text("a part")
            raise KeyboardInterrupt

        def goes_on(folder: Path) -> None:
            assert (folder / "half.txt").read_text() == "half"
            assert not (folder / ".other.x.tmp").exists()
            make(folder)

        with pytest.raises(KeyboardInterrupt):
            store.get_or_make(KEY, stops)
        artefact = store.get_or_make(KEY, goes_on)
        assert sorted(path.name for path in artefact.folder.iterdir()) == ["a.txt", MANIFEST, "half.txt", "sub"]
        assert not any((store.root / "workspaces" / "stage").iterdir())

    def test_seals_do_not_become_part_of_an_artefact(self, store):
        def sealed(folder: Path) -> None:
            with sealed_path(folder / "sub" / "a.txt") as temporary:
                temporary.write_text("alpha")

        folder = store.get_or_make(KEY, sealed).folder
        assert sorted(path.name for path in folder.rglob("*")) == ["a.txt", MANIFEST, "sub"]
        assert is_sound(folder / "sub" / "a.txt")

    def test_two_processes_make_one_artefact(self, store):
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(2) as pool:
            made = pool.map(_make_slowly, [store.root] * 4)
        assert sum(made) == 1

    def test_a_killed_process_leaves_nothing_half_done(self, store):
        for delay in (0.0, 0.05, 0.1):
            process = subprocess.Popen([sys.executable, "-c", KILLED, str(store.root)], stdout=subprocess.PIPE)
            assert process.stdout.readline() == b"working\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        artefact = store.get_or_make(KEY, _write_numbers)
        assert artefact.fresh
        assert [(artefact.folder / f"{n}.txt").read_text() for n in range(100)] == [str(n) for n in range(100)]
        assert len(list(artefact.folder.iterdir())) == 101

    def test_root_from_the_environment(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "mine"))
        assert Store().root == tmp_path / "mine"
        monkeypatch.delenv("HDBENCH_STORE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert default_root() == tmp_path / "cache" / "hdbench"

    def test_a_root_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(HdbenchError, match="HDBENCH_STORE"):
            Store(tmp_path / "file" / "store")


def seal(path: Path, text: str) -> None:
    with sealed_path(path) as temporary:
        temporary.write_text(text)


class TestSeals:
    def test_vouch_for_what_was_written(self, tmp_path):
        path = tmp_path / "a.txt"
        assert not is_sound(path)
        for text in ("old", "new", "new"):
            seal(path, text)
            assert path.read_text() == text
            assert is_sound(path)

    @pytest.mark.parametrize("damage", ["changed", "cut", "gone", "seal changed", "seal cut"])
    def test_find_damage(self, damage, tmp_path):
        path, beside = tmp_path / "a.txt", tmp_path / ".a.txt.seal"
        seal(path, "content")
        if damage == "changed":
            path.write_text("c0ntent")
        if damage == "cut":
            path.write_text("")
        if damage == "gone":
            path.unlink()
        if damage == "seal changed":
            beside.write_bytes(b"\xff" + beside.read_bytes()[1:])
        if damage == "seal cut":
            beside.write_bytes(b"")
        assert not is_sound(path)
        seal(path, "again")
        assert is_sound(path)

    def test_a_kill_between_a_seal_and_its_file_loses_nothing(self, tmp_path, monkeypatch):
        path, replace = tmp_path / "a.txt", Path.replace
        seal(path, "old")

        def killed(temporary, target):
            if target == path:
                raise KeyboardInterrupt
            return replace(temporary, target)

        for _ in range(3):
            with monkeypatch.context() as patch:
                patch.setattr(Path, "replace", killed)
                with pytest.raises(KeyboardInterrupt):
                    seal(path, "new")
            assert path.read_text() == "old"
            assert is_sound(path)
        seal(path, "new")
        assert is_sound(path)

    def test_a_file_without_one_is_believed(self, tmp_path):
        (tmp_path / "a.txt").touch()
        assert is_sound(tmp_path / "a.txt")


class TestFiles:
    def test_are_replaced_whole(self, tmp_path):
        write_atomic(tmp_path / "new" / "a.txt", "old")
        write_atomic(tmp_path / "new" / "a.txt", "é")
        assert (tmp_path / "new" / "a.txt").read_bytes() == "é".encode()
        assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
        assert stat.S_IMODE((tmp_path / "new" / "a.txt").stat().st_mode) == 0o644

    def test_stay_as_they_were_when_writing_fails(self, tmp_path):
        write_atomic(tmp_path / "a.txt", "old")

        def fails():
            with atomic_path(tmp_path / "a.txt") as temporary:
                temporary.write_text("half")
                raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            fails()
        assert (tmp_path / "a.txt").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]

    def test_leftovers_are_removed(self, tmp_path):
        (tmp_path / "sub" / ".folder.x.tmp" / "deep").mkdir(parents=True)
        (tmp_path / "sub" / ".folder.x.tmp" / "deep" / ".inner.y.tmp").touch()
        (tmp_path / ".a.txt.z.tmp").touch()
        for kept in ("a.txt", ".hidden", "b.tmp"):
            (tmp_path / kept).touch()
        remove_leftovers(tmp_path)
        assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "a.txt", "b.tmp", "sub"]

    def test_a_tree_is_copied_exactly(self, tmp_path):
        make_folder, target = tmp_path / "from", tmp_path / "deep" / "to"
        make_folder.mkdir()
        make(make_folder)
        (make_folder / MANIFEST).touch()
        target.mkdir(parents=True)
        (target / "old.txt").touch()
        copy_tree(make_folder, target)
        found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*"))
        assert found == ["a.txt", "sub", "sub/b.bin"]
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["to"]
        assert stat.S_IMODE(target.stat().st_mode) == 0o755

    def test_a_copy_that_fails_leaves_the_old_one(self, tmp_path, monkeypatch):
        (tmp_path / "from").mkdir()
        (tmp_path / "to").mkdir()
        (tmp_path / "to" / "old.txt").touch()

        def fails(*_, **__):
            raise OSError("disk full")

        monkeypatch.setattr(store_module.shutil, "copytree", fails)
        with pytest.raises(OSError, match="disk full"):
            copy_tree(tmp_path / "from", tmp_path / "to")
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["from", "old.txt", "to"]

    @pytest.mark.parametrize("kills", range(4))
    def test_a_copy_that_is_killed_leaves_no_half(self, tmp_path, monkeypatch, kills):
        """Before each of the steps that delete, rename or copy."""
        for name, text in (("from", "new"), ("to", "old")):
            (tmp_path / name).mkdir()
            for number in range(3):
                (tmp_path / name / f"{number}.txt").write_text(text)
        steps = []

        def counted(step):
            def taken(*arguments, **options):
                if len(steps) == kills:
                    raise KeyboardInterrupt
                steps.append(step)
                return step(*arguments, **options)

            return taken

        with monkeypatch.context() as patch:
            patch.setattr(store_module.shutil, "copytree", counted(shutil.copytree))
            patch.setattr(store_module.shutil, "rmtree", counted(shutil.rmtree))
            patch.setattr(Path, "rename", counted(Path.rename))
            with pytest.raises(KeyboardInterrupt):
                copy_tree(tmp_path / "from", tmp_path / "to")
        held = [path.read_text() for path in (tmp_path / "to").glob("*.txt")]
        assert held in ([], ["old"] * 3, ["new"] * 3)
        remove_leftovers(tmp_path)
        copy_tree(tmp_path / "from", tmp_path / "to")
        assert [path.read_text() for path in (tmp_path / "to").iterdir()] == ["new"] * 3
        assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]

    def test_a_lock_is_waited_for(self, tmp_path):
        spawn = multiprocessing.get_context("spawn")
        with lock(tmp_path / "lock"):
            process = spawn.Process(target=_take_lock, args=(tmp_path,))
            process.start()
            time.sleep(1.0)
            assert not (tmp_path / "taken").exists()
        process.join(20)
        assert (tmp_path / "taken").exists()


KILLED = f"""
import sys
from pathlib import Path
sys.path.insert(0, {os.fspath(Path(__file__).parent)!r})
from test_store import KEY, Store, _write_numbers

print("working", flush=True)
Store(Path(sys.argv[1])).get_or_make(KEY, lambda folder: _write_numbers(folder, pause=0.02))
"""


def _write_numbers(folder: Path, *, pause: float = 0.0) -> None:
    for number in range(100):
        if not (folder / f"{number}.txt").exists():
            write_atomic(folder / f"{number}.txt", str(number))
            time.sleep(pause)


def _make_slowly(root: Path) -> bool:
    def slowly(folder: Path) -> None:
        time.sleep(0.3)
        make(folder)

    return Store(root).get_or_make(KEY, slowly).fresh


def _take_lock(folder: Path) -> None:
    with lock(folder / "lock"):
        (folder / "taken").touch()
