"""Trained feature extractors: PointNet++ weights with a name, and where they are kept.

One extractor ships with the package (trained on procedural shapes, so that FPD works at once); others are imported
by the user into the store:

    <store>/features/<name>.safetensors    the classifier's tensors under their original names
    <store>/features/<name>.json           classes, origin, and the weights' sha256

What they extract: `hdbench.features.extraction`.
"""

import hashlib
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from hdbench.checkpoints import read_checkpoint
from hdbench.errors import HdbenchError, unknown_name
from hdbench.features.extraction import Extractor, network_of, signature_of
from hdbench.features.pointnet2 import PointNet2
from hdbench.store import atomic_path, default_root, file_digest, write_atomic

EMBEDDED = "pointnet2-procedural-1"
MODELNET40 = "pointnet2-modelnet40"
MODELNET40_BLOB = "c989e2fcefdf8653708fc7993068092bed312858"
"""Git blob hash of the published ModelNet40 checkpoint (best_model.pth of pointnet2_ssg_wo_normals)."""


def available_extractors(root: Path | None = None) -> list[str]:
    """Names of the extractors that can be loaded: the embedded one, and those in the store at `root`."""
    stored = (path.stem for path in _folder(root).glob("*.json"))
    return sorted({EMBEDDED, *stored})


def choose_extractor(name: str | None = None, *, root: Path | None = None) -> Extractor:
    """The extractor called `name`; without a name the published ModelNet40 one if imported, else the embedded one."""
    return load_extractor(_choose(name, root), root)


def extractor_signature(name: str | None = None, *, root: Path | None = None) -> str:
    """The signature of the extractor that `choose_extractor` would load, without loading its weights."""
    name = _choose(name, root)
    with _folder_of(name, root) as folder:
        return signature_of(name, _describe(folder, name)["sha256"])


def load_extractor(name: str, root: Path | None = None) -> Extractor:
    """Load an extractor from the package or the store; HdbenchError when it is unknown or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with _folder_of(name, root) as folder:
        info, weights = _describe(folder, name), folder / f"{name}.safetensors"
        try:
            actual = file_digest(weights)
            state = load_file(weights) if actual == info["sha256"] else {}
        except (OSError, SafetensorError) as error:
            raise _unreadable(folder, name, error) from error
        if actual != info["sha256"]:
            raise HdbenchError(
                f"{weights} is damaged: expected sha256 {info['sha256']}, got {actual}. Import it again."
            )
        return Extractor(name, network_of(state, str(weights)), actual, info)


def save_extractor(name: str, network: PointNet2, info: Mapping[str, Any], folder: Path, *, half: bool = False) -> None:
    """Write `folder/<name>.safetensors` and `.json`; `half` stores the tensors in half precision."""
    from safetensors.torch import save_file

    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    with atomic_path(folder / f"{name}.safetensors") as path:
        save_file(tensors, path)
    facts = {"architecture": "pointnet2-ssg", **info, "sha256": file_digest(folder / f"{name}.safetensors")}
    write_atomic(folder / f"{name}.json", json.dumps(facts, indent=1) + "\n")


def import_checkpoint(
    path: Path, *, name: str | None = None, verify: bool = False, root: Path | None = None
) -> Extractor:
    """Import a PointNet++ classifier saved by its torch port (`best_model.pth`) into the store.

    Nothing is unpickled but tensors, plain containers and numpy numbers. The published ModelNet40 file is known by
    its git blob hash and named `pointnet2-modelnet40`; other files are named after `name`, else after themselves.

    Raises:
        HdbenchError: The file cannot be read, holds anything else, is another network, or (with `verify`) is not
            the published one.
    """
    blob = git_blob(path)
    if verify and blob != MODELNET40_BLOB:
        raise HdbenchError(
            f"{path} is not the published ModelNet40 checkpoint: its git blob hash is {blob}, expected "
            f"{MODELNET40_BLOB}. Download it again, or import it without verifying."
        )
    network = network_of(_checkpoint_state(path), str(path))
    name = name or (MODELNET40 if blob == MODELNET40_BLOB else f"pointnet2-{path.stem}")
    if name == EMBEDDED or (name == MODELNET40) != (blob == MODELNET40_BLOB):
        raise HdbenchError(f"{path} cannot be called {name!r}, which names other weights; choose another name.")
    origin = {"classes": network.fc3.out_features, "imported_from": path.name, "git_blob": blob}
    save_extractor(name, network, origin, _folder(root))
    return load_extractor(name, root)


def git_blob(path: Path) -> str:
    """The hash git gives a file's content: sha1 of `blob <size>`, a zero byte, and the content."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _checkpoint_state(path: Path) -> dict[str, Tensor]:
    checkpoint = read_checkpoint(path)
    state = checkpoint.get("model_state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise HdbenchError(f"{path} holds no 'model_state_dict'; expected the classifier's best_model.pth.")
    return state


def _choose(name: str | None, root: Path | None) -> str:
    return name or (MODELNET40 if MODELNET40 in available_extractors(root) else EMBEDDED)


def _describe(folder: Path, name: str) -> dict[str, Any]:
    """The JSON beside the weights."""
    try:
        info = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        if not isinstance(info["sha256"], str):
            raise TypeError("sha256 is no text")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(folder, name, error) from error
    return dict(info)


def _unreadable(folder: Path, name: str, error: Exception) -> HdbenchError:
    return HdbenchError(f"Extractor {name!r} in {folder} cannot be read ({error}). Import it again.")


def _folder(root: Path | None) -> Path:
    return (root or default_root()) / "features"


@contextmanager
def _folder_of(name: str, root: Path | None) -> Iterator[Path]:
    """Where the extractor called `name` lies."""
    if name not in available_extractors(root):
        raise unknown_name("extractor", name, available_extractors(root))
    if name == EMBEDDED:
        with importlib.resources.as_file(importlib.resources.files("hdbench.features") / "embedded") as folder:
            yield folder
    else:
        yield _folder(root)
