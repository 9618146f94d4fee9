"""A board as a static site: nothing but files, no network, no trust in what submitters wrote.

Everything from entries is escaped; the pages' content security policy lets only the one script that hdbench put there
run. Pictures are files beside the pages, so that a board of a thousand entries opens at once.

    index.html               every table, to be sorted and filtered
    models/<id>.html         an entry: scores, gallery, card
    models/<id>.json         its scores, with signatures and hashes
    pictures/<id>-<n>.webp
    leaderboard.csv  leaderboard.json
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hdbench.errors import HdbenchError
from hdbench.leaderboard import words
from hdbench.leaderboard.entry import SCORES_FILE, BoardSettings, StoredEntry, open_entries, open_settings
from hdbench.leaderboard.gallery import read_gallery
from hdbench.leaderboard.lint import Finding, flags, lint_entries
from hdbench.leaderboard.tables import Table, frame, tables
from hdbench.progress import Progress
from hdbench.reporting.export import to_csv
from hdbench.reporting.rounding import rounded
from hdbench.reporting.viewer import script_hashes
from hdbench.store import copy_tree
from hdbench.version import __version__

SITE_FILE = "leaderboard.json"
SITE_SCHEMA = "hdbench/leaderboard-site/1"


def build(board: Path, site: Path, *, progress: Progress) -> list[Finding]:
    """Write the site of the board in a folder into `site`, replacing the site that stood there as a whole.

    Returns the findings; where one is an error, nothing is written. The same board gives the same bytes. Raises
    HdbenchError when the board cannot be read, or when `site` holds anything but a site.
    """
    refuse_foreign(site)
    settings, entries = open_settings(board), open_entries(board)
    if not entries:
        raise HdbenchError(f"{board} has no entries yet; add some with hdbench leaderboard add … --board {board}.")
    if site.resolve() == board.resolve() or board.resolve() in site.resolve().parents:
        raise HdbenchError(f"{site} lies inside the board {board}; choose another folder.")
    with progress.task("Checking entries", len(entries)) as task:
        findings = lint_entries(entries, settings)
        task.advance(len(entries))
    if any(finding.level == "error" for finding in findings):
        return findings
    with tempfile.TemporaryDirectory(prefix="hdbench-site-") as folder:
        _write(Path(folder), settings, entries, tables(entries), progress)
        copy_tree(Path(folder), site)
    return findings


def refuse_foreign(site: Path) -> None:
    """Raise HdbenchError unless `site` is new, empty, or a site that `build` wrote."""
    if not site.exists() or (site.is_dir() and not any(site.iterdir())):
        return
    try:
        is_ours = json.loads((site / SITE_FILE).read_text(encoding="utf-8"))["schema"] == SITE_SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise HdbenchError(f"{site} is not empty and holds no leaderboard's site; choose another folder.")


def _write(
    folder: Path, settings: BoardSettings, entries: Sequence[StoredEntry], boards: Sequence[Table], progress: Progress
) -> None:
    pages = _Pages(settings, boards)
    (folder / "models").mkdir()
    (folder / "pictures").mkdir()
    (folder / "index.html").write_text(pages.index(entries), encoding="utf-8")
    found = frame(boards)
    (folder / "leaderboard.csv").write_text(to_csv(found), encoding="utf-8")
    document = {
        "schema": SITE_SCHEMA,
        "title": settings.title,
        "hdbench": __version__,
        "entries": [stored.entry.model_dump(mode="json", by_alias=True) | {"id": stored.id} for stored in entries],
        "scores": json.loads(found.to_json(orient="records")),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (folder / SITE_FILE).write_text(text + "\n", encoding="utf-8")
    with progress.task("Writing pages", len(entries)) as task:
        for stored in entries:
            tiles = read_gallery(stored.folder)
            (folder / "models" / f"{stored.id}.html").write_text(pages.model(stored, tiles), encoding="utf-8")
            shutil.copyfile(stored.folder / SCORES_FILE, folder / "models" / f"{stored.id}.json")
            for place, tile in enumerate(tiles):
                shutil.copyfile(stored.folder / tile.picture, folder / "pictures" / f"{stored.id}-{place}.webp")
            task.advance()


class _Pages:
    """The pages of one site."""

    def __init__(self, settings: BoardSettings, boards: Sequence[Table]) -> None:
        loader = ChoiceLoader([PackageLoader("hdbench.leaderboard"), PackageLoader("hdbench.reporting")])
        self._environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._environment.globals |= {"words": words, "rounded": rounded, "flags": flags, "version": __version__}
        style, script = self._source("report.css") + self._source("board.css"), self._source("board.js")
        self._environment.globals |= {
            "style": Markup(style),
            "script": Markup(script),
            "policy": _policy(script),
            "settings": settings,
        }
        self._boards = boards
        self._places = {
            stored.id: [] for table in boards for stored in (line.stored for line in (*table.models, *table.controls))
        }
        for table in boards:
            for line in (*table.models, *table.controls):
                self._places[line.stored.id].append((table, line))

    _places: dict[str, list[tuple[Table, Any]]]

    def index(self, entries: Sequence[StoredEntry]) -> str:
        """The page of tables."""
        datasets = list(dict.fromkeys(table.dataset for table in self._boards))
        return self._environment.get_template("index.html.j2").render(
            boards=self._boards,
            shown=[
                [index for index, column in enumerate(table.columns) if column.is_headline] for table in self._boards
            ],
            datasets=datasets,
            protocols=list(dict.fromkeys(table.protocol for table in self._boards)),
            models=sum(not stored.is_control for stored in entries),
            controls=sum(stored.is_control for stored in entries),
        )

    def model(self, stored: StoredEntry, tiles: Sequence[Any]) -> str:
        """The page of one entry."""
        return self._environment.get_template("model.html.j2").render(
            stored=stored, tiles=tiles, places=self._places.get(stored.id, [])
        )

    def _source(self, name: str) -> str:
        assert self._environment.loader is not None
        return self._environment.loader.get_source(self._environment, name)[0]


def _policy(script: str) -> str:
    """Only this very script, inline styles, and pictures from beside the page: `file:` is for pages opened there."""
    allowed = " ".join(script_hashes(f"<script>{script}</script>"))
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src 'self' file: data:; "
        "base-uri 'none'; form-action 'none'"
    )
