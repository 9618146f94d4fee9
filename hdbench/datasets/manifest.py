"""The splits that someone wrote down: a `manifest.csv` beside the data, with the columns `id` and `split`."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

from hdbench.datasets.base import SPLITS, Split
from hdbench.datasets.readers import SUFFIXES
from hdbench.errors import HdbenchError

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Manifest:
    """What a manifest.csv says of each id: its category ("" where there is no such column) and its split."""

    path: Path
    rows: dict[str, dict[str, str]] = field(repr=False)
    """Split by category by id, which is the name of a shape or of its file."""

    @classmethod
    def find(cls, folder: Path) -> "Manifest | None":
        """The manifest in `folder`; None where there is none, or one without the two columns.

        Raises HdbenchError when it cannot be read, or gives one id two splits.
        """
        path = folder / MANIFEST
        if not path.is_file():
            return None
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                table = csv.DictReader(stream)
                if not {"id", "split"} <= set(table.fieldnames or ()):
                    return None
                rows: dict[str, dict[str, str]] = {}
                for row in table:
                    category, split = row.get("category") or "", row["split"] or ""
                    if rows.setdefault(row["id"], {}).setdefault(category, split) != split:
                        raise HdbenchError(f"{path} puts {row['id']!r} into two splits; keep one row of it.")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise HdbenchError(f"{path} cannot be read ({error}); save it as CSV in UTF-8.") from error
        return cls(path, rows)

    def categories(self, name: str) -> set[str]:
        """The categories under which `name` is listed; empty where it is not."""
        return set(self._row(name))

    def split(self, name: str, category: str) -> Split | None:
        """The split of `name` in `category`, or None where it is not listed; HdbenchError for a split nobody knows."""
        row = self._row(name)
        found = row.get(category, row.get(""))
        for split in SPLITS:
            if found == split:
                return split
        if found is None:
            return None
        raise HdbenchError(f"{self.path} puts {name!r} into the split {found!r}; write one of {', '.join(SPLITS)}.")

    def _row(self, name: str) -> dict[str, str]:
        ids = (name, *(name + suffix for suffix in SUFFIXES), *(name + suffix.upper() for suffix in SUFFIXES))
        return next((self.rows[id_] for id_ in ids if id_ in self.rows), {})
