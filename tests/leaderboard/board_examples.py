"""Boards without shapes: entries whose scores follow from distances in the plane, true in every identity."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.distance import cdist

from hdbench.leaderboard.archives import SamplePoints
from hdbench.leaderboard.entry import (
    ENTRIES,
    ENTRY_FILE,
    GALLERY_FILE,
    SAMPLES_FILE,
    SCORES_FILE,
    STATISTICS_FILE,
    BoardSettings,
    DatasetVersion,
    Entry,
    EntryScores,
    ProtocolScores,
    SampleFile,
    document_text,
    entry_id,
    write_settings,
)
from hdbench.leaderboard.gallery import packed_points
from hdbench.leaderboard.scoring import score_key, write_samples
from hdbench.metrics.family import NOVELTY
from hdbench.metrics.nearest import NearestLists, lists_from_matrix, set_values
from hdbench.metrics.protocols import get_protocol, signature
from hdbench.metrics.scoring import Statistics, metric_named
from hdbench.metrics.uncertainty import set_intervals
from hdbench.results import Provenance, Score, SetInfo
from hdbench.store import file_digest

COUNT = 16
DATASET = DatasetVersion(name="toys", category="chair", version="0a1b2c3d")
PROVENANCE = Provenance(hdbench="0", git=None, packages={}, machine={}, seeds=[0], command="test")
MEANINGS = ("mmd", "mmd_samples", "cov", "nna", "nna_samples", "nna_reference")


def distances(seed: int, shift: float, count: int = COUNT) -> NearestLists:
    """`count` references, the same for every seed, and as many samples, moved by `shift`."""
    reference = np.random.default_rng(99).normal(size=(count, 2))
    samples = np.random.default_rng(seed).normal(size=(count, 2)) + shift
    both = np.concatenate([reference, samples])
    return lists_from_matrix(cdist(both, both, "sqeuclidean"), reference_count=count)


def told(metric: str, value: float, interval, *, protocol: str = "hyperdiffusion", unit: str = "", count: int = COUNT):
    known = metric_named(metric)
    line = signature(
        metric,
        get_protocol(protocol),
        distance="cd_sq",
        points=2048,
        reference=count,
        samples=count,
        data=DATASET.signature,
    )
    unit = unit or ("squared length" if known.unit == "distance" else known.unit)
    return Score(
        protocol=protocol,
        metric=metric,
        value=value,
        interval=interval,
        target=known.target,
        unit=unit,
        signature=line,
    )


def set_scores(lists: NearestLists) -> list[Score]:
    intervals = set_intervals(lists, seed=0) or {}
    values = set_values(lists)._asdict()
    return [
        told(
            name.replace("_", "_cd_", 1) if "_" in name else f"{name}_cd",
            values[name],
            intervals.get(name),
            count=lists.reference_count,
        )
        for name in MEANINGS
    ]


def audit(near_copies: float = 0.05, p_value: float = 0.5, count: int = COUNT) -> list[Score]:
    values = {"novelty_ratio": 1.0, "novelty_p": p_value, "near_copies": near_copies, "duplicates": 0.06}
    return [told(metric.name, values[metric.name], None, protocol="hdbench", count=count) for metric in NOVELTY]


def new_board(folder: Path, title: str = "Leaderboard") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, BoardSettings(title=title, protocols=["hyperdiffusion"]))
    return folder


def add_entry(
    board: Path,
    seed: int,
    *,
    name: str = "",
    shift: float = 0.0,
    kind: str = "model",
    audited=None,
    count=COUNT,
    **facts,
) -> Path:
    """An entry of random points; its id says its name and points."""
    points = np.random.default_rng(seed).normal(size=(count, 8, 3)).astype(np.float32)
    samples = SamplePoints(points, np.ones(count, bool), tuple(f"{i:05d}" for i in range(count)))
    workspace = board / ENTRIES / f".{seed}"
    workspace.mkdir(parents=True)
    write_samples(workspace, samples)
    (workspace / "gallery-0.webp").write_bytes(tiny_picture(seed))
    tile = {"name": "00000", "picture": "gallery-0.webp", "frames": 1, "points": packed_points(points[0])}
    (workspace / GALLERY_FILE).write_text(json.dumps([tile]))
    file_sha = file_digest(workspace / SAMPLES_FILE)
    lists = distances(seed, shift, count)
    Statistics({f"hyperdiffusion/cd/{key}": array for key, array in lists.arrays().items()}).save(
        workspace / STATISTICS_FILE
    )
    entry = Entry(
        name=name or f"Model {seed}",
        method="toy",
        kind=kind,
        dataset=DATASET,
        samples=SampleFile(sha256=file_sha, count=count),
        **facts,
    )
    points_sha = f"{seed:064x}"
    part = ProtocolScores(
        protocol="hyperdiffusion",
        key=score_key("hyperdiffusion", samples_file=file_sha, dataset=DATASET),
        scores=set_scores(lists),
    )
    scored = EntryScores(
        samples=SetInfo(path="samples", sha256=points_sha, count=count),
        reference=SetInfo(path="reference", sha256="ef" * 32, count=count),
        train_count=9,
        protocols=[part],
        audit=audit(count=count) if audited is None else audited,
        files={path.name: file_digest(path) for path in workspace.iterdir()},
        provenance=PROVENANCE,
    )
    (workspace / ENTRY_FILE).write_text(document_text(entry), encoding="utf-8")
    (workspace / SCORES_FILE).write_text(document_text(scored), encoding="utf-8")
    folder = board / ENTRIES / f"{entry_id(entry, points_sha)}{seed}"
    workspace.rename(folder)
    return folder


def change_scores(folder: Path, change) -> None:
    """Let `change` edit the scores of an entry, as JSON."""
    document = json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))
    change(document)
    (folder / SCORES_FILE).write_text(json.dumps(document), encoding="utf-8")


def tiny_picture(seed: int) -> bytes:
    stream = BytesIO()
    Image.new("RGBA", (16, 16), (seed % 256, 120, 200, 255)).save(stream, "WEBP")
    return stream.getvalue()
