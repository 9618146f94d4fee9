"""What a run makes ahead on a cluster: whole methods are fitted at once, each a unit of work.

A unit leaves its model in the store, where the stages of the run find it. So they are written as if there were one
machine, and a run that was killed on a cluster can be finished without one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hdbench import stages
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.execution import run_units
from hdbench.stages import Entrant, Workshop
from hdbench.store import Artefact, Store


@dataclass(frozen=True)
class FitUnit:
    """One unit of work: the model of this entrant. Its own units of work go to the same cluster."""

    workshop: Workshop
    dataset: Dataset
    entrant: Entrant
    seed: int


def fit_ahead(workshop: Workshop, dataset: Dataset, entrants: Iterable[Entrant], *, seed: int) -> None:
    """Where `workshop` has a cluster, fit all entrants whose model the store lacks on it, at once.

    Raises HdbenchError when what the cluster stores cannot be seen here.
    """
    if not workshop.engine.is_cluster:
        return
    missing = [
        entrant
        for entrant in entrants
        if not workshop.store.holds(stages.model_key(workshop, dataset, entrant, seed=seed))
    ]
    if not missing:
        return
    with workshop.engine.shown(workshop.progress) as progress:
        there = replace(workshop, store=Store(workshop.store.root, progress=progress), progress=progress)
        models = run_units(
            fit_entrant,
            [FitUnit(there, dataset, entrant, seed) for entrant in missing],
            workers=workshop.workers,
            progress=workshop.progress,
            description="Fitting methods",
            engine=workshop.engine,
            device=workshop.device,
        )
        for model in models:
            if not workshop.store.holds(model.key):
                raise HdbenchError(
                    f"Workers of the Ray cluster wrote {model.folder}, which is not here; set HDBENCH_STORE to a "
                    "folder that all nodes share."
                )


def fit_entrant(unit: FitUnit) -> Artefact:
    """The model of one unit, in the store."""
    return stages.obtain(unit.workshop, unit.dataset, unit.entrant, seed=unit.seed)
