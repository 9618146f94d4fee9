"""Two machines that share a store at a URL: each thing is made once, and nothing that is not whole is ever served."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from hdbench import remote_store, transfer
from hdbench.cli_runs import runs_app
from hdbench.doctor import diagnose
from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.remote_store import RemoteStore
from hdbench.store import MANIFEST, Artefact, Key, Store, default_root, digest

KEY = Key("stage", 1, {"count": 3, "name": "é"})


class Weather(MemoryFileSystem):
    """Keeps files in memory, and has bad days: `fails` operations do not get through, reads are cut or changed."""

    protocol = "weather"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False
    fails: dict = {}  # noqa: RUF012
    """By operation: errors to raise, one per call."""
    spoil = staticmethod(lambda content: content)
    """What reading a file gives of its content."""

    @classmethod
    def _strip_protocol(cls, path):
        return f"/{path.removeprefix('weather://').strip('/')}"

    def _stumble(self, operation):
        if self.fails.get(operation):
            raise self.fails[operation].pop(0)

    def info(self, path, **kwargs):
        self._stumble("info")
        return super().info(path, **kwargs)

    def open(self, path, mode="rb", **kwargs):
        self._stumble("open")
        stream = super().open(path, mode, **kwargs)
        if mode == "rb":
            stream.read = lambda size, read=stream.read: self.spoil(read(size))
        return stream

    def put_file(self, lpath, rpath, **kwargs):
        self._stumble("put")
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def pipe_file(self, path, value, **kwargs):
        self._stumble("pipe")
        super().pipe_file(path, value, mode="overwrite")


@pytest.fixture(autouse=True)
def weather(monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.001)
    for name in ("HDBENCH_STORE", "HDBENCH_LOCAL_STORE", "HDBENCH_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Weather, "store", {})
    monkeypatch.setattr(Weather, "fails", {})
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    fsspec.register_implementation("weather", Weather, clobber=True)
    remote_store._label.cache_clear()
    return Weather


@pytest.fixture(params=["memory://", "memory://deep/in/it/", "weather://bucket/prefix", "file://"])
def url(request, tmp_path):
    return f"file://{tmp_path}/not/yet there" if request.param == "file://" else request.param


def machine(folder: Path, url: str, progress: Progress | None = None) -> Store:
    return Store(folder, remote=RemoteStore(url), progress=progress)


def make(folder: Path) -> None:
    (folder / "a.txt").write_text("alpha")
    (folder / "empty").touch()
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "b.bin").write_bytes(bytes(range(256)) * 3000)


def never(folder: Path) -> None:
    raise AssertionError("it is made again")


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Heard(Progress):
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def stage_there(url: str):
    """The file system, and the folder of the stage's artefacts there."""
    system, root = fsspec.url_to_fs(url)
    return system, f"{root.rstrip('/')}/artefacts/{KEY.stage}"


def files_there(url: str) -> dict[str, str]:
    """Path of each file of the artefact by what it is: a name within the artefact, or the manifest."""
    system, root = stage_there(url)
    root = f"{root}/{KEY.digest}"
    manifest = json.loads(system.cat_file(f"{root}/{MANIFEST}"))
    return {MANIFEST: f"{root}/{MANIFEST}"} | {
        name: f"{root}/{entry['sha256']}" for name, entry in manifest["files"].items()
    }


