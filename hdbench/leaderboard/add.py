"""Adding entries to a board, and packing samples so that someone else can."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hdbench.benchmark import open_limited
from hdbench.datasets.base import Referenced, Split
from hdbench.errors import HdbenchError
from hdbench.leaderboard.archives import SamplePoints
from hdbench.leaderboard.entry import (
    BOARD_FILE,
    ENTRIES,
    ENTRY_FILE,
    SAMPLES_FILE,
    SCORES_FILE,
    BoardSettings,
    Entry,
    EntryScores,
    SampleFile,
    StoredEntry,
    document_text,
    entry_id,
    open_entries,
    open_settings,
    read_document,
    write_settings,
)
from hdbench.leaderboard.gallery import write_gallery
from hdbench.leaderboard.lint import Finding, lint_entry
from hdbench.leaderboard.scoring import Arena, score_key, write_samples, write_scores
from hdbench.leaderboard.submission import Details, Submission, load_points, opened, points_digest
from hdbench.metrics.protocols import PROTOCOLS, get_protocol
from hdbench.stages import Workshop
from hdbench.store import file_digest, lock, write_atomic

NOISE = "noise"


@dataclass(frozen=True)
class Added:
    """What became of one set of samples."""

    name: str
    outcome: Literal["added", "unchanged", "left out", "refused"]
    detail: str
    findings: tuple[Finding, ...] = ()


@dataclass
class Desk:
    """Takes submissions for one board; datasets are opened once."""

    board: Path
    settings: BoardSettings
    workshop: Workshop
    arenas: dict[tuple[str, str], Arena] = field(default_factory=dict)

    def arena(self, submission: Submission) -> Arena:
        """What a submission is scored against; HdbenchError if it was made for something else."""
        key = submission.dataset, submission.category
        if key not in self.arenas:
            self.arenas[key] = open_arena(*key, self.settings.protocols, self.workshop)
        arena = self.arenas[key]
        if submission.claimed:
            arena.refuse_version(submission.claimed, str(submission.source))
        return arena


def open_arena(dataset: str, category: str, protocols: Sequence[str], workshop: Workshop) -> Arena:
    """The dataset of this name or path, with the split that `protocols` compare with.

    Raises HdbenchError where two of them compare with different ones.
    """
    found = open_limited(dataset, category, None, strict=False, store=workshop.store, progress=workshop.progress)
    layout = Arena(found, workshop).layout
    fitting = [name for name in protocols if get_protocol(name).layout in ("either", layout)]
    splits: dict[str, Split] = {name: get_protocol(name).reference_splits.get(found.name, "test") for name in fitting}
    if len(set(splits.values())) > 1:
        told = ", ".join(f"{name} with {split}" for name, split in splits.items())
        raise HdbenchError(
            f"On {found.name} the protocols compare with different splits ({told}); make a board for each."
        )
    split: Split = next(iter(splits.values()), "test")
    return Arena(found if split == "test" else Referenced(found, split), workshop)


def add(paths: Sequence[Path], board: Path, details: Details, workshop: Workshop) -> list[Added]:
    """Add everything in `paths` to the board in a folder, which is made if there is none.

    All scores are computed here. A set of samples that is on the board already, scored by the same code, is left as
    it is. Raises HdbenchError, with the board as it was before that set, for samples that are not what the dataset and
    the protocols of the board ask for.
    """
    settings = _settings(board, details.protocols)
    desk = Desk(board, settings, workshop)
    added: list[Added] = []
    for path in paths:
        with opened(path, details) as submissions:
            if not (board / BOARD_FILE).is_file():
                write_settings(board, settings)
            added += [_add_one(submission, desk) for submission in submissions]
    return added


def _settings(board: Path, protocols: Sequence[str]) -> BoardSettings:
    for name in protocols:
        get_protocol(name)
    if not (board / BOARD_FILE).is_file():
        return BoardSettings(protocols=list(protocols)) if protocols else BoardSettings()
    settings = open_settings(board)
    _refuse_protocols(protocols, settings, str(board))
    return settings


def _refuse_protocols(protocols: Sequence[str], settings: BoardSettings, where: str) -> None:
    for name in protocols:
        if name not in settings.protocols:
            known = "" if name in PROTOCOLS else ", which is unknown"
            raise HdbenchError(
                f"{where}: protocol {name!r}{known} is not one of the board's ({', '.join(settings.protocols)})."
            )


def _add_one(submission: Submission, desk: Desk) -> Added:
    arena = desk.arena(submission)
    count = len(arena.reference_names)
    if submission.facts.get("kind") == "control" and submission.reference_count not in (None, count):
        return Added(submission.name, "left out", f"a control measured against {submission.reference_count} references")
    _refuse_protocols(submission.facts.get("protocols", ()), desk.settings, str(submission.source))
    protocols = desk.settings.for_layout(arena.layout)
    if not protocols:
        raise HdbenchError(f"{desk.board}: no protocol of the board scores {arena.layout}; add one to {BOARD_FILE}.")
    samples = load_points(submission, count=count, progress=desk.workshop.progress)
    with lock(desk.board / ".lock"), _workspace(desk.board / ENTRIES) as folder:
        return _file_entry(submission, samples, folder, desk, arena, protocols)


def _file_entry(
    submission: Submission, samples: SamplePoints, folder: Path, desk: Desk, arena: Arena, protocols: Sequence[str]
) -> Added:
    write_samples(folder, samples)
    entry = submission.entry(
        arena.version, SampleFile(sha256=file_digest(folder / SAMPLES_FILE), count=len(samples.ids))
    )
    digest = points_digest(samples)
    target = desk.board / ENTRIES / entry_id(entry, digest)
    for other in open_entries(desk.board):
        same = other.scored.samples.sha256 == digest and other.entry.dataset == entry.dataset
        if same and other.id != target.name:
            raise HdbenchError(f"{submission.source} holds the samples of {other.id}, which is on the board already.")
    if _is_current(target, entry, protocols):
        return Added(entry.name, "unchanged", target.name)
    write_atomic(folder / ENTRY_FILE, document_text(entry))
    write_gallery(folder, samples, is_real=entry.kind == "control" and entry.method != NOISE)
    scored = write_scores(folder, samples, arena, protocols)
    # Linted under the name it will have.
    findings = tuple(
        Finding(target.name, found.level, found.text)
        for found in lint_entry(StoredEntry(folder, entry, scored), desk.settings)
    )
    if any(finding.level == "error" for finding in findings):
        return Added(entry.name, "refused", "its scores do not hold together", findings)
    if target.exists():
        shutil.rmtree(target)
    folder.rename(target)
    return Added(entry.name, "added", target.name, findings)


def _is_current(folder: Path, entry: Entry, protocols: Sequence[str]) -> bool:
    """Whether the board holds this very entry, scored by the code as it is now."""
    if not (folder / SCORES_FILE).is_file() or read_document(Entry, folder / ENTRY_FILE) != entry:
        return False
    scored = read_document(EntryScores, folder / SCORES_FILE)
    keys = {part.protocol: part.key for part in scored.protocols}
    expected = {name: score_key(name, samples_file=entry.samples.sha256, dataset=entry.dataset) for name in protocols}
    intact = all((folder / name).is_file() and file_digest(folder / name) == sha for name, sha in scored.files.items())
    return keys == expected and intact


@contextmanager
def _workspace(parent: Path) -> Iterator[Path]:
    """A hidden folder in `parent` that is gone afterwards, unless it was given another name."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", dir=parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pack(source: Path, archive: Path, details: Details, workshop: Workshop) -> Entry:
    """Make a submission of samples: a zip file with entry.json and samples.npz, which `add` takes anywhere.

    Raises HdbenchError for samples that `add` would refuse.
    """
    with opened(source, details) as submissions, tempfile.TemporaryDirectory(prefix="hdbench-pack-") as name:
        if len(submissions) != 1:
            raise HdbenchError(
                f"{source} holds {len(submissions)} sets of samples; pack one, such as its samples/METHOD."
            )
        submission, folder = submissions[0], Path(name)
        arena = open_arena(submission.dataset, submission.category, details.protocols, workshop)
        if submission.claimed:
            arena.refuse_version(submission.claimed, str(source))
        samples = load_points(submission, count=len(arena.reference_names), progress=workshop.progress)
        write_samples(folder, samples)
        entry = submission.entry(
            arena.version, SampleFile(sha256=file_digest(folder / SAMPLES_FILE), count=len(samples.ids))
        )
        write_atomic(folder / ENTRY_FILE, document_text(entry))
        with zipfile.ZipFile(folder / "packed", "w", strict_timestamps=False) as packed:
            for part in (ENTRY_FILE, SAMPLES_FILE):
                packed.write(folder / part, part)
        write_atomic(archive, (folder / "packed").read_bytes())
    return entry
