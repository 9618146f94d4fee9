"""A hub on this machine, a method that is trained in a moment, and a zoo with one model of it."""

import shutil
from pathlib import Path

import pytest
from hub_server import TOKEN, HubServer
from huggingface_hub import constants
from limited_runs import LIMITED

from hdbench import other_protocols, transfer
from hdbench.benchmark import Run
from hdbench.cli import _main
from hdbench.progress import Progress
from hdbench.stages import Workshop
from hdbench.store import Store
from hdbench.zoo.catalogue import open_entry

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that the real client of this process talks to, with a token that may do everything."""
    with HubServer() as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No waiting between attempts, and no wish of whoever runs the tests to be offline."""
    monkeypatch.setattr(transfer, "FIRST_PAUSE", 0.001)
    monkeypatch.delenv("HDBENCH_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HDBENCH_ZOO", raising=False)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder on whose path the plug-in of the tests is installed."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "ellipsoids").symlink_to(PLUGIN / "ellipsoids")
    information = folder / "ellipsoids-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ellipsoids\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text("[hdbench.methods]\nellipsoids = ellipsoids.method:Ellipsoids\n")
    return folder


@pytest.fixture
def plugin(site, monkeypatch):
    """The method `ellipsoids` is installed in this process."""
    monkeypatch.syspath_prepend(site)


@pytest.fixture
def command(monkeypatch, tmp_path, call, trained):
    """Run a command in this process, in a folder of its own; returns (exit code, output, errors).

    Its store holds nothing but the prepared shapes.
    """
    shutil.copytree(trained[1] / "artefacts" / "prepare", tmp_path / "store" / "artefacts" / "prepare")
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return call


@pytest.fixture
def workshop(tmp_path):
    return Workshop(Store(tmp_path / "store"), Progress(), "cpu", 1)


@pytest.fixture(autouse=True)
def unreported(monkeypatch):
    """Runs end with their scores under one protocol: the rest takes longer than all else, and is tested elsewhere."""
    _unreported(monkeypatch)


def _unreported(monkeypatch):
    monkeypatch.setattr(Run, "_report", lambda self: None)
    monkeypatch.setattr(other_protocols, "other_protocols", lambda protocol, layout: ())


@pytest.fixture(scope="session")
def trained(site, tmp_path_factory):
    """A run that trained `ellipsoids` on a few chairs, with its store: (run, store)."""
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("HDBENCH_STORE", str(home / "store"))
        _unreported(patch)
        assert _main(["run", *LIMITED, "--train", "--out", str(home / "run")]) == 0
    return home / "run", home / "store"


@pytest.fixture(scope="session")
def made(site, trained, tmp_path_factory):
    """The zoo's entry made of that run, as `zoo add` makes it. Not to be changed."""
    run, store = trained
    zoo = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("HDBENCH_STORE", str(store))
        assert _main(["zoo", "add", str(run), "--zoo", str(zoo), "--quiet"]) == 0
    return open_entry(zoo / "ellipsoids-chair")
