from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hdbench.metrics.nearest import lists_from_matrix
from hdbench.metrics.scoring import Statistics
from hdbench.progress import Progress
from hdbench.reporting.content import Content
from hdbench.reporting.merging import Record
from hdbench.reporting.report import write_report
from hdbench.results import Cost, DatasetInfo, Neighbours, Provenance, Results, Row, Score, SetInfo, to_json
from hdbench.shape_files import write_shape_set
from hdbench.shapes import Mesh, PointCloud, Shape
from hdbench.store import file_digest

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))])


def box(index: int) -> Mesh:
    return Mesh(CORNERS * np.random.default_rng(index).uniform(0.2, 1, 3), TRIANGLES)


def cloud(index: int) -> PointCloud:
    return PointCloud(np.random.default_rng(index).uniform(-1, 1, (300, 3)))


NO_MESH = Mesh(np.zeros((0, 3)), np.zeros((0, 3)))


def score(metric: str, value: float | None, half: float | None = None, **other: object) -> Score:
    family = metric.split("_")[0]
    fraction = family in ("cov", "nna")
    interval = None if value is None or half is None else (value - half, value + half)
    fields = {
        "protocol": "hyperdiffusion",
        "metric": metric,
        "value": value,
        "interval": interval,
        "target": {"cov": "higher", "nna": 0.5}.get(family, "lower"),
        "unit": "fraction" if fraction else "squared length",
        "signature": f"{metric}|protocol:hyperdiffusion|samples:4",
    }
    return Score(**(fields | other))


def row(method: str, scores: list[Score], **other: object) -> Row:
    fields = {
        "method": method,
        "title": method.capitalize(),
        "model": f"{method}-hash",
        "source": "trained",
        "seed": 0,
        "samples": SetInfo(path=f"samples/{method}", sha256="ab" * 32, count=4),
        "scores": scores,
        "cost": Cost(fit_s=12.5, sample_s_per_shape=0.25, peak_memory_bytes=2 * 10**9),
    }
    return Row(**(fields | other))


def results(rows: list[Row], **other: object) -> Results:
    fields = {
        "run": {"category": "airplane", "protocol": "hyperdiffusion"},
        "dataset": DatasetInfo(
            name="procedural",
            category="airplane",
            fingerprint="cd" * 32,
            counts={"train": 16, "val": 1, "test": 3},
            reference=SetInfo(path="reference", sha256="ef" * 32, count=4),
            reference_ids=["real-0", "real-1", "real-2", "real-3"],
        ),
        "rows": rows,
        "provenance": Provenance(
            hdbench="0.1.0",
            git={"commit": "c0ffee", "dirty": True},
            packages={"numpy": "2.4"},
            machine={"processor": "Example CPU", "cores": 2, "memory_bytes": 8 * 10**9},
            seeds=[0],
            command="hdbench run --category airplane",
        ),
    }
    return Results(**(fields | other))


@dataclass
class SmallRun:
    """A run's folder of a few boxes and clouds; `results` may be replaced before it is written."""

    folder: Path
    results: Results
    shapes: dict[str, list[Shape]] = field(default_factory=dict)

    def write(self) -> "SmallRun":
        for method, shapes in self.shapes.items():
            self._write(f"samples/{method}", [(f"{index:05d}", shape) for index, shape in enumerate(shapes)])
        self._write("reference", [(f"real-{index}", box(50 + index)) for index in range(4)])
        self._write("neighbours", [(f"train-{index}", box(80 + index)) for index in range(4)])
        (self.folder / "results.json").write_text(to_json(self.results), encoding="utf-8")
        return self

    def _write(self, name: str, shapes: list[tuple[str, Shape]]) -> None:
        kind = "points" if isinstance(shapes[0][1], PointCloud) else "mesh"
        write_shape_set(self.folder / name, shapes, kind=kind, point_count=64, seed=0)

    def report(self) -> list[Path]:
        return write_report(self.folder, progress=Progress())


