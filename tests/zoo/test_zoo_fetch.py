"""Files from anywhere: resumed, tried again, verified; every failure one line, and no bad file left."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from hub_server import OTHER_TOKEN, TOKEN, HubServer
from safetensors.numpy import save
from test_zoo_manifest import VALID

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.store import Store
from hdbench.zoo.catalogue import Entry, open_entry
from hdbench.zoo.fetch import check_links, fetch
from hdbench.zoo.manifest import Manifest, to_toml

FILES = {"model.json": b'{"method": "pvd"}\n', "model.safetensors": save({}) + bytes(300_000)}


def manifest(*sources, files=FILES):
    listed = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()
    ]
    return Manifest.model_validate({**VALID, "files": listed, "sources": list(sources)})


@pytest.fixture
def entry(tmp_path):
    """An entry whose files lie elsewhere, by its sources."""

    def make(*sources, files=FILES):
        folder = tmp_path / "zoo" / "pvd-chair"
        folder.mkdir(parents=True, exist_ok=True)
        return Entry(folder, manifest(*sources, files=files))

    return make


@pytest.fixture
def get(tmp_path):
    """Fetch an entry into the store; returns its files by name."""

    def call(entry):
        folder = fetch(entry, store=Store(tmp_path / "store"), progress=Progress())
        return {name: (folder / name).read_bytes() for name in FILES}

    return call


@pytest.fixture
def left(tmp_path):
    """What an unfinished fetch left in the store, by name."""

    def call():
        assert not list((tmp_path / "store" / "artefacts").glob("zoo/*"))
        return {
            path.name: path.read_bytes() for path in (tmp_path / "store" / "workspaces").rglob("*") if path.is_file()
        }

    return call


def refused(get, entry, *words):
    """That fetching `entry` ends with one line that says all `words`."""
    with pytest.raises(HdbenchError) as error:
        get(entry)
    assert len(str(error.value).splitlines()) == 1
    for word in words:
        assert word in str(error.value)


def test_from_a_hub(hub, entry, get):
    commit = hub.add("owner/name", FILES)
    assert get(entry(f"hf://owner/name@{commit}")) == FILES
    asked = hub.downloads("model.safetensors")
    assert len(asked) == 1
    assert asked[0].path.startswith("/cdn/")
    assert "Authorization" not in asked[0].headers  # the token is for the hub alone
    assert get(entry(f"hf://owner/name@{commit}")) == FILES
    assert len(hub.downloads("model.safetensors")) == 1


def test_from_a_folder_of_a_hub(hub, entry, get):
    hub.add("owner/name", {f"zoo/pvd/{name}": data for name, data in FILES.items()})
    assert get(entry("hf://owner/name/zoo/pvd")) == FILES


@pytest.mark.parametrize(
    ("token", "gate"), [("", "gated (401)"), (OTHER_TOKEN, "gated (403)")], ids=["no token", "no access"]
)
def test_gated(hub, entry, get, left, monkeypatch, token, gate):
    monkeypatch.setenv("HF_TOKEN", token)
    hub.add("owner/name", FILES, gated=True)
    refused(get, entry("hf://owner/name"), gate, "HF_TOKEN", "hf://owner/name", "model.json")
    assert left() == {}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert get(entry("hf://owner/name")) == FILES


def test_what_a_hub_does_not_have(hub, entry, get, left):
    hub.add("owner/name", {"model.json": FILES["model.json"]})
    refused(get, entry("hf://owner/name"), "model.safetensors", "no such file (404)")
    refused(get, entry("hf://owner/name@v7"), "no such revision (404)")
    refused(get, entry("hf://owner/other"), "no such repository", "(404)")
    assert left() == {"model.json": FILES["model.json"]}  # which is right


@pytest.mark.parametrize("status", [500, 503, 429])
def test_trouble_that_passes(hub, entry, get, status):
    hub.add("owner/name", FILES)
    hub.fail("model.safetensors", status=status, times=2)
    assert get(entry("hf://owner/name")) == FILES
    assert len(hub.downloads("model.safetensors")) == 3


def test_trouble_that_stays(hub, entry, get, left):
    hub.add("owner/name", FILES)
    hub.fail("model.safetensors", status=500, times=100)
    refused(get, entry("hf://owner/name"), "the server is in trouble (500), 5 times")
    assert "model.safetensors" not in left()


def test_a_truncated_body_is_gone_on_with(hub, entry, get):
    hub.add("owner/name", FILES)
    hub.cut("model.safetensors", after=100_000)
    assert get(entry("hf://owner/name")) == FILES
    assert [asked.headers.get("Range") for asked in hub.downloads("model.safetensors")] == [None, "bytes=100000-"]


def test_a_body_truncated_each_time_is_resumed_the_next_day(hub, entry, get, left):
    hub.add("owner/name", FILES)
    hub.cut("model.safetensors", after=1000, times=5)
    refused(get, entry("hf://owner/name"), "ended after 5000 of", "5 times")
    assert left() == {"model.json": FILES["model.json"], "model.safetensors.part": FILES["model.safetensors"][:5000]}
    assert get(entry("hf://owner/name")) == FILES
    assert hub.downloads("model.safetensors")[-1].headers["Range"] == "bytes=5000-"


def test_a_damaged_part_is_fetched_anew(hub, entry, get, tmp_path):
    hub.add("owner/name", FILES)
    hub.cut("model.safetensors", after=1000, times=5)
    refused(get, entry("hf://owner/name"), "5 times")
    (part,) = (tmp_path / "store" / "workspaces").rglob("*.part")
    part.write_bytes(b"x" * 5000)
    assert get(entry("hf://owner/name")) == FILES
    assert [asked.headers.get("Range") for asked in hub.downloads("model.safetensors")][-2:] == ["bytes=5000-", None]


def test_a_server_without_ranges_sends_all_of_it(hub, entry, get, monkeypatch):
    from hub_server import _Handler

    hub.add("owner/name", FILES)
    hub.cut("model.safetensors", after=1000)
    whole = _Handler._file

    def without_ranges(self, data, headers):
        del self.headers["Range"]
        whole(self, data, headers)

    monkeypatch.setattr(_Handler, "_file", without_ranges)
    assert get(entry("hf://owner/name")) == FILES
    assert len(hub.downloads("model.safetensors")) == 2


def test_wrong_content(hub, entry, get, left):
    hub.add("owner/name", FILES)
    hub.swap("model.safetensors", bytes(len(FILES["model.safetensors"])), times=100)
    refused(get, entry("hf://owner/name"), "model.safetensors", "wrong content (sha256 ")
    assert left() == {"model.json": FILES["model.json"]}


def test_a_file_of_another_size_is_not_even_begun(hub, entry, get, left):
    hub.add("owner/name", {**FILES, "model.safetensors": bytes(10_000_000)})
    size = len(FILES["model.safetensors"])
    refused(get, entry("hf://owner/name"), f"has 10000000 bytes, expected {size}")
    refused(get, entry(f"{hub.url}/owner/name/resolve/main"), f"has 10000000 bytes, expected {size}")
    assert left() == {"model.json": FILES["model.json"]}


def test_mirrors_are_tried_in_turn(hub, entry, get, tmp_path):
    hub.add("owner/name", FILES)
    hub.swap("model.json", b"{}" * 9, times=1)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "model.safetensors").write_bytes(FILES["model.safetensors"])
    sources = (f"file://{tmp_path}/nowhere", f"file://{tmp_path}/mirror", "hf://owner/gone", "hf://owner/name")
    refused(get, entry(*sources), "nowhere: no such file", "mirror: no such file", "gone: no such", "wrong content")
    assert get(entry(*sources)) == FILES
    assert not hub.downloads("model.safetensors")


def test_https(hub, entry, get):
    hub.add("owner/name", FILES)
    hub.cut("model.safetensors", after=1000)
    source = f"{hub.url}/owner/name/resolve/main"
    assert get(entry(source)) == FILES
    refused(get, entry(f"{hub.url}/nothing", files={"other.json": b"{}"}), "no such file (404)")
    hub.fail("other.json", status=403)
    refused(get, entry(source, files={"other.json": b"{}"}), "not allowed (403)")


def test_nobody_answers(entry, get):
    with HubServer() as closed:
        url = closed.url
    refused(get, entry(f"{url}/zoo"), "no connection", "5 times")


def test_buckets_go_through_fsspec(entry, get, monkeypatch):
    bucket = MemoryFileSystem()
    for name, data in FILES.items():
        bucket.pipe(f"/zoo/pvd/{name}", data)

    class Bucket(MemoryFileSystem):
        protocol = "s3"

        @classmethod
        def _strip_protocol(cls, path):
            return f"/{path.removeprefix('s3://').lstrip('/')}"

    monkeypatch.setitem(_registry, "s3", Bucket)
    assert get(entry("s3://zoo/pvd")) == FILES
    refused(get, entry("s3://zoo/other", files={"model.json": b"{ }"}), "s3://zoo/other: no such file")


def test_a_scheme_whose_package_is_missing_is_named(entry, get, monkeypatch):
    def absent(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", absent)
    refused(get, entry("s3://zoo/pvd"), "Install s3fs to access S3")


@pytest.mark.parametrize("switch", ["HDBENCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(hub, entry, get, monkeypatch, tmp_path, switch):
    hub.add("owner/name", FILES)
    monkeypatch.setenv(switch, "1")
    refused(get, entry("hf://owner/name", f"{hub.url}/zoo"), "offline", "HDBENCH_OFFLINE")
    assert not hub.asked
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    assert get(entry("hf://owner/name", f"file://{tmp_path}")) == FILES
    assert get(entry("hf://owner/name")) == FILES  # it is in the store now


def test_embedded_files_are_used_where_they_lie(entry, tmp_path):
    model = entry("embedded")
    for name, data in FILES.items():
        (model.folder / name).write_bytes(data)
    assert fetch(model, store=Store(tmp_path / "store"), progress=Progress()) == model.folder


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, expected"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "wrong content"),
    ],
    ids=["missing", "truncated", "changed"],
)
def test_damaged_embedded_files(hub, entry, get, damage, complaint):
    model = entry("embedded")
    for name, data in FILES.items():
        (model.folder / name).write_bytes(data)
    damage(model.folder / "model.safetensors")
    refused(get, model, complaint, "model.safetensors", str(model.folder), "--train")
    hub.add("owner/name", FILES)
    assert get(entry("embedded", "hf://owner/name")) == FILES
    assert not hub.downloads("model.json")


def test_an_embedded_file_may_not_lead_elsewhere(entry, get, tmp_path):
    model = entry("embedded")
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
        (model.folder / name).symlink_to(tmp_path / name)
    refused(get, model, "leads out of the model's folder")


def test_a_full_disk(hub, entry, get, monkeypatch):
    hub.add("owner/name", FILES)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 5})())
    refused(get, entry("hf://owner/name"), "0 MB left", "HDBENCH_STORE")
    assert not hub.asked


def test_links(hub, entry, tmp_path):
    hub.add("owner/name", FILES)
    hub.add("owner/old", {**FILES, "model.json": b'{"method": "dpc"}\n'})
    model = entry("embedded", "hf://owner/name", "hf://owner/old")
    found = check_links(model, tmp_path / "links", progress=Progress())
    assert found["hf://owner/name"] is None
    assert found["embedded"] == "model.json: no such file"
    assert "model.json: wrong content" in found["hf://owner/old"]
    assert not [path for path in (tmp_path / "links").rglob("*") if path.is_file()]


FETCH = """
import sys
from pathlib import Path
from hdbench.progress import PlainProgress
from hdbench.store import Store
from hdbench.zoo.catalogue import open_entry
from hdbench.zoo.fetch import fetch

