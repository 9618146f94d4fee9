"""Who may import whom: arrows go one way. Read from the source, so that imports within functions count."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = {"hdbench": REPOSITORY / "hdbench", "hdbench_baselines": REPOSITORY / "baselines"}
LOWEST = ("hdbench.distances", "hdbench.geometry", "hdbench.features")
BELOW_ALL = {
    "hdbench.errors", "hdbench.execution", "hdbench.interrupts", "hdbench.memory", "hdbench.process_progress",
    "hdbench.progress", "hdbench.relayed_progress", "hdbench.seeds", "hdbench.shapes", "hdbench.text"
}  # fmt: skip
"""All that the lowest rooms may stand on: nothing that knows runs, files or methods."""

Graph = Mapping[str, set[str]]


def modules(packages: Mapping[str, Path]) -> dict[str, Path]:
    """Every module by its name."""
    found = {}
    for package, folder in packages.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def imported(name: str, path: Path) -> Iterator[str]:
    """What the module `name` in `path` imports anywhere, if only for its types; of `from a import b` a, and a.b."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{one.name}" for one in node.names)


def graph(packages: Mapping[str, Path] = PACKAGES) -> Graph:
    """The modules of `packages` that each of them imports; of a package's sub-module, not the package too."""
    paths = modules(packages)
    found = {}
    for name, path in paths.items():
        wanted = {one for one in imported(name, path) if one in paths}
        found[name] = {one for one in wanted if not any(other.startswith(f"{one}.") for other in wanted)} - {name}
    return found


def cycle(arrows: Graph) -> list[str]:
    """The modules of one cycle, the first again at the end; empty where there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def reached(arrows: Graph, start: str) -> set[str]:
    """All that `start` stands on, however far below."""
    found, left = set(), [start]
    while left:
        fresh = arrows[left.pop()] - found
        found |= fresh
        left += fresh
    return found


@pytest.fixture(scope="module")
def house() -> Graph:
    return graph()


def test_no_module_imports_itself_round_a_circle(house):
    assert not (found := cycle(house)), " imports ".join(found)


def test_the_harness_knows_no_method_of_ours(house):
    knowing = {name: wanted for name, wanted in house.items() if name.partition(".")[0] == "hdbench"}
    assert not [f"{name} imports {one}" for name, wanted in knowing.items() for one in wanted if "baselines" in one]


def test_the_lowest_rooms_know_nothing_of_runs_files_or_methods(house):
    for name in house:
        if name.startswith(LOWEST):
            above = {one for one in reached(house, name) if not one.startswith(LOWEST)} - BELOW_ALL
            assert not above, f"{name} stands on {', '.join(sorted(above))}"


def test_distances_know_neither_geometry_nor_features(house):
    assert not [
        f"{name} stands on {one}"
        for name in house
        if name.startswith("hdbench.distances")
        for one in reached(house, name)
        if one.startswith(("hdbench.geometry", "hdbench.features"))
    ]


@pytest.fixture
def rooms(tmp_path):
    def build(**sources: str) -> Graph:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        return graph({"house": tmp_path})

    return build


class TestCyclesAreSeen:
    @pytest.mark.parametrize(
        "back",
        [
            "from house.a import x",
            "from house import a",
            "import house.a",
            "from . import a",
            "from .a import x",
            "def f():\n    from house.a import x",
            "if TYPE_CHECKING:\n    from house.a import X",
        ],
    )
    def test_however_they_are_closed(self, rooms, back):
        found = cycle(rooms(__init__="", a="import house.b", b="import house.c", c=back))
        assert found[0] == found[-1]
        assert {*found} == {"house.a", "house.b", "house.c"}
        assert "house.a imports house.b" in " imports ".join(found + found[1:])

    def test_by_way_of_the_package(self, rooms):
        assert cycle(rooms(__init__="from house.a import x", a="from house import x"))

    def test_and_not_where_there_are_none(self, rooms):
        assert cycle(rooms(__init__="", a="from house import b, c", b="from .c import x", c="import sys")) == []


def test_nothing_is_overlooked(house):
    """What Python loads for the commands, the reading of their sources has found."""
    code = "import sys, hdbench.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    packages = {name for name, path in modules(PACKAGES).items() if path.name == "__init__.py"}
    assert {"hdbench.errors", "hdbench.cli_runs"} <= {*loaded}
    assert {*loaded} & house.keys() <= reached(house, "hdbench.cli") | packages | {"hdbench.cli"}