def example_results() -> Results:
    """Alpha and beta tie on MMD, beta leads on COV, alpha on 1-NNA; alpha made one invalid shape and one copy."""
    invalid = {"00001": "no faces"}
    alpha = row(
        "alpha",
        [score("mmd_cd", 0.034, 0.002), score("cov_cd", 0.3, 0.05), score("nna_cd", 0.6, 0.04)],
        samples=SetInfo(path="samples/alpha", sha256="11" * 32, count=3, invalid=1, invalid_ids=invalid),
        neighbours=[
            Neighbours(sample="00000", training=["train-0", "train-1", "train-2"], distances=[0.005, 0.04, 0.05]),
            Neighbours(sample="00002", training=["train-1", "train-2", "train-3"], distances=[0.03, 0.04, 0.05]),
        ],
        recipe={"width": 64},
        loss_curve=[(1, 0.9), (100, 0.2), (200, 0.1)],
    )
    beta = row(
        "beta",
        [score("mmd_cd", 0.035, 0.002), score("cov_cd", 0.5, 0.05), score("nna_cd", 0.9, 0.04)],
        neighbours=[Neighbours(sample="00000", training=["train-0"], distances=[0.02])],
    )
    copies = row(
        "train-copy",
        [score("mmd_cd", 0.031, 0.002), score("cov_cd", 0.5, 0.05), score("nna_cd", 0.51, 0.04)],
        source="control",
        neighbours=[Neighbours(sample="00000", training=["train-3"], distances=[0.01])],
    )
    held_out = row(
        "held-out",
        [score("mmd_cd", 0.030, 0.002), score("cov_cd", 0.52, 0.05), score("nna_cd", 0.5, 0.04)],
        source="control",
    )
    noise = row(
        "noise",
        [score("mmd_cd", 0.4, 0.01), score("cov_cd", 0.01, 0.01), score("nna_cd", 1.0, 0.0)],
        source="control",
    )
    return results([alpha, beta, copies, held_out, noise])


def content_of(document: Results) -> Content:
    """What a report says of results without a folder."""
    return Content(Record(document, (), {}))


def half_size_held_out() -> Results:
    """A model, and real shapes of which there were only half as many: another signature."""
    control = row("held-out", [score("mmd_cd", 0.02, 0.001, signature="mmd_cd|samples:2")], source="control")
    return results([row("alpha", [score("mmd_cd", 0.03, 0.001)]), control])


def example_run(folder: Path) -> SmallRun:
    shapes: dict[str, list[Shape]] = {
        "alpha": [box(0), NO_MESH, box(2), box(3)],
        "beta": [cloud(index) for index in range(4)],
        "train-copy": [box(10 + index) for index in range(4)],
        "held-out": [box(20 + index) for index in range(4)],
        "noise": [cloud(30 + index) for index in range(4)],
    }
    return SmallRun(folder, example_results(), shapes)


def whole_run(folder: Path) -> SmallRun:
    """Four models and three controls with five scores, other protocols and statistics: as much as a default run has."""
    run = example_run(folder)
    run.folder.mkdir(parents=True, exist_ok=True)
    run.shapes |= {name: [cloud(100 + 10 * place + index) for index in range(4)] for place, name in enumerate(MORE)}
    rows = [
        *run.results.rows[:2],
        *(run.results.rows[1].model_copy(update={"method": name, "title": name.capitalize()}) for name in MORE),
        *run.results.rows[2:],
    ]
    full = [_with_everything(run.folder, entry, place) for place, entry in enumerate(rows)]
    run.results = run.results.model_copy(update={"rows": full})
    return run


MORE = ("gamma", "delta")


def _with_everything(folder: Path, entry: Row, place: int) -> Row:
    rng = np.random.default_rng(place)
    count = entry.samples.count
    lists = lists_from_matrix(rng.uniform(0.01, 1, (4 + count, 4 + count)), reference_count=4)
    features = {"reference_features": np.random.default_rng(9).normal(size=(4, 6))}
    features["sample_features"] = rng.normal(size=(count, 6))
    arrays = {f"hyperdiffusion/cd/{name}": array for name, array in lists.arrays().items()}
    arrays |= {f"hyperdiffusion/features/{name}": array for name, array in features.items()}
    path = folder / f"{entry.method}.statistics.npz"
    Statistics(arrays).save(path)
    more = [score("fpd", 20.0 + place, 3.0, unit="1"), score("kpd", 0.5 + place / 10, 0.2, unit="1")]
    elsewhere = [
        one.model_copy(update={"protocol": name, "signature": f"{one.metric}|protocol:{name}|samples:4"})
        for name in ("dpc", "pvd")
        for one in entry.scores
    ]
    update = {
        "scores": [*entry.scores, *more],
        "other_scores": elsewhere,
        "statistics": {path.name: file_digest(path)},
        "model": f"{entry.method}-hash",
        "cost": Cost(fit_s=10.0**place, sample_s_per_shape=0.1 * (place + 1), peak_memory_bytes=10**9 + place * 10**8),
    }
    return entry.model_copy(update=update)
