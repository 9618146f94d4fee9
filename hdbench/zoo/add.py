"""From a trained model to an entry of the zoo: files, hashes, expected scores, model.toml and card."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hdbench import stages
from hdbench.benchmark import make_entrant, open_limited, reference_ids
from hdbench.errors import HdbenchError
from hdbench.method import Method, get_method
from hdbench.metrics.protocols import usual_protocol
from hdbench.models import LABEL, method_of, refuse_other_data
from hdbench.provenance import provenance
from hdbench.recipe import Recipe
from hdbench.results import Record, Results, Row, load_results
from hdbench.stages import Workshop
from hdbench.store import MANIFEST as ARTEFACT
from hdbench.store import copy_tree, digest, file_digest, lock
from hdbench.zoo.card import card_text, written_prose
from hdbench.zoo.catalogue import Entry, recipe_hash
from hdbench.zoo.fetch import read_model
from hdbench.zoo.manifest import (
    CARD,
    EMBEDDED,
    MANIFEST,
    SUFFIXES,
    Manifest,
    ModelFile,
    Status,
    TrainedOn,
    to_toml,
)
from hdbench.zoo.precision import halve
from hdbench.zoo.verification import Drawing, Scored, draw_and_score, expected_scores, misses, open_trained_on, room

SELECTION = "what fit keeps under its recipe"


class Statement(Record):
    """What a publisher says of a model that its files do not tell."""

    status: Status = "unverified"
    licence: str = "MIT"
    origin: str | None = None
    """None: the commit of hdbench that trained it."""
    selection: str = SELECTION
    sources: tuple[str, ...] = (EMBEDDED,)
    half: bool = False
    """Store matrices as float16."""


@dataclass(frozen=True)
class _Candidate:
    """A trained model and what is known of it."""

    method: type[Method]
    folder: Path
    """What `Method.save` wrote."""
    category: str
    preset: str
    recipe: str
    dataset: TrainedOn
    data: str
    """The dataset as `--dataset` names it."""
    origin: str
    drawing: Drawing
    scored: Scored | None
    """On this kind of device by its run; None: not yet."""
    fit_seconds: float | None = None
    sampled_by: Recipe | None = None
    """What it sampled by in its run; None: what it says itself."""


def add_run(
    run: Path, zoo: Path, workshop: Workshop, statement: Statement, *, methods: Iterable[str] = ()
) -> list[Entry]:
    """Make entries in the folder `zoo` of the models trained by a run, all or those of `methods`.

    The expected scores are the run's, if it ran on the device of `workshop`; else samples are drawn and scored here.
    So they are of halved weights, which must score within the intervals of the whole ones. Raises HdbenchError where
    the store no longer holds a model, or halving costs something.
    """
    results = load_results(run)
    rows = {row.method: row for row in reversed(results.rows) if row.source == "trained"}
    chosen = list(dict.fromkeys(methods)) or list(rows)
    for name in chosen:
        if name not in rows:
            raise HdbenchError(f"{run} has no model of {name!r} that it trained; it has {', '.join(rows) or 'none'}.")
    if not chosen:
        raise HdbenchError(f"{run} trained no model; start it with --train to train what the zoo has.")
    candidates = [_from_row(results, rows[name], workshop) for name in sorted(chosen)]
    return [_add(candidate, zoo, workshop, statement) for candidate in candidates]


def add_model(
    folder: Path,
    zoo: Path,
    workshop: Workshop,
    statement: Statement,
    *,
    category: str,
    dataset: str = "procedural",
    preset: str = "default",
    changes: tuple[str, ...] = (),
    limit: int | None = None,
) -> Entry:
    """Make an entry in the folder `zoo` of the model in `folder`, which is drawn from and scored for it.

    The data and the recipe are those it was fitted with; `limit` as well.
    """
    method = method_of(folder)
    data = open_limited(dataset, category, limit, strict=False, store=workshop.store, progress=workshop.progress)
    entrant = make_entrant(method, data, preset, changes)
    refuse_other_data(folder, data)
    _refuse_other_recipe(folder, entrant.recipe)
    layout = "sequences" if data.kind == "sequence" else "clouds"
    candidate = _Candidate(
        method=method,
        folder=folder,
        category=category,
        preset=_preset(preset, changes),
        recipe=recipe_hash(entrant.recipe),
        dataset=TrainedOn(name=data.name, version=digest(data.fingerprint()), limit=limit),
        data=dataset,
        origin=_origin(provenance([0]).git),
        drawing=Drawing(usual_protocol(layout), len(reference_ids(data)), seed=0),
        scored=None,
    )
    return _add(candidate, zoo, workshop, statement)


def _refuse_other_recipe(folder: Path, expected: Recipe) -> None:
    """Raise HdbenchError where a model says itself, in the `recipe` of its `model.json`, that it is another's."""
    try:
        stated = json.loads((folder / "model.json").read_text(encoding="utf-8"))["recipe"]
        same = type(expected).model_validate(stated) == expected  # fields that are newer than the model have defaults
    except ValidationError:
        same = False
    except (OSError, ValueError, KeyError, TypeError):  # a method may write down its recipe elsewhere
        return
    if not same:
        raise HdbenchError(f"{folder} was not fitted with this recipe; give the --preset and --set it was fitted with.")


