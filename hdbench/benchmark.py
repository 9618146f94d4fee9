"""One run, top to bottom: data -> model -> samples -> scores -> report.

Each stage leaves its artefact in the store, so the same command again does only what is missing and a killed run
goes on where it stopped. The run's folder is a copy that stands on its own: `hdbench report` needs nothing else.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hdbench import stages
from hdbench.cluster import ScoreUnit, fit_ahead, score_ahead, score_unit
from hdbench.datasets.base import SPLITS, Dataset, Limited, Referenced
from hdbench.datasets.collection import Collection
from hdbench.datasets.preparation import Inside
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError
from hdbench.evaluation import PointSet
from hdbench.execution import LOCAL, Engine, cpu_count
from hdbench.method import Method, broken_methods, get_method, methods
from hdbench.metrics.protocols import get_protocol, usual_protocol
from hdbench.progress import Progress
from hdbench.provenance import provenance
from hdbench.recipe import parse_changes
from hdbench.results import DatasetInfo, Results, Row, to_json
from hdbench.scoring import Scoring, data_label, read_scores
from hdbench.shape_files import ShapeSet
from hdbench.showcase import draw_figures
from hdbench.stages import Entrant, Workshop
from hdbench.store import Artefact, Key, Store, copy_tree, digest, file_digest, lock, remove_leftovers, write_atomic
from hdbench.timeline import Step, timeline
from hdbench.zoo.obtain import obtain_published, published_models
from hdbench.zoo.obtain import outline as zoo_outline

REPORT_VERSION = 5
LOCK = ".lock"
HOLLOW = 0.002
"""Share of the bounding box below which a mesh encloses next to nothing: an open sheet, or walls without thickness."""
NEIGHBOUR_SAMPLES = 6
"""Samples per method whose nearest training shapes are shown."""


@dataclass(frozen=True)
class Plan:
    """What a run is asked to do; together with the code it determines every number."""

    category: str
    dataset: str = "procedural"
    methods: tuple[str, ...] = ()
    """Empty: all that support the dataset."""
    preset: str = "default"
    protocol: str | None = None
    """None: HyperDiffusion's for what the dataset holds, shapes or sequences."""
    count: int | None = None
    """Samples per method; None: as many as the reference."""
    limit: int | None = None
    """At most so many shapes of each split, for a quick try."""
    seed: int = 0
    seeds: int = 1
    """Sample sets per method, from seeds `seed`, `seed` + 1, …"""
    device: str = "cpu"
    strict: bool = False
    changes: tuple[str, ...] = ()
    """Fields of every method's recipe to set otherwise: `field=value` each."""
    figures: bool = False
    """Draw the figures of papers: denoising and interpolation, of methods that have them."""
    train: bool = False
    """Train every method here, also those whose model the zoo has."""

    def __post_init__(self) -> None:
        if not self.category or self.category.startswith(".") or set("/\\") & set(self.category):
            raise HdbenchError(f"{self.category!r} is no category; give a plain name, such as airplane.")

    @property
    def folder_name(self) -> str:
        """`<category>-<hash of the plan>`: the same command finds its own folder again."""
        return f"{self.category}-{digest(asdict(self))[:10]}"

    @property
    def sample_seeds(self) -> range:
        """The seeds that samples are drawn with."""
        return range(self.seed, self.seed + self.seeds)


@dataclass(frozen=True)
class _Prepared:
    reference: ShapeSet
    train: ShapeSet


@dataclass(frozen=True)
class _Drawn:
    entrant: Entrant
    model: Artefact
    samples: Artefact
    place: Path
    """Of the samples in the run's folder."""
    seed: int

    def steps(self, scores: Artefact) -> list[Step]:
        """What it took to have and score them."""
        name = self.entrant.name
        return [
            Step(self.model.key.stage, self.model.folder, name),
            Step("samples", self.samples.folder, name, self.seed),
            Step("scores", scores.folder, name, self.seed),
        ]