print(fetch(open_entry(Path(sys.argv[1])), store=Store(progress=PlainProgress()), progress=PlainProgress()))
"""


@pytest.fixture
def start(hub, tmp_path):
    """Fetch the entry in a folder with a process of its own."""
    environment = {
        **os.environ,
        "HDBENCH_STORE": str(tmp_path / "store"),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
    }

    def call(folder: Path):
        command = [sys.executable, "-c", FETCH, str(folder)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return call


def test_two_processes_at_once_fetch_once(hub, entry, start):
    hub.add("owner/name", FILES)
    model = entry("hf://owner/name")
    (model.folder / "model.toml").write_text(to_toml(model.manifest))
    assert open_entry(model.folder) == model
    go_on = hub.hold("model.safetensors")
    processes = [start(model.folder), start(model.folder)]
    waits = _first_line(processes)
    go_on.set()
    results = [process.communicate(timeout=60) for process in processes]
    assert "Waiting for another hdbench process" in waits
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert len(hub.downloads("model.safetensors")) == len(hub.downloads("model.json")) == 1


def _first_line(processes):
    """The first line that any of them writes to its errors."""
    lines, event = [], threading.Event()

    def listen(process):
        lines.append(process.stderr.readline())
        event.set()

    for process in processes:
        threading.Thread(target=listen, args=(process,), daemon=True).start()
    assert event.wait(timeout=60)
    return lines[0]


def test_a_killed_process_is_gone_on_from(hub, entry, start, get):
    hub.add("owner/name", FILES)
    model = entry("hf://owner/name")
    (model.folder / "model.toml").write_text(to_toml(model.manifest))
    hub.cut("model.safetensors", after=150_000)
    hub.faults.append(type(hub.faults[0])("model.safetensors", 1, pause=threading.Event()))
    process = start(model.folder)
    while len(hub.downloads("model.safetensors")) < 2 and process.poll() is None:
        threading.Event().wait(0.02)
    process.kill()
    process.communicate()
    assert get(model) == FILES
    assert hub.downloads("model.safetensors")[-1].headers["Range"] == "bytes=150000-"
