"""What people hand in: a run's folder, an entry with its samples (a folder or a zip), or samples alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import ValidationError

from hdbench.datasets.arrays import load_npy
from hdbench.datasets.readers import entries
from hdbench.errors import HdbenchError
from hdbench.evaluation import POINT_COUNT, open_point_set
from hdbench.leaderboard.archives import SamplePoints, extract_archive, holds_meshes, read_samples
from hdbench.leaderboard.entry import ENTRY_FILE, DatasetVersion, Entry, SampleFile, read_document
from hdbench.progress import Progress
from hdbench.recipe import first_complaint
from hdbench.results import Results, Row, load_results
from hdbench.shape_files import ShapeSet
from hdbench.store import file_digest


@dataclass(frozen=True)
class Details:
    """What the command line says about samples that do not say it themselves."""

    name: str = ""
    method: str = ""
    is_control: bool = False
    dataset: str = ""
    """A dataset's name, or a path."""
    category: str = ""
    protocols: tuple[str, ...] = ()
    sha256: str = ""
    """That the file of samples must have."""
    url: str = ""
    paper: str = ""
    licence: str = ""
    authors: str = ""
    card: str = ""


@dataclass(frozen=True)
class Submission:
    """One set of samples, and what is claimed of it."""

    source: Path
    """The file or folder of samples."""
    facts: dict[str, Any] = field(repr=False)
    """Fields of an `Entry`, without dataset and samples."""
    dataset: str
    """To be opened: a name, or a path if the person at the command line said so."""
    category: str
    claimed: DatasetVersion | None = None
    """Which version of the dataset the samples were made for, where the submission says so."""
    count: int | None = None
    """How many samples it says there are."""
    sha256: str = ""
    """Of the file of samples, where it says so."""
    points_sha256: str = ""
    """Of the points, where a run says so."""
    reference_count: int | None = None
    """References it was measured against in its run."""

    @property
    def name(self) -> str:
        """What the entry will be called."""
        return str(self.facts["name"])

    def entry(self, dataset: DatasetVersion, samples: SampleFile) -> Entry:
        """The entry made of it; HdbenchError where its facts are not what they must be."""
        try:
            return Entry(dataset=dataset, samples=samples, **self.facts)
        except ValidationError as error:
            raise HdbenchError(f"{self.source}: {first_complaint(error)}.") from error


@contextmanager
def opened(path: Path, details: Details) -> Iterator[list[Submission]]:
    """The sets of samples in `path`; what a zip file unpacks to is there until the block ends.

    Raises HdbenchError for what is no submission, and for samples without the details they need.
    """
    if not path.exists():
        raise HdbenchError(f"There is no file or folder {path}.")
    if path.suffix.lower() != ".zip":
        yield _read(path, details)
        return
    with TemporaryDirectory(prefix="hdbench-submission-") as folder:
        extract_archive(path, Path(folder))
        found = [child for child in Path(folder).iterdir() if not child.name.startswith((".", "__MACOSX"))]
        yield _read(found[0] if len(found) == 1 and found[0].is_dir() else Path(folder), details)


def _read(path: Path, details: Details) -> list[Submission]:
    if (path / "results.json").is_file():
        return _of_run(path, details)
    if (path / ENTRY_FILE).is_file():
        return [_of_entry(path, details)]
    missing = [f"--{option}" for option in ("name", "dataset", "category") if not getattr(details, option)]
    if missing:
        raise HdbenchError(f"{path} does not say what it is: give {', '.join(missing)}, or an {ENTRY_FILE} beside it.")
    facts = {"name": details.name, "method": details.method or details.name, **_told(details)}
    return [Submission(path, facts, details.dataset, details.category, sha256=details.sha256)]


def _told(details: Details) -> dict[str, Any]:
    """What the command line says goes before what a submission says."""
    texts = {name: getattr(details, name) for name in ("url", "paper", "licence", "authors", "card")}
    kind: dict[str, Any] = {"kind": "control"} if details.is_control else {}
    return (
        kind
        | {name: text for name, text in texts.items() if text}
        | ({"protocols": list(details.protocols)} if details.protocols else {})
    )


def _of_entry(folder: Path, details: Details) -> Submission:
    entry = read_document(Entry, folder / ENTRY_FILE)
    facts = entry.model_dump(mode="json", exclude={"schema_", "dataset", "samples"}) | _told(details)
    return Submission(
        folder / entry.samples.file,
        facts | {name: text for name in ("name", "method") if (text := getattr(details, name))},
        details.dataset or _registered(entry.dataset.name, folder),
        details.category or entry.dataset.category,
        claimed=entry.dataset,
        count=entry.samples.count,
        sha256=details.sha256 or entry.samples.sha256,
    )