class Run:
    """A plan being carried out with one store into one folder."""

    def __init__(self, plan: Plan, *, store: Store, folder: Path, progress: Progress, engine: Engine = LOCAL) -> None:
        self.plan, self.folder, self.progress = plan, folder, progress
        self.workshop = Workshop(store, progress, plan.device, engine.workers, engine)
        named = None if plan.protocol is None else get_protocol(plan.protocol)  # a mistyped name before any work
        self.dataset = open_limited(
            plan.dataset, plan.category, plan.limit, strict=plan.strict, store=store, progress=progress
        )
        layout = "sequences" if self.dataset.kind == "sequence" else "clouds"
        self.protocol = named or get_protocol(usual_protocol(layout))
        self.protocol.refuse_layout(layout, self.dataset.name)
        if split := self.protocol.reference_splits.get(self.dataset.name):
            self.dataset = Referenced(self.dataset, split)
        self.reference_ids = reference_ids(self.dataset)
        self.count = plan.count or len(self.reference_ids)
        self.entrants = _choose_entrants(plan, self.dataset)
        self.published = {} if plan.train else published_models(self.dataset, self.entrants)
        for reason in () if plan.methods else broken_methods().values():
            progress.say(f"Left out: {reason}")

    def outline(self) -> str:
        """What the run will do, how long that takes from nothing and how much disk it needs."""
        count = self.count * self.plan.seeds
        seconds = 30.0 + sum(self._estimate_seconds(entrant, count) for entrant in self.entrants)
        megabytes = 100 + round(1.5 * count * len(self.entrants))
        names = ", ".join(entrant.name for entrant in self.entrants)
        skipped = f", {len(self.dataset.skipped)} files skipped" if self.dataset.skipped else ""
        minutes = max(1, round(seconds / 60))
        return (
            f"{self.plan.category} from {self.dataset.name}{skipped}: {names}; {count} samples each against "
            f"{len(self.reference_ids)} references, protocol {self.protocol.name}. From nothing this takes about "
            f"{minutes} min on two cores and {megabytes} MB of disk; what the store has is not made again."
            f"{zoo_outline(self.published)}"
        )

    def _estimate_seconds(self, entrant: Entrant, count: int) -> float:
        entry = self.published.get(entrant.name)
        if entry and not entrant.changes and entry.manifest.sample_seconds_per_shape is not None:
            return count * entry.manifest.sample_seconds_per_shape
        estimate = partial(entrant.method.estimate_seconds, self.dataset, entrant.recipe)
        return estimate(count) - (estimate(0) if entry else 0.0)

    def execute(self) -> Results:
        """Carry the plan out and write the run's folder; returns what stands in its results.json."""
        _refuse_foreign(self.folder, self.plan)
        with lock(self.folder / LOCK, waiting=self._say_waiting):
            remove_leftovers(self.folder)
            _refuse_foreign(self.folder, self.plan)
            write_atomic(self.folder / "plan.json", json.dumps(asdict(self.plan), indent=1) + "\n")
            results = self._fill()
            self._report()
            return results

    def _say_waiting(self) -> None:
        self.progress.say(f"Waiting for another hdbench run that is writing {self.folder}.")

    def _fill(self) -> Results:
        prepared = self._prepare()
        fitted = [entrant for entrant in self.entrants if entrant.name not in self.published]
        fit_ahead(self.workshop, self.dataset, fitted, seed=self.plan.seed)
        drawn: Iterable[_Drawn] = (entry for entrant in self.entrants for entry in self._enter(entrant))
        if self.workshop.engine.is_cluster:
            drawn = list(drawn)
            score_ahead(self.workshop, [self._scoring(entry, prepared) for entry in drawn])
        rows, steps = [], [Step("prepare", shapes.folder) for shapes in (prepared.reference, prepared.train)]
        for entry in drawn:
            row, scores = self._row(entry, self._scoring(entry, prepared))
            rows.append(row)
            steps += entry.steps(scores)
        named = {name for row in rows for entry in row.neighbours for name in entry.training}
        shown = stages.prepare(self.workshop, self.dataset, tuple(sorted(named)), keep_meshes=True, title="neighbours")
        copy_tree(prepared.reference.folder, self.folder / "reference")
        copy_tree(shown.folder, self.folder / "neighbours")
        results = Results(
            run={
                **asdict(self.plan),
                "methods": [e.name for e in self.entrants],
                "protocol": self.protocol.name,
                "count": self.count,
            },
            dataset=self._dataset_info(prepared, shown=named),
            rows=rows,
            provenance=provenance(self.plan.sample_seeds),
            # The lock is made when a run first gets its folder, and never written again.
            timeline=timeline(steps, began=(self.folder / LOCK).stat().st_mtime),
        )
        write_atomic(self.folder / "results.json", to_json(results))
        return results

    def _prepare(self) -> _Prepared:
        return _Prepared(
            stages.prepare(self.workshop, self.dataset, self.reference_ids, keep_meshes=True, title="reference shapes"),
            stages.prepare(
                self.workshop, self.dataset, self.dataset.ids("train"), keep_meshes=False, title="training shapes"
            ),
        )

    def _enter(self, entrant: Entrant) -> Iterator[_Drawn]:
        """The sample sets of one method: one per seed, all from the same model."""
        model = self._obtain(entrant)
        if self.plan.figures:
            figures = draw_figures(self.workshop, entrant.method, model, seed=self.plan.seed, recipe=entrant.recipe)
            copy_tree(figures.folder, self.folder / "figures" / entrant.name)
        for seed in self.plan.sample_seeds:
            place = Path("samples") / entrant.name / (f"seed-{seed}" if self.plan.seeds > 1 else "")
            samples = stages.draw(
                self.workshop, entrant.method, model, count=self.count, seed=seed, recipe=entrant.recipe
            )
            copy_tree(samples.folder, self.folder / place)
            yield _Drawn(entrant, model, samples, place, seed)

    def _obtain(self, entrant: Entrant) -> Artefact:
        if entry := self.published.get(entrant.name):
            return obtain_published(self.workshop, entrant.method, entry)
        return stages.obtain(self.workshop, self.dataset, entrant, seed=self.plan.seed)

    def _scoring(self, drawn: _Drawn, prepared: _Prepared) -> Scoring:
        record = stages.FitRecord.of(drawn.model)
        samples = PointSet.of(ShapeSet.open(drawn.samples.folder), drawn.place.as_posix())
        points = samples.points.shape[-2]
        reference = PointSet.of(prepared.reference, "reference").thinned(points)
        reference = reference if record.reference_ids is None else reference.select(record.reference_ids)
        return Scoring(
            samples,
            reference,
            PointSet.of(prepared.train, "train").thinned(points),
            protocol=self.protocol,
            data=data_label(self.dataset),
            seed=self.plan.seed,
            neighbours=NEIGHBOUR_SAMPLES,
        )

    def _row(self, drawn: _Drawn, scoring: Scoring) -> tuple[Row, Artefact]:
        """What the results say of one sample set, and its scores in the store."""
        entrant = drawn.entrant
        record = stages.FitRecord.of(drawn.model)
        scored, others = score_unit(ScoreUnit(self.workshop, scoring))
        scores, neighbours = read_scores(scored)
        statistics = f"{'-'.join(drawn.place.parts[1:])}.statistics.npz"
        write_atomic(self.folder / statistics, (scored.folder / "statistics.npz").read_bytes())
        row = Row(
            method=entrant.name,
            title=entrant.title,
            model=drawn.model.key.digest,
            source="control" if entrant.method.is_control else "zoo" if entrant.name in self.published else "trained",
            seed=drawn.seed,
            samples=scoring.samples.info,
            scores=scores,
            other_scores=others,
            statistics={statistics: file_digest(self.folder / statistics)},
            neighbours=neighbours,
            cost=stages.cost_of(drawn.model, drawn.samples, self.plan.device),
            recipe=entrant.recipe.model_dump(mode="json"),
            loss_curve=record.loss_curve,
        )
        return row, scored

    def _dataset_info(self, prepared: _Prepared, *, shown: set[str]) -> DatasetInfo:
        kept = sorted({*prepared.reference.ids, *shown})
        return DatasetInfo(
            name=self.dataset.name,
            category=self.dataset.category,
            fingerprint=digest(self.dataset.fingerprint()),
            counts={split: len(self.dataset.ids(split)) for split in SPLITS},
            skipped=dict(self.dataset.skipped),
            credits={name: self.dataset.credits[name] for name in kept if name in self.dataset.credits},
            reference=PointSet.of(prepared.reference, "reference").info,
            reference_ids=list(prepared.reference.ids),
        )

    def _report(self) -> None:
        """Write the report, or copy the one already made of the very same results."""
        key = Key("report", REPORT_VERSION, {"results": file_digest(self.folder / "results.json")})

        def make(workspace: Path) -> None:
            from hdbench.reporting.report import write_report

            for path in write_report(self.folder, progress=self.progress):
                shutil.copyfile(path, workspace / path.name)

        report = self.workshop.store.get_or_make(key, make)
        if not report.fresh:
            for path in report.folder.iterdir():
                if path.name != "artefact.json":
                    write_atomic(self.folder / path.name, path.read_bytes())


