"""How many kills, what an undisturbed run leaves, and the tables of what was done."""

import shutil
import sys

import pytest
from fault_harness import TALLY, Home, Reference


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=200, help="kill runs at least so many times, over both engines")


def pytest_collection_modifyitems(items):
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.faults)
            if not sys.platform.startswith("linux"):
                item.add_marker(pytest.mark.skip(reason="processes are found in /proc, and disks are mounted"))


def pytest_terminal_summary(terminalreporter):
    for line in TALLY.lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Where nothing went wrong: a home, and what it holds."""
    home = Home(tmp_path_factory.mktemp("undisturbed"))
    return home, Reference.of(home, engine="local")


@pytest.fixture
def reference(undisturbed):
    """What every run must end with."""
    return undisturbed[1]


@pytest.fixture
def empty(tmp_path):
    """A home with nothing in it."""
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home")


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A home with a finished run, to be damaged."""
    shutil.copytree(undisturbed[0].folder, tmp_path / "home")
    return Home(tmp_path / "home")
