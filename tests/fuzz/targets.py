"""What reads each kind of file, as the commands do it: a result, or an HdbenchError."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hdbench.errors import HdbenchError

Target = Callable[[Path], object]


def target(kind: str) -> Target:
    """The reader of files of `kind` (a suffix without the dot); it is imported here, not while it is timed."""
    if kind == "anime":
        return _anime()
    if kind == "hdf5":
        return _hdf5()
    if kind == "zip":
        return _zip()
    if kind == "toml":
        return _toml()
    if kind == "json":
        return _json()
    return _shapes()


def _shapes() -> Target:
    import trimesh  # noqa: F401

    from hdbench.datasets.readers import read_shapes

    def read(path: Path) -> object:
        found = dict(read_shapes(path))
        errors = [shape for shape in found.values() if isinstance(shape, HdbenchError)]
        if len(errors) == len(found):
            raise errors[0]
        return found

    return read


def _anime() -> Target:
    from hdbench.datasets.anime import read_anime

    return lambda path: read_anime(path, 16)


def _hdf5() -> Target:
    import trimesh  # noqa: F401

    from hdbench.datasets.dpc import DPCShapes

    def read(path: Path) -> object:
        return DPCShapes(path, "chair")

    return read


def _zip() -> Target:
    from hdbench.datasets.archives import archive_members, read_member
    from hdbench.leaderboard.archives import extract_archive

    def extract(path: Path) -> None:
        with TemporaryDirectory(dir=path.parent) as folder:
            extract_archive(path, Path(folder))
        beside = {child.name for child in path.parent.iterdir() if not child.name.startswith("failure-")}
        assert beside == {path.name}, f"it wrote {beside}"

    def read(path: Path) -> object:
        return _any(
            [
                lambda: [read_member(path, name, limit=1 << 24) for name in archive_members(path)],
                lambda: extract(path),
            ]
        )

    return read


def _toml() -> Target:
    from hdbench.method import get_method
    from hdbench.recipe import load_recipe
    from hdbench.thresholds import load_thresholds
    from hdbench.zoo.manifest import read_manifest

    recipes = [get_method(name).recipe_type for name in ("dpc", "hyperdiffusion", "pvd", "voxel")]

    def read(path: Path) -> object:
        return _any(
            [lambda kind=kind: load_recipe(kind, "", str(path)) for kind in recipes]
            + [lambda: load_thresholds(path), lambda: read_manifest(path)]
        )

    return read


def _json() -> Target:
    import numpy as np

    from hdbench.leaderboard.entry import Entry, read_document
    from hdbench.models import LABEL, method_of
    from hdbench.results import load_document
    from hdbench.shape_files import ShapeSet

    def read(path: Path) -> object:
        samples = path.with_suffix("")
        samples.mkdir(exist_ok=True)
        (samples / "manifest.json").write_bytes(path.read_bytes())
        points = np.arange(72, dtype=np.float32).reshape(2, 12, 3)
        np.savez(samples / "points.npz", points=points, valid=np.ones(2, bool), ids=np.array(["a", "b"]))
        (samples / LABEL).write_bytes(path.read_bytes())
        return _any(
            [
                lambda: load_document(path),
                lambda: list(ShapeSet.open(samples)),
                lambda: method_of(samples),
                lambda: read_document(Entry, path),
            ]
        )

    return read


def _any(readers: list[Callable[[], object]]) -> object:
    """What the first reader that can makes of a file; all of them try."""
    found: list[object] = []
    refusals: list[HdbenchError] = []
    for reader in readers:
        try:
            found.append(reader())
        except HdbenchError as error:
            refusals.append(error)
    if not found:
        raise refusals[0]
    return found[0]