def open_limited(
    name: str, category: str, limit: int | None, *, strict: bool, store: Store, progress: Progress
) -> Dataset:
    """A dataset, at most `limit` shapes of each split if given."""
    dataset = open_dataset(name, category, strict=strict, store=store, progress=progress)
    return Limited(dataset, limit) if limit else dataset


def reference_ids(dataset: Dataset) -> tuple[str, ...]:
    """The test shapes a run compares with."""
    return dataset.ids("test")[: dataset.natural_count]


def _choose_entrants(plan: Plan, dataset: Dataset) -> tuple[Entrant, ...]:
    """The methods of the plan with their recipes; without a choice, all that support the dataset."""
    chosen = [get_method(name) for name in dict.fromkeys(plan.methods)] or [
        method for method in methods().values() if method.supports(dataset) is None
    ]
    for method in chosen:
        if reason := method.supports(dataset):
            raise HdbenchError(f"Method {method.name!r} cannot learn {dataset.category} from {dataset.name}: {reason}.")
    if plan.changes and all(method.is_control for method in chosen):
        raise HdbenchError("--set changes the recipes of methods, and only controls take part; leave it out.")
    try:
        return tuple(make_entrant(method, dataset, plan.preset, plan.changes) for method in chosen)
    except HdbenchError as error:
        if plan.changes and sum(not method.is_control for method in chosen) > 1:
            text = str(error).rstrip(".")
            raise HdbenchError(f"{text}; --set changes all methods: name those it is for with --methods.") from error
        raise