class TestTwoMachines:
    def test_the_second_makes_nothing(self, tmp_path, url):
        first = machine(tmp_path / "a", url).get_or_make(KEY, make)
        second = machine(tmp_path / "b", url).get_or_make(KEY, never)
        assert (first.fresh, second.fresh) == (True, False)
        assert content(first.folder) == content(second.folder)
        assert second.folder.is_relative_to(tmp_path / "b")
        assert [path.name for path in (tmp_path / "b" / "workspaces" / "stage").iterdir()] == []

    def test_what_is_on_a_machine_is_not_fetched_again(self, tmp_path, weather):
        store = machine(tmp_path / "a", "weather://bucket")
        store.get_or_make(KEY, make)
        weather.fails["open"] = [AssertionError("it is fetched")]
        assert not store.get_or_make(KEY, never).fresh

    def test_holds_and_find_bring_it_here(self, tmp_path, url):
        other = machine(tmp_path / "b", url)
        assert not other.holds(KEY)
        assert other.find(KEY.stage, KEY.digest) is None
        machine(tmp_path / "a", url).get_or_make(KEY, make)
        assert other.holds(KEY)
        assert (other.find(KEY.stage, KEY.digest) / "a.txt").read_text() == "alpha"

    def test_what_lay_on_a_machine_before_is_put_there(self, tmp_path, url):
        Store(tmp_path / "a").get_or_make(KEY, make)
        machine(tmp_path / "a", url).get_or_make(KEY, never)
        machine(tmp_path / "b", url).get_or_make(KEY, never)

    def test_both_making_it_at_once_do_not_mix_theirs(self, tmp_path, url):
        def elsewhere(folder: Path) -> None:
            make(folder)
            (folder / "a.txt").write_text("ALPHA")  # such as a time

        a, b, c = (machine(tmp_path / name, url) for name in "abc")
        first = a.get_or_make(KEY, lambda folder: (b.get_or_make(KEY, elsewhere), make(folder)))
        assert content(c.get_or_make(KEY, never).folder) == content(first.folder)

    def test_an_unfinished_piece_of_work_gives_way_to_the_finished_one(self, tmp_path, url):
        def stops(folder: Path) -> None:
            (folder / "half").touch()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            machine(tmp_path / "b", url).get_or_make(KEY, stops)
        machine(tmp_path / "a", url).get_or_make(KEY, make)
        assert "half" not in content(machine(tmp_path / "b", url).get_or_make(KEY, never).folder)

    def test_artefacts_and_stores_arrive_where_they_are_unpickled(self, tmp_path, url, monkeypatch):
        made = machine(tmp_path / "a", url).get_or_make(KEY, make)
        sent = pickle.dumps((made, machine(tmp_path / "a", url)))
        monkeypatch.setenv("HDBENCH_LOCAL_STORE", str(tmp_path / "there"))
        monkeypatch.setenv("HDBENCH_STORE", url)
        artefact, store = pickle.loads(sent)
        assert artefact.folder.is_relative_to(tmp_path / "there")
        assert (content(artefact.folder), artefact.key.digest) == (content(made.folder), KEY.digest)
        assert (store.root, store.remote) == (tmp_path / "there", RemoteStore(url))

    def test_without_a_remote_store_they_stay_where_they_are(self, tmp_path):
        made = Store(tmp_path / "a").get_or_make(KEY, make)
        artefact, store = pickle.loads(pickle.dumps((made, Store(tmp_path / "a"))))
        assert artefact == made
        assert (store.root, store.remote) == (tmp_path / "a", None)

    def test_an_artefact_that_is_lost_there_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HDBENCH_LOCAL_STORE", str(tmp_path / "there"))
        artefact = Artefact(KEY, tmp_path, False, RemoteStore("weather://bucket"))
        with pytest.raises(HdbenchError, match=rf"{KEY.digest} is not whole in the store weather://bucket"):
            pickle.loads(pickle.dumps(artefact))


class TestDamage:
    @pytest.mark.parametrize("file", ["a.txt", "sub/b.bin", MANIFEST])
    @pytest.mark.parametrize("damage", ["changed", "cut", "gone", "odd"])
    def test_is_not_served_but_made_again_and_mended(self, tmp_path, url, file, damage):
        machine(tmp_path / "a", url).get_or_make(KEY, make)
        place = files_there(url)[file]
        system, _ = fsspec.url_to_fs(url)
        before = system.cat_file(place)
        after = {"changed": b"?" + before[1:], "cut": before[:-1], "odd": b"[]"}
        if damage == "gone":
            system.rm_file(place)
        else:
            system.pipe_file(place, after[damage])
        heard = Heard()
        again = machine(tmp_path / "b", url, heard).get_or_make(KEY, make)
        assert again.fresh
        assert content(again.folder).keys() == {"a.txt", "empty", "sub/b.bin", MANIFEST}
        lost_for_good = file == MANIFEST and damage == "gone"
        assert len([line for line in heard.said if "is damaged, and not used" in line]) == (not lost_for_good)
        machine(tmp_path / "c", url).get_or_make(KEY, never)

    def test_bytes_that_change_on_the_way_are_not_served(self, tmp_path, weather, monkeypatch):
        machine(tmp_path / "a", "weather://bucket").get_or_make(KEY, make)
        monkeypatch.setattr(weather, "spoil", staticmethod(lambda block: block.replace(b"alpha", b"alphA")))
        assert machine(tmp_path / "b", "weather://bucket").get_or_make(KEY, make).fresh

    @pytest.mark.parametrize(
        "name", ["../../outside", "/outside", "sub/../../outside", "C:\\outside", "..\\outside", ""]
    )
    def test_a_manifest_cannot_write_elsewhere(self, tmp_path, url, name):
        machine(tmp_path / "a", url).get_or_make(KEY, make)
        system, _ = fsspec.url_to_fs(url)
        place = files_there(url)[MANIFEST]
        manifest = json.loads(system.cat_file(place))
        manifest["files"][name] = manifest["files"]["a.txt"]
        system.pipe_file(place, json.dumps(manifest).encode())
        assert machine(tmp_path / "b", url).get_or_make(KEY, make).fresh
        assert not [path for path in tmp_path.rglob("*") if "outside" in path.name]

    def test_the_artefact_of_another_key_is_not_served(self, tmp_path, url):
        other = Key("stage", 1, {"count": 4})
        machine(tmp_path / "a", url).get_or_make(KEY, make)
        system, place = stage_there(url)
        for path in files_there(url).values():
            target = f"{place}/{other.digest}/{path.rpartition('/')[2]}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.pipe_file(target, system.cat_file(path))
        assert machine(tmp_path / "b", url).get_or_make(other, make).fresh

    @pytest.mark.parametrize("files", [0, 1, 2])
    def test_an_upload_that_ends_before_the_manifest_is_not_served_and_is_done_again(self, tmp_path, weather, files):
        def put_file(self, lpath, rpath, **kwargs):
            if len(arrived) == files:
                raise KeyboardInterrupt
            arrived.append(rpath)
            self.pipe_file(rpath, Path(lpath).read_bytes())

        arrived, whole = [], weather.put_file
        weather.put_file = put_file
        try:
            with pytest.raises(KeyboardInterrupt):
                machine(tmp_path / "a", "weather://bucket").get_or_make(KEY, make)
        finally:
            weather.put_file = whole
        assert machine(tmp_path / "b", "weather://bucket").find(KEY.stage, KEY.digest) is None
        assert not machine(tmp_path / "a", "weather://bucket").get_or_make(KEY, never).fresh
        machine(tmp_path / "b", "weather://bucket").get_or_make(KEY, never)