def _of_run(run: Path, details: Details) -> list[Submission]:
    results = load_results(run)
    return [_of_row(run, results, row, details) for row in results.rows]


def _of_row(run: Path, results: Results, row: Row, details: Details) -> Submission:
    if Path(row.method).name != row.method or row.method in ("", ".", ".."):
        raise HdbenchError(f"{run}: {row.method!r} is no method's name; it leads out of the run's folder.")
    folder = run / "samples" / row.method
    seeded = folder / f"seed-{row.seed}"
    is_one_of_many = sum(other.method == row.method for other in results.rows) > 1
    made_by = f"by hdbench {results.provenance.hdbench}"
    card = f"{row.title}, {row.source}, model {row.model[:12]}, samples drawn with seed {row.seed} {made_by}."
    facts = {
        "name": f"{row.title} (seed {row.seed})" if is_one_of_many else row.title,
        "method": row.method,
        "kind": "control" if row.source == "control" else "model",
        "card": card,
    }
    data = results.dataset
    return Submission(
        seeded if seeded.is_dir() else folder,
        facts | _told(details),
        details.dataset or _registered(data.name, run),
        details.category or data.category,
        claimed=DatasetVersion(name=data.name, category=data.category, version=data.fingerprint[:8]),
        count=row.samples.count + row.samples.invalid,
        points_sha256=row.samples.sha256,
        reference_count=_reference_count(row),
    )


def _reference_count(row: Row) -> int | None:
    facts = (fact for score in row.scores for fact in score.signature.split("|") if fact.startswith("reference:"))
    text = next(facts, "").removeprefix("reference:")
    return int(text) if text.isdecimal() else None


def _registered(name: str, where: Path) -> str:
    """`name`, if it is a dataset's: a submission does not say which of our files to open."""
    from hdbench.datasets.registry import dataset_names

    if name not in dataset_names():
        raise HdbenchError(
            f"{where}: dataset {name!r} is unknown here; known are {', '.join(dataset_names())}. "
            "If it is a folder of yours, name it with --dataset."
        )
    return name


def load_points(submission: Submission, *, count: int, progress: Progress) -> SamplePoints:
    """The samples of a submission; raises HdbenchError unless they are `count`, finite, and have the hashes claimed."""
    source = submission.source
    if submission.count not in (None, count):
        raise HdbenchError(f"{source}: {submission.count} samples, but the protocols ask for {count}; give as many.")
    if ShapeSet.is_one(source):
        source = source / "points.npz"
    if not source.exists():
        raise HdbenchError(f"{source} is missing; hand it in with its {ENTRY_FILE}.")
    _refuse_hash(source, submission.sha256)
    samples = _load(source, count, progress)
    if submission.points_sha256 and points_digest(samples) != submission.points_sha256:
        raise HdbenchError(f"{source} does not hold the samples of results.json (sha256 differs); run it again.")
    return samples


def _load(source: Path, count: int, progress: Progress) -> SamplePoints:
    if source.suffix.lower() == ".npz" and not holds_meshes(source):
        return read_samples(source, count=count, points=POINT_COUNT)
    # Of one array the header says how many there are, before a name is made for each.
    array = load_npy(source) if source.suffix.lower() == ".npy" else None
    found = len(entries(source)) if array is None else len(array) if array.ndim in (3, 4) else 1
    if found != count:
        raise HdbenchError(f"{source} holds {found} samples, but the protocols ask for {count}; give as many.")
    points = open_point_set(source, role="samples", progress=progress)
    if points.invalid:
        name, reason = next(iter(points.invalid.items()))
        raise HdbenchError(
            f"{source}: {len(points.invalid)} samples cannot be scored (the first: {name}: {reason}); repair them, or "
            "hand in an npz with `points` and `valid`."
        )
    if points.points.shape[-2] < POINT_COUNT:
        raise HdbenchError(f"{source} has {points.points.shape[-2]} points per shape; expected {POINT_COUNT} or more.")
    return SamplePoints(points.points, np.ones(count, np.bool_), points.ids)


def _refuse_hash(path: Path, expected: str) -> None:
    if not expected:
        return
    if not path.is_file():
        raise HdbenchError(f"{path} is a folder, which has no sha256; hand in one npz.")
    if (actual := file_digest(path)) != expected:
        raise HdbenchError(f"{path} is not the file that was announced: expected sha256 {expected}, got {actual}.")


def points_digest(samples: SamplePoints) -> str:
    """sha256 of the valid points, as results record it."""
    return hashlib.sha256(np.ascontiguousarray(samples.points[samples.valid]).data).hexdigest()