def make_entrant(method: type[Method], dataset: Dataset, preset: str, assignments: tuple[str, ...]) -> Entrant:
    """`method` with the recipe it takes part with; `assignments` are what `--set` was given."""
    circumstances = (dataset.kind, dataset.category)
    if method.is_control:  # recipe files and changes are for the methods under comparison
        return Entrant(method, method.load_recipe("default" if preset.endswith(".toml") else preset, circumstances))
    try:
        recipe = method.load_recipe(preset, circumstances, changes=parse_changes(assignments))
    except HdbenchError as error:
        raise HdbenchError(f"Method {method.name!r}: {error}") from error
    return Entrant(method, recipe, assignments)


def _refuse_foreign(folder: Path, plan: Plan) -> None:
    """Raise HdbenchError unless `folder` is new, empty, or holds a run of the very same plan."""
    if Path(plan.dataset).is_dir() and Path(plan.dataset).resolve() in folder.resolve().parents:
        raise HdbenchError(f"{folder} lies inside the dataset {plan.dataset}; choose another folder with --out.")
    if not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir()):
        return
    try:
        held = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise HdbenchError(f"{folder} is not empty and holds no run; choose another folder with --out.") from None
    if held != json.loads(json.dumps(asdict(plan))):
        raise HdbenchError(f"{folder} holds another run; choose another folder with --out.")


@dataclass(frozen=True)
class PreparedDataset:
    """What `hdbench data prepare` says."""

    counts: dict[str, int]
    skipped: dict[str, str]
    inside: dict[str, Inside]
    """What winding numbers say of each mesh that was read from a file."""

    def occupancy(self) -> list[str]:
        """In words: which meshes had to be turned, and which enclose too little for fields and voxels."""
        if not self.inside:
            return []
        inverted = [name for name, inside in self.inside.items() if inside.inverted]
        hollow = [name for name, inside in self.inside.items() if inside.filled < HOLLOW]
        doubtful = float(np.median([inside.doubtful for inside in self.inside.values()]))
        lines = [
            f"occupancy: {len(self.inside)} meshes, {doubtful:.1%} of the places near their surface doubtful (median)"
        ]
        if inverted:
            lines.append(f"turned outwards: {len(inverted)}, such as {inverted[0]}")
        if hollow:
            lines.append(f"enclose next to nothing: {len(hollow)}, such as {hollow[0]}; fields and voxels need solids")
        return lines


def prepare_dataset(
    name: str, category: str, *, store: Store, strict: bool, progress: Progress, workers: int | None = None
) -> PreparedDataset:
    """Read a dataset and keep what every run needs of it: its meshes, reference and training shapes as points."""
    workers = workers or cpu_count()
    dataset = open_dataset(name, category, strict=strict, store=store, progress=progress, workers=workers)
    workshop = Workshop(store, progress, "cpu", workers)
    stages.prepare(workshop, dataset, reference_ids(dataset), keep_meshes=True, title="reference shapes")
    stages.prepare(workshop, dataset, dataset.ids("train"), keep_meshes=False, title="training shapes")
    inside = dict(dataset.inside) if isinstance(dataset, Collection) else {}
    return PreparedDataset({split: len(dataset.ids(split)) for split in SPLITS}, dict(dataset.skipped), inside)
