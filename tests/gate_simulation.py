"""Experiments on the gate: sets of procedural airplanes, scored by the real kernels, judged by `hdbench.gate.gate`.

All clouds stand in one pool whose distances are computed once. An experiment draws its reference, old and new samples
from it without replacement, so that no shape is in two of them; what differs between experiments is who is drawn.

    python tests/gate_simulation.py

prints the power table of docs/statistics.md. The pool takes four minutes, an experiment with 400 shapes about a second.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from hdbench.datasets.procedural.dataset import Procedural
from hdbench.distances.chamfer import cd_sq_matrix
from hdbench.evaluation import Evaluation
from hdbench.gate import GateReport, Verdict, gate
from hdbench.geometry.sampling import shape_points
from hdbench.metrics.nearest import lists_from_matrix, set_values
from hdbench.metrics.protocols import get_protocol
from hdbench.metrics.scoring import Statistics, metric_named
from hdbench.provenance import provenance
from hdbench.results import Provenance, Score, Scores, SetInfo

Scenario = Literal["same model", "a third of the sub-types lost", "noise of 1/50 of the size"]
SCENARIOS: tuple[Scenario, ...] = ("same model", "a third of the sub-types lost", "noise of 1/50 of the size")
OUTCOMES: tuple[Verdict, ...] = ("regressed", "underpowered", "ok")
METRICS = ("mmd_cd", "cov_cd", "nna_cd")
PROTOCOL = get_protocol("hdbench")
POINTS = 512
NOISE = 1 / 50
"""Of the longest side of the bounding box, which is 1: the deviation of each coordinate."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Clouds of `POINTS` points: clean ones first, then noisy ones of other shapes."""

    clean: int
    """How many are clean."""
    subtypes: np.ndarray
    """(N,) names."""
    distances: np.ndarray
    """(N, N) cd_sq."""

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Indices of the reference, the old and, for each scenario, the new samples: `count` each, none in two sets."""
        order = rng.permutation(self.clean)
        reference, old, rest = order[:count], order[count : 2 * count], order[2 * count :]
        names = np.unique(self.subtypes)
        lost = rng.choice(names, round(len(names) / 3), replace=False)
        noisy = self.clean + rng.permutation(len(self.subtypes) - self.clean)
        new = dict(zip(SCENARIOS, (rest, rest[~np.isin(self.subtypes[rest], lost)], noisy), strict=True))
        sets = {"reference": reference, "old": old, **{name: samples[:count] for name, samples in new.items()}}
        if any(len(samples) < count for samples in sets.values()):
            raise ValueError(f"a pool of {len(order)} + {len(noisy)} is too small for {count=}")
        return sets


def build_pool(clean: int, noisy: int) -> Pool:
    """`clean` + `noisy` different airplanes."""
    data = Procedural("airplane", size=clean + noisy)
    names = np.random.default_rng(0).permutation(
        [name for split in ("train", "val", "test") for name in data.ids(split)]
    )
    points = np.stack([shape_points(data.shape(name), POINTS, seed=0, name=name) for name in names])
    points[clean:] += NOISE * np.random.default_rng(1).normal(size=points[clean:].shape).astype(np.float32)
    return Pool(
        clean,
        np.array([data.subtype(name) for name in names]),
        cd_sq_matrix(PROTOCOL.normalise(points)),
    )


def load_or_build_pool(path: Path, *, clean: int = 3000, noisy: int = 1000) -> Pool:
    """The pool in `path` (npz), built where there is none."""
    if not path.is_file():
        pool = build_pool(clean, noisy)
        np.savez(path, clean=pool.clean, subtypes=pool.subtypes, distances=pool.distances)
    with np.load(path, allow_pickle=False) as stored:
        return Pool(int(stored["clean"]), stored["subtypes"], stored["distances"])


def judge(pool: Pool, count: int, seed: int) -> dict[Scenario, GateReport]:
    """One experiment: what the gate says of `count` new samples of each scenario, held against as many old ones."""
    sets = pool.draw(count, np.random.default_rng([seed, count]))
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: scored(pool, sets["reference"], sets[name]).write(Path(folder) / f"{place}.json")
            for place, name in enumerate(("old", *SCENARIOS))
        }
        return {scenario: gate(paths[scenario], paths["old"], seed=seed) for scenario in SCENARIOS}


def scored(pool: Pool, reference: np.ndarray, samples: np.ndarray) -> Evaluation:
    """What `hdbench.evaluate` makes of these shapes; without intervals, since the gate makes its own."""
    both = np.concatenate([reference, samples])
    lists = lists_from_matrix(pool.distances[np.ix_(both, both)], reference_count=len(reference))
    found = set_values(lists)
    scores = [
        Score(
            protocol=PROTOCOL.name,
            metric=metric.name,
            value=getattr(found, metric.name.removesuffix("_cd")),
            target=metric.target,
            unit=metric.unit,
            signature=metric.name,
        )
        for metric in map(metric_named, METRICS)
    ]
    arrays = {f"{PROTOCOL.name}/cd/{name}": array for name, array in lists.arrays().items()}
    infos = [SetInfo(path="", sha256=str(part.tolist()), count=len(part)) for part in (samples, reference)]
    document = Scores(samples=infos[0], reference=infos[1], scores=scores, provenance=_provenance())
    return Evaluation(document, Statistics(arrays))


@cache
def _provenance() -> Provenance:
    return provenance([0])


def outcome(report: GateReport) -> Verdict:
    """What the gate says as a whole: `regressed` (exit code 1), else `underpowered` (3 with --strict), else `ok`."""
    return next((verdict for verdict in OUTCOMES if report.has(verdict)), "ok")


def power_table(pool: Pool, counts: Sequence[int], experiments: int) -> Iterator[str]:
    """Of each count and scenario: what the gate says as a whole, and how often each metric has regressed."""
    head = ("shapes", "the new model", *OUTCOMES, *METRICS)
    yield _line(head)
    yield _line(["---:", "---", *["---:"] * (len(head) - 2)])
    for count in counts:
        reports = [judge(pool, count, seed) for seed in range(experiments)]
        for scenario in SCENARIOS:
            of_scenario = [report[scenario] for report in reports]
            shares = [_share(outcome(report) == verdict for report in of_scenario) for verdict in OUTCOMES]
            shares += [
                _share((metric, "regressed") in _verdicts(report) for report in of_scenario) for metric in METRICS
            ]
            yield _line([str(count), scenario, *(f"{share:.3f}" for share in shares)])


def _verdicts(report: GateReport) -> set[tuple[str, Verdict]]:
    return {(finding.metric, finding.verdict) for finding in report.findings}


def _share(happened: Iterable[bool]) -> float:
    return float(np.mean(list(happened)))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[20, 50, 100, 200, 400], help="shapes in each set")
    parser.add_argument("--experiments", type=int, default=200, help="of each kind")
    parser.add_argument("--pool", type=Path, default=Path("gate-pool.npz"), help="where the pool is kept")
    options = parser.parse_args()
    for line in power_table(load_or_build_pool(options.pool), options.counts, options.experiments):
        print(line, flush=True)
