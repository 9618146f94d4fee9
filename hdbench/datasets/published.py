"""Datasets that someone published: what each must say of itself, and what `hdbench data verify` finds in them."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from hdbench.datasets.base import SPLITS, Split
from hdbench.datasets.collection import Collection
from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.shapes import Shape
from hdbench.store import Store, file_digest

SUMS = "SHA256SUMS"
"""A file beside the data, as `sha256sum` writes it, that says what the others must hold."""


@dataclass(frozen=True)
class Finding:
    """One thing that `hdbench data verify` looked at."""

    status: Literal["ok", "wrong", "note"]
    text: str


class Published(Collection):
    """A dataset with a layout of its own. Its constructor reads one category of what lies at `path`."""

    title: ClassVar[str]
    """What it is, in a few words."""
    obtain: ClassVar[str]
    """Where to get it, in a few words."""

    def __init__(
        self,
        path: Path | str,
        category: str,
        *,
        strict: bool = False,
        store: Store | None = None,
        progress: Progress | None = None,
        workers: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.layout
        self.category = category
        self._open(strict=strict, store=store, progress=progress or Progress(), workers=workers)

    @abstractmethod
    def _open(self, *, strict: bool, store: Store | None, progress: Progress, workers: int | None) -> None:
        """Find the shapes of `category`, then `_read` and `_settle` them."""

    @classmethod
    @abstractmethod
    def inspect(cls, path: Path) -> Iterator[Finding]:
        """What is there and what is missing: categories, counts, split lists.

        Raises HdbenchError when it is not this dataset at all.
        """

    @classmethod
    def missing(cls, what: str) -> HdbenchError:
        """The error for a dataset that is not there, or not whole."""
        return HdbenchError(f"{what}; get {cls.title} from {cls.obtain} (docs/datasets.md), or name where it lies.")


def as_it_is(shape: Shape) -> Shape:
    """`shape` in the coordinates that it was published in."""
    return shape


def verify(dataset: type[Published], path: Path) -> Iterator[Finding]:
    """Everything that can be checked of a dataset without reading its shapes; SHA256SUMS where there is one."""
    if not path.exists():
        raise dataset.missing(f"There is no file or folder {path}")
    yield from dataset.inspect(path)
    yield from _check_sums(path if path.is_dir() else path.parent)


def _check_sums(folder: Path) -> Iterator[Finding]:
    sums = folder / SUMS
    if not sums.is_file():
        yield Finding("note", f"no {SUMS} beside the data, so its bytes were not compared with anybody's")
        return
    try:
        lines = [line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line.strip()]
        expected = {name.lstrip("*").strip(): sha256 for sha256, name in lines}
    except (OSError, ValueError) as error:
        raise HdbenchError(f"{sums} cannot be read ({error}); write it with sha256sum.") from error
    matching = 0
    for name, sha256 in expected.items():
        if not (folder / name).resolve().is_relative_to(folder.resolve()):
            yield Finding("wrong", f"{SUMS} names {name}, outside the folder")
        elif not (folder / name).is_file():
            yield Finding("wrong", f"{name}: in {SUMS}, but not there")
        elif file_digest(folder / name) != sha256.lower():
            yield Finding("wrong", f"{name}: its sha256 is not that in {SUMS}")
        else:
            matching += 1
    yield Finding("ok", f"{matching} of {len(expected)} files have the sha256 in {SUMS}")


def compared(what: str, found: int, expected: int | None) -> Finding:
    """How many there are, and how many there should be where that is known."""
    if expected is None or found == expected:
        return Finding("ok", f"{what}: {found}" + ("" if expected is None else ", as published"))
    return Finding("wrong", f"{what}: {found}, but {expected} were published")


def read_lines(path: Path) -> list[str]:
    """The lines of a list of names that are not empty; HdbenchError when it cannot be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise HdbenchError(f"{path} cannot be read ({error}); download it again.") from error


def splits_from_lists(lists: Mapping[Split, Iterable[str]], where: Path) -> dict[str, Split]:
    """Split by name; HdbenchError where one name stands in two of the lists."""
    splits: dict[str, Split] = {}
    for split in SPLITS:
        for name in lists.get(split, ()):
            if splits.setdefault(name, split) != split:
                raise HdbenchError(f"The lists in {where} put {name!r} into both {splits[name]} and {split}; keep one.")
    return splits


def split_lists(folder: Path) -> dict[str, Split]:
    """Split by name, from HyperDiffusion's `<split>_split.lst` in `folder`, suffixes dropped; empty without any.

    Raises HdbenchError where some of the three are missing.
    """
    paths: dict[Split, Path] = {split: folder / f"{split}_split.lst" for split in SPLITS}
    there = [path for path in paths.values() if path.is_file()]
    if not there:
        return {}
    if absent := [path.name for path in paths.values() if path not in there]:
        raise HdbenchError(f"{folder} lacks {', '.join(absent)}, which belongs to {there[0].name}; copy it there too.")
    return splits_from_lists(
        {split: [without_suffixes(name) for name in read_lines(path)] for split, path in paths.items()}, folder
    )


def without_suffixes(name: str) -> str:
    """A shape's name without folder, `.obj` or `.npy`."""
    return Path(name).name.removesuffix(".npy").removesuffix(".obj")