class TestTrouble:
    @pytest.mark.parametrize("operation", ["info", "open", "put", "pipe"])
    def test_that_passes_is_waited_for(self, tmp_path, weather, operation):
        error = OSError("reset by peer")
        weather.fails[operation] = [error] * (transfer.ATTEMPTS - 1)
        machine(tmp_path / "a", "weather://bucket").get_or_make(KEY, make)
        machine(tmp_path / "b", "weather://bucket").get_or_make(KEY, never)
        assert weather.fails[operation] == []

    def test_a_connection_that_breaks_is_gone_on_with(self, tmp_path, weather, monkeypatch):
        machine(tmp_path / "a", "weather://bucket").get_or_make(KEY, make)
        read = []

        def breaks(block):
            read.append(len(block))
            if len(read) in (2, 5):
                raise ConnectionResetError("reset by peer")
            return block

        monkeypatch.setattr(weather, "spoil", staticmethod(breaks))
        monkeypatch.setattr(remote_store, "THREADS", 1)
        machine(tmp_path / "b", "weather://bucket").get_or_make(KEY, never)
        assert len(read) > 5

    @pytest.mark.parametrize(
        ("operation", "error", "words"),
        [
            ("pipe", PermissionError("Access Denied"), "cannot be written (not allowed (Access Denied))"),
            ("pipe", FileNotFoundError("NoSuchBucket"), "cannot be written (no such bucket or folder)"),
            ("put", PermissionError("Access Denied"), "cannot be written (not allowed (Access Denied))"),
            ("info", PermissionError("Forbidden"), "cannot be read (not allowed (Forbidden))"),
            (
                "pipe",
                type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"),
                "cannot be written (NoCredentialsError: Unable to locate credentials)",
            ),
        ],
    )
    def test_that_stays_is_one_line(self, tmp_path, weather, operation, error, words):
        weather.fails[operation] = [error]
        with pytest.raises(HdbenchError) as told:
            machine(tmp_path / "a", "weather://bucket").get_or_make(KEY, make)
        assert f"The store weather://bucket {words}" in str(told.value)
        assert len(str(told.value).splitlines()) == 1

    @pytest.mark.parametrize(
        "error", [OSError("no route"), type("EndpointConnectionError", (Exception,), {})("no route")]
    )
    def test_a_place_that_cannot_be_reached_is_told_before_any_work(self, tmp_path, weather, error):
        weather.fails["pipe"] = [error] * transfer.ATTEMPTS
        with pytest.raises(HdbenchError, match=r"cannot be written \(no connection \(no route\), 5 times\)"):
            machine(tmp_path / "a", "weather://bucket")

    def test_what_was_made_is_kept_when_it_cannot_be_put_there(self, tmp_path, weather):
        store = machine(tmp_path / "a", "weather://bucket")
        weather.fails["put"] = [OSError("no route")] * 100
        with pytest.raises(HdbenchError, match=r"the same command goes on from there"):
            store.get_or_make(KEY, make)
        weather.fails.clear()
        assert not store.get_or_make(KEY, never).fresh
        machine(tmp_path / "b", "weather://bucket").get_or_make(KEY, never)

    def test_secrets_are_not_shown(self, tmp_path, weather):
        weather.fails["pipe"] = [PermissionError("weather://me:hunter2hunter2@bucket/x")]
        remote = RemoteStore("weather://me:hunter2hunter2@bucket/x?token=abcdefghijk")
        assert str(remote) == "weather://***@bucket/x?token=***"
        with pytest.raises(HdbenchError) as told:
            Store(tmp_path, remote=remote)
        assert "hunter2" not in str(told.value) + repr(remote)
        assert "abcdefghijk" not in str(told.value) + repr(remote)

    def test_a_package_that_is_missing_is_named(self, tmp_path, monkeypatch):
        def absent(url):
            raise ImportError("Install s3fs to access S3")

        monkeypatch.setattr(fsspec, "url_to_fs", absent)
        with pytest.raises(
            HdbenchError, match=r"s3://bucket cannot be written \(.*Install s3fs to access S3, with pip"
        ):
            machine(tmp_path, "s3://bucket")

    def test_an_unknown_protocol(self, tmp_path):
        with pytest.raises(HdbenchError, match=r"The store nonsense://bucket cannot be written \(ValueError: Protocol"):
            machine(tmp_path, "nonsense://bucket")

    def test_offline(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HDBENCH_OFFLINE", "1")
        with pytest.raises(HdbenchError, match=r"offline \(HDBENCH_OFFLINE"):
            machine(tmp_path / "a", "weather://bucket")
        machine(tmp_path / "b", f"file://{tmp_path}/shared").get_or_make(KEY, make)


class TestEnvironment:
    @pytest.fixture
    def shared(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HDBENCH_STORE", f"file://{tmp_path}/shared")
        monkeypatch.setenv("HDBENCH_LOCAL_STORE", str(tmp_path / "mine"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path / "shared"

    def test_a_url_stands_behind_a_folder(self, shared, tmp_path, monkeypatch):
        store = Store()
        assert (store.root, str(store.remote)) == (tmp_path / "mine", f"file://{shared}")
        monkeypatch.delenv("HDBENCH_LOCAL_STORE")
        assert default_root() == tmp_path / "cache" / "hdbench"
        monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "folder"))
        monkeypatch.setenv("HDBENCH_LOCAL_STORE", str(tmp_path / "mine"))
        assert (Store().root, Store().remote) == (tmp_path / "folder", None)

    def test_a_store_in_a_given_folder_is_alone(self, shared, tmp_path):
        assert Store(tmp_path / "own").remote is None

    def test_a_folder_that_cannot_be_written_is_called_by_its_variable(self, shared, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("HDBENCH_LOCAL_STORE", str(tmp_path / "file"))
        with pytest.raises(HdbenchError, match="set HDBENCH_LOCAL_STORE"):
            Store()

    def test_runs_lists_and_cleans_what_is_here_and_names_the_rest(self, shared):
        folder = Store().get_or_make(KEY, make).folder
        before = content(shared)
        os.utime(folder / MANIFEST, (0, 0))
        listed = CliRunner().invoke(runs_app, ["list"]).output
        assert "1 in " in listed
        assert f"The store file://{shared} stands behind it" in " ".join(listed.split())
        assert KEY.digest in CliRunner().invoke(runs_app, ["show", KEY.digest[:8]]).output
        assert [row["key"] for row in json.loads(CliRunner().invoke(runs_app, ["list", "--json"]).output)] == [
            KEY.digest
        ]
        cleaned = CliRunner().invoke(runs_app, ["clean", "--unused", "1"]).output
        assert "1 removed" in cleaned
        assert f"In the store file://{shared} all stays" in " ".join(cleaned.split())
        assert content(shared) == before
        assert Store().get_or_make(KEY, never).folder == folder

    def test_the_doctor_tries_both(self, shared, monkeypatch):
        monkeypatch.setattr("hdbench.doctor._run", lambda name, check: check() if name == "store" else name)
        assert any(str(finding).endswith(f"can be written, and file://{shared} behind it") for finding in diagnose())

    def test_nothing_of_the_network_is_imported_for_a_folder(self):
        code = "import sys, hdbench.store; print('fsspec' in sys.modules)"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "False"


def test_the_manifest_says_which_key_it_is_of(tmp_path):
    folder = Store(tmp_path).get_or_make(KEY, make).folder
    record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert digest({part: record[part] for part in ("stage", "version", "inputs")}) == KEY.digest
