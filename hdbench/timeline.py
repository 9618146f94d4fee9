"""When each stage of a run was done: as its artefact says, whoever made it.

Times come from the artefacts, so that the same run again has the same timeline, byte for byte.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hdbench.results import Stage
from hdbench.store import made_of


@dataclass(frozen=True)
class Step:
    """A stage of a run, by the folder of its artefact in the store."""

    stage: str
    folder: Path
    method: str | None = None
    seed: int | None = None


def timeline(steps: Iterable[Step], *, began: float) -> list[Stage]:
    """The steps whose artefacts know when they were made, in that order, each artefact once.

    `began` is when the run did: what was finished before was found. Machines are counted, not named: results are
    published.
    """
    known = {step.folder: (step, made) for step in reversed([*steps]) if (made := made_of(step.folder))}
    ordered = sorted(known.values(), key=lambda item: (item[1].start, item[0].stage, item[0].folder))
    hosts = list(dict.fromkeys(made.host for _, made in ordered))
    return [
        Stage(
            stage=step.stage,
            method=step.method,
            seed=step.seed,
            start=made.start,
            seconds=made.seconds,
            found=made.start + made.seconds < began,
            node=hosts.index(made.host) + 1 if len(hosts) > 1 else None,
        )
        for step, made in ordered
    ]
