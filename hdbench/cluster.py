"""What a run makes ahead: all methods are fitted at once, and on a cluster all sample sets scored, each a unit of work.

A unit leaves its artefact in the store, where the stages of the run find it. So they are written as if there were one
machine, and a run that was killed on a cluster can be finished without one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hdbench import stages
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.execution import LOCAL, run_units
from hdbench.other_protocols import score_under_others
from hdbench.progress import Progress
from hdbench.results import Score
from hdbench.scoring import Scoring, score
from hdbench.stages import Entrant, Workshop
from hdbench.store import Artefact


@dataclass(frozen=True)
class FitUnit:
    """One unit of work: the model of this entrant. Its own units of work go to the same engine."""

    workshop: Workshop
    dataset: Dataset
    entrant: Entrant
    seed: int


def fit_ahead(workshop: Workshop, dataset: Dataset, entrants: Iterable[Entrant], *, seed: int) -> None:
    """Fit the entrants whose model the store lacks at once: on a cluster, or on the cores there are.

    Longest first, but after the others those whose work cores share: trainings of our `default` recipes hardly use a
    second core. On one machine controls, a single method, and whatever needs its GPU wait for their turn. Raises
    HdbenchError when what a cluster stores cannot be seen here.
    """
    cluster = workshop.engine.is_cluster
    if not cluster and (workshop.workers < 2 or workshop.device != "cpu"):
        return
    missing = [
        entrant
        for entrant in entrants
        if (cluster or not entrant.method.is_control)
        and not workshop.store.holds(stages.model_key(workshop, dataset, entrant, seed=seed))
    ]
    if len(missing) < (1 if cluster else 2):
        return
    in_order = sorted(
        missing, key=lambda one: (one.method.fits_in_units, -one.method.estimate_seconds(dataset, one.recipe, 0))
    )
    workers = workshop.workers if cluster else max(2, workshop.workers // len(missing))
    with workshop.engine.shown(workshop.progress) as progress:
        there = replace(workshop, store=workshop.store.reporting_to(progress), progress=progress, workers=workers)
        models = run_units(
            fit_entrant,
            [FitUnit(there, dataset, entrant, seed) for entrant in in_order],
            workers=workshop.workers,
            progress=workshop.progress,
            description="Fitting methods",
            engine=workshop.engine,
            device=workshop.device,
        )
        for model in models:
            _refuse_unshared(workshop, model)


def fit_entrant(unit: FitUnit) -> Artefact:
    """The model of one unit, in the store."""
    return stages.obtain(unit.workshop, unit.dataset, unit.entrant, seed=unit.seed)


@dataclass(frozen=True)
class ScoreUnit:
    """One unit of work: the scores of one sample set."""

    workshop: Workshop
    scoring: Scoring


def score_ahead(workshop: Workshop, scorings: Iterable[Scoring]) -> None:
    """Score the sample sets whose scores the store lacks, all at once; each on one core of the cluster.

    Raises HdbenchError when what the cluster stores cannot be seen here.
    """
    silent = workshop.store.reporting_to(Progress())
    there = replace(workshop, store=silent, progress=silent.progress, workers=1, engine=LOCAL)
    missing = [ScoreUnit(there, scoring) for scoring in scorings if not workshop.store.holds(scoring.key)]
    if not missing:
        return
    scored = run_units(
        score_unit,
        missing,
        workers=workshop.workers,
        progress=workshop.progress,
        description="Scoring sample sets",
        engine=workshop.engine,
    )
    for scores, _ in scored:
        _refuse_unshared(workshop, scores)


def score_unit(unit: ScoreUnit) -> tuple[Artefact, list[Score]]:
    """The scores of one sample set in the store, and those under other protocols."""
    one = unit.scoring
    scores = score(unit.workshop, one)
    others = score_under_others(
        unit.workshop, one.samples, one.reference, protocol=one.protocol, data=one.data, seed=one.seed
    )
    return scores, others


def _refuse_unshared(workshop: Workshop, made: Artefact) -> None:
    if not workshop.store.holds(made.key):
        raise HdbenchError(
            f"Workers of the Ray cluster wrote {made.folder}, which is not here; set HDBENCH_STORE to a folder that "
            "all nodes share, or a URL."
        )