def _from_row(results: Results, row: Row, workshop: Workshop) -> _Candidate:
    model = workshop.store.find("model", row.model)
    if model is None:
        raise HdbenchError(f"The store {workshop.store.root} no longer holds the model of {row.method}; run it again.")
    run, method = results.run, get_method(row.method)
    recipe = method.recipe_type.model_validate(row.recipe)
    return _Candidate(
        method=method,
        folder=model / "model",
        category=results.dataset.category,
        preset=_preset(run["preset"], run["changes"]),
        recipe=recipe_hash(recipe),
        dataset=TrainedOn(name=results.dataset.name, version=results.dataset.fingerprint, limit=run["limit"]),
        data=run["dataset"],
        origin=_origin(results.provenance.git),
        drawing=Drawing(run["protocol"], run["count"], row.seed),
        scored=Scored(row.scores, row.cost.sample_s_per_shape) if row.cost.device == workshop.device else None,
        fit_seconds=row.cost.fit_s,
        sampled_by=recipe,
    )


def _preset(name: str, changes: Iterable[str]) -> str:
    return " ".join([name, *(f"--set {change}" for change in changes)])


def _origin(git: dict[str, Any] | None) -> str:
    return f"trained by hdbench at commit {git['commit']}" if git else "trained by hdbench"


def _add(candidate: _Candidate, zoo: Path, workshop: Workshop, statement: Statement) -> Entry:
    """Write the entry, unless its scores cannot be had or do not hold; what stood there is replaced as a whole."""
    name = f"{candidate.method.name}-{candidate.category}"
    target = zoo / name
    if target.exists() and not (target / MANIFEST).is_file():
        raise HdbenchError(f"{target} is no model of the zoo; move it away, or choose another --zoo.")
    with tempfile.TemporaryDirectory() as scratch:
        folder, source = Path(scratch) / name, candidate.folder
        if candidate.sampled_by:
            source = Path(scratch) / "model"
            context = workshop.context(Path(scratch), seed=0)
            stages.save_model(candidate.method, candidate.folder, candidate.sampled_by, source, context)
        files = _write_files(source, folder, half=statement.half)
        entry = Entry(folder, _manifest(candidate, statement, files))
        with_room = partial(_score, candidate, entry, workshop, room(workshop, Path(scratch) / "store"))
        whole = candidate.scored or with_room(source)
        scored = with_room(folder) if statement.half else whole
        _refuse_loss(candidate, whole, scored)
        if all(score.value is None for score in scored.scores):
            raise HdbenchError(f"{candidate.folder} draws nothing that can be scored; the zoo takes no such model.")
        known = {
            "expected": expected_scores(scored.scores, candidate.drawing),
            "sample_seconds_per_shape": scored.seconds_per_shape,
        }
        manifest = entry.manifest.model_copy(update=known)
        texts = {MANIFEST: to_toml(manifest), CARD: card_text(name, manifest, prose=written_prose(target))}
        with lock(workshop.store.root / "locks" / f"zoo-{digest(str(target.resolve()))}"):
            copy_tree(folder, target, added=texts)
    return Entry(target, manifest)


def _write_files(source: Path, folder: Path, *, half: bool) -> list[ModelFile]:
    """Copy a saved model, halved if wanted, and take its files' sizes and hashes."""
    paths = sorted(path for path in source.rglob("*") if path.is_file() and path.name not in (LABEL, ARTEFACT))
    files = []
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise HdbenchError(f"{path} is no {' or '.join(SUFFIXES)} file; the zoo takes nothing else.")
        name = path.relative_to(source).as_posix()
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if half and path.suffix == ".safetensors":
            halve(path, target)
        else:
            shutil.copyfile(path, target)
        target.chmod(0o644)
        files.append(ModelFile(path=name, sha256=file_digest(target), size=target.stat().st_size))
    if not files:
        raise HdbenchError(f"{source} holds no model.")
    return files


def _manifest(candidate: _Candidate, statement: Statement, files: list[ModelFile]) -> Manifest:
    return Manifest(
        title=f"{candidate.method.title}: {candidate.category} of {candidate.dataset.name}",
        method=candidate.method.name,
        method_version=candidate.method.version,
        preset=candidate.preset,
        recipe=candidate.recipe,
        category=candidate.category,
        status=statement.status,
        licence=statement.licence,
        origin=statement.origin or candidate.origin,
        selection=statement.selection,
        sources=list(statement.sources),
        precision="float16" if statement.half else "float32",
        fit_seconds=candidate.fit_seconds,
        dataset=candidate.dataset,
        files=files,
    )


def _score(candidate: _Candidate, entry: Entry, workshop: Workshop, scratch: Workshop, folder: Path) -> Scored:
    """The scores of the model in `folder`, whole or halved."""
    data = open_trained_on(entry, workshop, candidate.data)
    model = stages.adopt_files(
        scratch, candidate.method, {"folder": str(folder)}, lambda target: read_model(folder, target)
    )
    return draw_and_score(model, candidate.method, data, candidate.drawing, workshop=workshop, scratch=scratch)


def _refuse_loss(candidate: _Candidate, whole: Scored, halved: Scored) -> None:
    """Raise HdbenchError where halved weights score outside the intervals of the whole ones."""
    if missed := misses(expected_scores(whole.scores, candidate.drawing), halved.scores):
        verdict = missed[0]
        raise HdbenchError(
            f"Halving the weights of {candidate.method.name} costs something: {verdict.expected.metric} "
            f"{verdict.expected.value:.4g} became {verdict.found} ({verdict.reason}); leave --half out."
        )
