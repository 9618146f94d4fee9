"""What a leaderboard is made of, on disk. Nothing in an entry is trusted but what hdbench has computed itself.

BOARD/
  board.json              the title, and the protocols every entry is scored under
  entries/<id>/
    entry.json            who made what, with which data; the same file a submission carries
    samples.npz           points (N, P, 3) or (N, T, P, 3) float32, valid (N,) bool, ids (N,) str
    scores.json           scores computed from samples.npz, with the hashes of all they were made from
    statistics.npz        nearest lists, from which entries are compared in pairs
    gallery.json          the first samples, thinned, for the browser to turn
    gallery-<n>.webp      pictures of them
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from hdbench.errors import HdbenchError
from hdbench.metrics.protocols import PROTOCOLS
from hdbench.recipe import first_complaint
from hdbench.results import Provenance, Record, Score, SetInfo
from hdbench.store import write_atomic

BOARD_FILE, ENTRY_FILE, SCORES_FILE = "board.json", "entry.json", "scores.json"
SAMPLES_FILE, STATISTICS_FILE, GALLERY_FILE = "samples.npz", "statistics.npz", "gallery.json"
ENTRIES = "entries"
LARGEST_JSON = 32 * 2**20
"""Bytes; a file of metadata or scores that is larger is not read."""
DEFAULT_PROTOCOLS = ("hyperdiffusion", "hyperdiffusion-4d")
"""Of a board that was made without a choice."""


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") for character in text):
        raise ValueError("it must be plain text in one line, without control characters")
    return text


def _web_address(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s<>\"'`\\]+", text):
        raise ValueError("it must start with http:// or https:// and hold no blanks or quotes")
    return text


Line = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_one_line)]
Address = Annotated[str, Field(max_length=500), AfterValidator(_web_address)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Document(Record):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class DatasetVersion(Record):
    """The data that samples are compared with."""

    name: Name
    category: Name
    version: str = Field(pattern=r"^[0-9a-f]{8}$")
    """The start of the sha256 of the dataset's fingerprint, as signatures have it."""
    split: Literal["train", "val", "test"] = "test"
    """Which of its shapes samples are compared with."""

    def __str__(self) -> str:
        return f"{self.name}/{self.category}@{self.version}"

    @property
    def signature(self) -> str:
        """What stands under `data:` in the signatures of scores against it."""
        return f"{self.name}/{self.category}/{self.split}@{self.version}".replace("|", "/")


class SampleFile(Record):
    """The file of points of an entry."""

    file: str = Field(default=SAMPLES_FILE, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.npz$")
    """Beside entry.json."""
    sha256: Digest
    count: int = Field(ge=1)
    """Samples, those that cannot be scored included."""


class Entry(_Document):
    """Who made what, with which data."""

    schema_: Literal["hdbench/entry/1"] = Field(default="hdbench/entry/1", alias="schema")
    name: Name
    method: Name
    kind: Literal["model", "control"] = "model"
    dataset: DatasetVersion
    protocols: list[Name] = Field(default_factory=list, max_length=20)
    """What the submitter means it for; it is scored under all protocols of the board."""
    samples: SampleFile
    url: Address = ""
    paper: Address = ""
    licence: Line = ""
    authors: Line = ""
    card: str = Field(default="", max_length=20_000)
    """Plain text; blank lines part its paragraphs."""


class ProtocolScores(Record):
    """The scores under one protocol."""

    protocol: str
    key: Digest
    """Over all the scores were made from, the code's versions included: see `hdbench.leaderboard.scoring.score_key`."""
    scores: list[Score]


class EntryScores(_Document):
    """What hdbench computed from the samples of an entry."""

    schema_: Literal["hdbench/entry-scores/1"] = Field(default="hdbench/entry-scores/1", alias="schema")
    samples: SetInfo
    reference: SetInfo
    train_count: int
    protocols: list[ProtocolScores]
    audit: list[Score]
    """Novelty: whether the samples repeat the training shapes, or each other."""
    files: dict[str, Digest]
    """sha256 of the files beside this one, the samples among them."""
    provenance: Provenance

    @property
    def scores(self) -> list[Score]:
        """Every score, protocol by protocol."""
        return [score for part in self.protocols for score in part.scores]

    def audited(self, metric: str) -> float | None:
        """The value of one metric of the audit."""
        return next((score.value for score in self.audit if score.metric == metric), None)


class BoardSettings(_Document):
    """What `board.json` says."""

    schema_: Literal["hdbench/leaderboard/1"] = Field(default="hdbench/leaderboard/1", alias="schema")
    title: Name = "Leaderboard"
    protocols: list[Name] = Field(default=list(DEFAULT_PROTOCOLS), min_length=1, max_length=20)

    def for_layout(self, layout: str) -> list[str]:
        """The protocols that score `layout`, "clouds" or "sequences"."""
        return [name for name in self.protocols if PROTOCOLS[name].layout in ("either", layout)]


@dataclass(frozen=True)
class StoredEntry:
    """An entry of a board."""

    folder: Path
    entry: Entry
    scored: EntryScores

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def is_control(self) -> bool:
        """True for what is shown beside the models and never ranked."""
        return self.entry.kind == "control"


SomeDocument = TypeVar("SomeDocument", Entry, EntryScores, BoardSettings)


def read_document(document: type[SomeDocument], path: Path) -> SomeDocument:
    """Read one of the files of the module; raises HdbenchError unless it is what it should be, of the known schema."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise HdbenchError(f"{path} is larger than {LARGEST_JSON >> 20} MiB; it is no {path.name} of hdbench.")
        content = path.read_bytes()
    except OSError as error:
        raise HdbenchError(f"{path} cannot be read ({error.strerror}).") from error
    try:
        return document.model_validate_json(content)
    except ValidationError as error:
        raise HdbenchError(f"{path}: {first_complaint(error)}.") from error


def document_text(document: Entry | EntryScores | BoardSettings) -> str:
    """A document as JSON text, fields in the schema's order."""
    content: dict[str, Any] = document.model_dump(mode="json", by_alias=True)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def open_settings(board: Path) -> BoardSettings:
    """The settings of the board in a folder; HdbenchError where there is none, or its protocols are unknown."""
    if not (board / BOARD_FILE).is_file():
        raise HdbenchError(f"{board} holds no leaderboard; make one with hdbench leaderboard add … --board {board}.")
    settings = read_document(BoardSettings, board / BOARD_FILE)
    if unknown := [name for name in settings.protocols if name not in PROTOCOLS]:
        raise HdbenchError(f"{board / BOARD_FILE}: protocol {unknown[0]!r} is unknown; see hdbench protocols list.")
    return settings


def write_settings(board: Path, settings: BoardSettings) -> None:
    """Make the folder `board` a leaderboard with these settings."""
    write_atomic(board / BOARD_FILE, document_text(settings))


def open_entries(board: Path) -> list[StoredEntry]:
    """All entries of a board by id; HdbenchError for one that cannot be read."""
    folders = sorted(path for path in (board / ENTRIES).glob("*") if path.is_dir() and not path.name.startswith("."))
    return [
        StoredEntry(folder, read_document(Entry, folder / ENTRY_FILE), read_document(EntryScores, folder / SCORES_FILE))
        for folder in folders
    ]


def entry_id(entry: Entry, points_sha256: str) -> str:
    """A name for the folder of an entry that says what it is: the same samples under the same name have one."""
    parts = (entry.dataset.name, entry.dataset.category, entry.name)
    return "-".join([*(_slug(part) for part in parts), points_sha256[:8]])


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or "x"
