"""Models in folders of their own: what `hdbench fit` and `hdbench zoo import` write and `hdbench sample` reads.

Such a folder holds what the method's `save` wrote, and `hdbench.json`, which says whose it is.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdbench import stages
from hdbench.benchmark import make_entrant, open_limited
from hdbench.cluster import fit_ahead
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Method, get_method
from hdbench.npz import one_line
from hdbench.recipe import Changes
from hdbench.shape_files import ShapeSet
from hdbench.stages import Workshop
from hdbench.store import copy_tree, digest, refuse_unwritable

LABEL = "hdbench.json"
SCHEMA = "hdbench/model/1"
MODEL, SAMPLES = frozenset({LABEL}), frozenset({"points.npz", "manifest.json", "cost.json"})
"""Files by which a folder is known to be written by hdbench, and may be replaced."""


@dataclass(frozen=True)
class FitPlan:
    """What a fit is asked to do."""

    method: str
    category: str
    dataset: str = "procedural"
    preset: str = "default"
    limit: int | None = None
    """At most so many shapes of each split."""
    seed: int = 0
    changes: tuple[str, ...] = ()
    """Fields of the recipe to set otherwise: `field=value` each."""
    from_fields: Path | None = None
    """Learn from the neural fields in this folder and not from the dataset's shapes."""
    strict: bool = False


def fit_model(plan: FitPlan, workshop: Workshop, out: Path | None = None) -> Path:
    """Fit a model, or find it in the store, and write it into `out` or a folder named after it; returns the folder."""
    method = get_method(plan.method)
    if out:
        refuse_occupied(out, MODEL, source=plan.from_fields)
    dataset = open_limited(
        plan.dataset,
        plan.category,
        plan.limit,
        strict=plan.strict,
        store=workshop.store,
        progress=workshop.progress,
    )
    if reason := method.supports(dataset):
        raise HdbenchError(f"Method {method.name!r} cannot learn {dataset.category} from {dataset.name}: {reason}.")
    entrant = make_entrant(method, dataset, plan.preset, plan.changes)
    if plan.from_fields is None:
        fit_ahead(workshop, dataset, [entrant], seed=plan.seed)
        model = stages.obtain(workshop, dataset, entrant, seed=plan.seed)
    else:
        model = stages.obtain_from_fields(workshop, plan.from_fields, entrant, seed=plan.seed)
    folder = out or Path("models") / f"{plan.category}-{method.name}-{model.key.digest[:10]}"
    refuse_occupied(folder, MODEL, source=plan.from_fields)
    with tempfile.TemporaryDirectory() as scratch:
        context = workshop.context(Path(scratch), plan.seed)
        stages.save_model(method, model.folder / "model", entrant.recipe, Path(scratch) / "model", context)
        said = learnt_from(dataset, plan.limit) if plan.from_fields is None else None
        copy_tree(Path(scratch) / "model", folder, added={LABEL: label(method, said)})
    return folder


def import_original(
    method: type[Method], path: Path, out: Path, workshop: Workshop, *, category: str | None, changes: Changes
) -> str:
    """Turn the original authors' file or folder `path` into files of ours in `out`; returns what was imported."""
    if not path.exists():
        raise HdbenchError(f"There is no file or folder {path}.")
    refuse_occupied(out, MODEL, source=path)
    with tempfile.TemporaryDirectory() as scratch:
        context = workshop.context(Path(scratch), seed=0)
        new = Path(scratch) / "imported"
        what = method.import_original(path, new, context, category=category, changes=changes)
        copy_tree(new, out, added={LABEL: label(method)})
    return what


def draw_samples(folder: Path, out: Path, workshop: Workshop, *, count: int, seed: int) -> int:
    """Draw `count` samples of the model in `folder` into the folder `out`; returns how many it gave."""
    method = method_of(folder)
    refuse_occupied(out, SAMPLES, source=folder)
    model = stages.adopt(workshop, method, folder)
    samples = stages.draw(workshop, method, model, count=count, seed=seed)
    copy_tree(samples.folder, out)
    return len(ShapeSet.open(out))


def method_of(folder: Path) -> type[Method]:
    """The method whose model lies in `folder`; HdbenchError where there is none, or its method is not installed."""
    return get_method(_read_label(folder)["method"])


def refuse_other_data(folder: Path, dataset: Dataset) -> None:
    """Raise HdbenchError where the model in `folder` says that it has learnt from other data."""
    stated = _read_label(folder).get("learnt_from")
    if isinstance(stated, dict) and stated.get("version") != digest(dataset.fingerprint()):
        known = ", ".join(f"{name} {value}" for name, value in stated.items())
        raise HdbenchError(
            f"{folder} has learnt from other data ({known}); give the data, the --category and the --limit of its fit."
        )


def _read_label(folder: Path) -> dict[str, Any]:
    """What `hdbench.json` in `folder` says, `method` at least."""
    try:
        if not folder.is_dir():
            raise ValueError("there is no such folder")
        label: dict[str, Any] = json.loads((folder / LABEL).read_text(encoding="utf-8"))
        if label["schema"] != SCHEMA:
            raise ValueError(f"schema {label['schema']!r}")
        return label | {"method": str(label["method"])}
    except FileNotFoundError as error:
        raise _no_model(folder, f"it has no {LABEL}") from error
    except KeyError as error:
        raise _no_model(folder, f"{LABEL} has no {error}") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _no_model(folder, one_line(error)) from error


def _no_model(folder: Path, reason: str) -> HdbenchError:
    return HdbenchError(
        f"{folder} is no model's folder ({reason}); expected one written by hdbench fit, zoo pull or zoo import."
    )


def refuse_occupied(out: Path, files: frozenset[str], *, source: Path | None) -> None:
    """Raise HdbenchError unless `out` is new, empty, or what the same command wrote before, with `files` in it.

    Nor may what is read, `source`, lie in it: all of it is replaced.
    """
    if out.exists() and not out.is_dir():
        raise HdbenchError(f"{out} is a file; choose a folder with --out.")
    if source and out.resolve() in (source.resolve(), *source.resolve().parents):
        raise HdbenchError(f"{out} would replace {source}, which is read; choose another folder with --out.")
    if out.is_dir() and any(out.iterdir()) and not all((out / name).is_file() for name in files):
        what = "samples" if files == SAMPLES else "model"
        raise HdbenchError(f"{out} is not empty and holds no {what} of hdbench; choose another folder with --out.")
    refuse_unwritable(out.resolve().with_name(f".{out.resolve().name}.tmp"))


def label(method: type[Method], said: dict[str, Any] | None = None) -> str:
    """The text of `hdbench.json` in a folder with a model of `method`; `said` is its `learnt_from`."""
    known = {"schema": SCHEMA, "method": method.name, "version": method.version}
    return json.dumps(known | ({"learnt_from": said} if said else {}), indent=1) + "\n"


def learnt_from(dataset: Dataset, limit: int | None) -> dict[str, Any]:
    """What tells the training shapes of a model from all others."""
    version = digest(dataset.fingerprint())
    return {"dataset": dataset.name, "category": dataset.category, "version": version, "limit": limit}
