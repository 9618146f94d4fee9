"""A dataset of shapes that lie in files: what all datasets on disk have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdbench.datasets.base import SPLITS, Dataset, Split
from hdbench.datasets.contents import content_digest
from hdbench.datasets.preparation import Inside, Normalise, Prepared, prepare_entries
from hdbench.datasets.readers import Entry
from hdbench.errors import HdbenchError, unknown_name
from hdbench.progress import Progress
from hdbench.shapes import Bool, Float32, Mesh, Shape
from hdbench.shapes import Sequence as Frames
from hdbench.store import Store, digest


class Collection(Dataset):
    """Shapes from files. A subclass finds entries (`_read`), then gives each a split (`_settle`).

    Every file is read once when the dataset is first opened, on all cores; not again by those who give the same
    `store` (see `hdbench.datasets.preparation`). What cannot be read, or is of another kind than most, is left out
    and named in `skipped`; with `strict` it is an error.
    """

    layout: ClassVar[str]
    """What fingerprints call datasets of this class."""
    version: ClassVar[int] = 1
    """Raised whenever the same files would give other shapes or other splits."""
    path: Path
    _prepared: Prepared
    _content: str
    _splits: dict[str, Split]

    def _read(
        self,
        found: Sequence[Entry],
        normalise: Normalise,
        *,
        store: Store | None,
        progress: Progress | None,
        workers: int | None = None,
    ) -> None:
        """Read all of `found` once, `normalise`d; sets `kind`."""
        progress = progress or Progress()
        self._content = content_digest(found, store=store, progress=progress)
        self._prepared = prepare_entries(
            found, self.path, normalise, self._content, store=store, progress=progress, workers=workers
        )
        self.kind = self._prepared.kind
        self.skipped = dict(self._prepared.skipped)

    def _settle(self, splits: Mapping[str, Split | None], *, unlisted: str, strict: bool, mend: str) -> None:
        """Put each shape into its split, and leave out those without one, which are `unlisted`.

        Raises HdbenchError, which says how to `mend` it, when there are none to train on or none to test on; or any
        left out, if `strict`.
        """
        total = len(splits)
        self.skipped = {
            **self.skipped,
            **{name: unlisted for name, split in splits.items() if split is None and name not in self.skipped},
        }
        self._splits = {name: split for name, split in splits.items() if split and name not in self.skipped}
        if strict and self.skipped:
            name, reason = next(iter(self.skipped.items()))
            raise HdbenchError(
                f"{len(self.skipped)} of {total} shapes in {self.path} cannot be used. The first, {name}: {reason}"
            )
        counts = Counter(self._splits.values())
        if not counts["train"] or not counts["test"]:
            so_far = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
            raise HdbenchError(
                f"{self.path} has no shapes to {'test' if counts['train'] else 'train'} on ({so_far}, "
                f"{len(self.skipped)} skipped); {mend}."
            )

    @property
    def inside(self) -> Mapping[str, Inside]:
        """What winding numbers say of each mesh; known where there is a store."""
        return {name: inside for name, inside in self._prepared.inside.items() if name in self._splits}

    @property
    def is_at_hand(self) -> bool:
        """See `Dataset.is_at_hand`: where meshes are kept in the store, or clouds are read in place."""
        return self._prepared.kept is not None

    def ids(self, split: Split) -> tuple[str, ...]:
        """See `Dataset.ids`; in natural order."""
        return tuple(name for name, its_split in self._splits.items() if its_split == split)

    def shape(self, name: str) -> Shape:
        """See `Dataset.shape`."""
        if name not in self._splits:
            raise unknown_name(f"shape in {self.path}", name, self._splits)
        return self._prepared.shape(name)

    def occupancy(self, name: str, points: Float32, *, frame: int = 0) -> Bool:
        """See `Dataset.occupancy`; by winding number, so that meshes need not be watertight."""
        from hdbench.geometry.occupancy import THRESHOLD, winding_number

        shape = self.shape(name)
        solid = shape.frames[frame] if isinstance(shape, Frames) else shape
        if not isinstance(solid, Mesh):
            raise HdbenchError(f"{name} in {self.path}: a cloud of points encloses nothing; occupancy needs meshes.")
        return winding_number(solid, points) >= THRESHOLD  # preparation has turned the faces outwards

    def fingerprint(self) -> dict[str, Any]:
        """See `Dataset.fingerprint`: the content of every file, wherever the files lie."""
        return {
            "name": self.layout,
            "version": self.version,
            "category": self.category,
            "content": self._content,
            "splits": digest(self._splits),
        }
