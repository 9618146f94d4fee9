"""What docs/security.md promises, wherever no other test holds it: see there for which test holds what."""

import ast
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hdbench.checkpoints import read_checkpoint
from hdbench.datasets.anime import read_anime
from hdbench.datasets.readers import SUFFIXES, read_shape, read_shapes
from hdbench.errors import HdbenchError
from hdbench.metrics.scoring import Statistics
from hdbench.recipe import Recipe, load_recipe
from hdbench.results import load_document
from hdbench.shape_files import ShapeSet

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for room in ("hdbench", "baselines", "zoo", "reports") for path in (REPOSITORY / room).rglob("*.py")
)
CANARY = "canary-3f6c1d"

UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "tarfile"}
RUNNERS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle"}
DEMANDS = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
}
NEVER = {
    ("shell", True),
    ("allow_pickle", True),
    ("weights_only", False),
    ("verify", False),
    ("trust_remote_code", True),
}
UNPACKERS = {"extractall", "unpack_archive"}


def dangers(source: str) -> Iterator[str]:
    """Everything in `source` that may run what a file holds, or write where an archive says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in UNPICKLERS)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLERS:
            yield f"from {node.module}"
        if isinstance(node, ast.ImportFrom):
            yield from (name.name for name in node.names if name.name in UNPICKLERS)
        if isinstance(node, ast.Attribute) and node.attr in UNPICKLERS:
            yield ast.unparse(node)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            if name in RUNNERS or name.rpartition(".")[2] in UNPACKERS:
                yield name
            if name in DEMANDS and given.get(DEMANDS[name][0]) is not DEMANDS[name][1]:
                yield f"{name} without {DEMANDS[name][0]}={DEMANDS[name][1]}"
            yield from (f"{key}={value}" for key, value in given.items() if (key, value) in NEVER)


class TestNothingIsUnpickled:
    @pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
    def test_by_the_source(self, path):
        source, found = path.read_text(encoding="utf-8"), []
        found = list(dangers(source))
        if path.name == "checkpoints.py" and path.parent.name == "hdbench":  # needs the name of the error alone
            assert set(re.findall(r"\bpickle\.\w+", source)) == {"pickle.UnpicklingError"}
            found.remove("pickle")
        if path.name == "ray_engine.py":  # between the driver and its own workers, never from a file
            assert set(re.findall(r"cloudpickle\.loads\(.*", source)) == {
                "cloudpickle.loads(work)",
                "cloudpickle.loads(ray.get(reference))",
            }
            found = [danger for danger in found if danger not in ("cloudpickle", "ray.cloudpickle")]
        assert not found

    @pytest.mark.parametrize(
        "source",
        [
            "import pickle",
            "from joblib import load",
            "from ray import cloudpickle",
            "ray.cloudpickle.loads(content)",
            "np.load(path)",
            "np.load(path, allow_pickle=True)",
            "np.load(path, allow_pickle=trusted)",
            "torch.load(path)",
            "torch.load(path, weights_only=False)",
            "archive.extractall(folder)",
            "eval(text)",
            "subprocess.run(command, shell=True)",
            "requests.get(url, verify=False)",
        ],
    )
    def test_the_search_finds(self, source):
        assert list(dangers(source))

    def test_the_search_covers_everything(self):
        assert len(SOURCES) > 100
        assert {path.relative_to(REPOSITORY).parts[0] for path in SOURCES} == {"hdbench", "baselines", "zoo", "reports"}

    @pytest.mark.parametrize(
        "suffix", [*SUFFIXES, ".pth", ".ckpt", ".anime", ".json", ".toml", ".hdf5", ".safetensors"]
    )
    def test_by_trying(self, tmp_path, suffix):
        flag = tmp_path / "it-was-run"
        for number, content in enumerate(bombs(suffix, flag)):
            path = tmp_path / f"bomb-{number}{suffix}"
            path.write_bytes(content)
            with pytest.raises(HdbenchError, match=path.name):
                read(path)
        assert not flag.exists()

    def test_by_trying_samples(self, tmp_path):
        flag = tmp_path / "it-was-run"
        np.savez(tmp_path / "points.npz", points=np.zeros((1, 2, 3)), valid=[True], ids=np.array([Bomb(flag)], object))
        (tmp_path / "manifest.json").write_text('{"kind": "points", "invalid": {}}')
        with pytest.raises(HdbenchError, match="never loaded"):
            ShapeSet.open(tmp_path)
        np.savez(tmp_path / "a.statistics.npz", nearest=np.array([Bomb(flag)], object))
        with pytest.raises(HdbenchError, match="never loaded"):
            Statistics.load(tmp_path / "a.statistics.npz")
        assert not flag.exists()

    def test_the_bomb_works(self, tmp_path):
        pickle.loads(pickle.dumps(Bomb(tmp_path / "flag")))
        assert (tmp_path / "flag").exists()


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self):
        return Path.touch, (self.flag,)


def bombs(suffix: str, flag: Path) -> list[bytes]:
    """The bomb as a bare pickle, and packed as files with this suffix are."""
    bare = pickle.dumps(Bomb(flag))
    packed = flag.parent / "packed"
    if suffix == ".npy":
        np.save(packed.with_suffix(suffix), np.array([Bomb(flag)], object))
    elif suffix == ".npz":
        np.savez(packed.with_suffix(suffix), points=np.array([Bomb(flag)], object))
    elif suffix in (".pth", ".ckpt"):
        torch.save({"state_dict": Bomb(flag)}, packed.with_suffix(suffix))
    else:
        return [bare]
    return [bare, packed.with_suffix(suffix).read_bytes()]


def read(path: Path) -> object:
    """What hdbench makes of a file, by its suffix."""
    if path.suffix in SUFFIXES:
        for _, shape in read_shapes(path):
            if isinstance(shape, HdbenchError):
                raise shape
        return read_shape(path)
    if path.suffix in (".pth", ".ckpt"):
        return read_checkpoint(path)
    if path.suffix == ".anime":
        return read_anime(path, 16)
    if path.suffix == ".json":
        return load_document(path)
    if path.suffix == ".toml":
        return load_recipe(Recipe, "", str(path))
    if path.suffix == ".hdf5":
        from hdbench.datasets.dpc import DPCShapes

        return DPCShapes(path, "chair")
    from hdbench.zoo.precision import widen

    return widen(path, path.with_name("wide"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", "mtllib ../secret.mtl\nusemtl red\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"),
        (
            "a.ply",
            "ply\nformat ascii 1.0\ncomment TextureFile ../secret.png\nelement vertex 3\nproperty float x\n"
            "property float y\nproperty float z\nelement face 1\nproperty list uchar int vertex_indices\n"
            "end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
        ),
    ],
)
def test_meshes_open_no_other_files(tmp_path, monkeypatch, name, content):
    (tmp_path / name).write_text(content)
    asked = []
    monkeypatch.setattr("trimesh.resolvers.FilePathResolver.get", lambda self, key: asked.append(key) or b"")
    monkeypatch.setattr("trimesh.resolvers.WebResolver.get", lambda self, key: asked.append(key) or b"")
    assert len(read_shape(tmp_path / name).faces) == 1
    assert not asked


OFFLINE = """
import socket, sys
def refuse(*arguments): raise SystemExit(f"it called {arguments[1:]}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *arguments, **_: refuse(None, *arguments)
from hdbench.cli import main
main(sys.argv[1:])
"""


class TestSecretsAndTheNetwork:
    @pytest.fixture
    def command(self, tmp_path):
        """Runs hdbench with secrets in its environment and no network; returns all it printed and wrote."""
        secrets = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "MY_PASSWORD", "HUGGING_FACE_HUB_TOKEN")
        environment = {
            **os.environ,
            **dict.fromkeys(secrets, CANARY),
            "HDBENCH_STORE": str(tmp_path / "store"),
            "HOME": str(tmp_path),
        }

        def run(*arguments: str, code: int = 0) -> str:
            command = [sys.executable, "-c", OFFLINE, *arguments]
            ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
            assert ended.returncode == code, ended.stderr
            written = [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
            return "\n".join([ended.stdout, ended.stderr, *written])

        return run

    def test_are_never_written(self, command, tmp_path):
        for index, name in enumerate(("samples", "reference")):
            points = np.random.default_rng(index).normal(size=(6, 64, 3)).astype(np.float32)
            np.savez(tmp_path / f"{name}.npz", points=points)
        address = f"https://jo:{CANARY}@host/reference"
        arguments = ("--reference", "reference.npz", "--metrics", "cd", "--json", "a.json")
        everything = command("evaluate", "samples.npz", *arguments)
        scores = json.loads((tmp_path / "a.json").read_text())
        assert "--reference reference.npz" in scores["provenance"]["command"]
        assert CANARY not in everything
        assert CANARY not in command("evaluate", address, "--reference", "reference.npz", code=2)


def test_every_promise_names_a_test_that_is_there():
    page = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+)(?:::(\w+))?)?`", page)
    assert len(named) >= 15
    for file, *names in named:
        source = (REPOSITORY / file).read_text(encoding="utf-8")
        for name in filter(None, names):
            assert re.search(rf"(def|class) {name}\b", source), f"{file} has no {name}"
