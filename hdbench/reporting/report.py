"""The report of one run or several: report.html, report.md, leaderboard.csv and leaderboard.tex."""

from collections.abc import Sequence
from pathlib import Path

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.reporting.content import Content
from hdbench.reporting.export import table, to_csv
from hdbench.reporting.html import render_html
from hdbench.reporting.markdown import render_latex, render_markdown
from hdbench.reporting.merging import Record, open_runs
from hdbench.reporting.paper_figures import draw_figures
from hdbench.reporting.pictures import draw_pictures, shown_lines
from hdbench.results import Results, to_json
from hdbench.store import digest, file_digest, refuse_unwritable, write_atomic


def write_report(
    runs: Path | Sequence[Path], *, out: Path | None = None, progress: Progress | None = None
) -> list[Path]:
    """Write the report of the run in a folder, or of several over the same data as one; returns the files.

    Args:
        runs: The folder of a run, or several; nothing else is read.
        out: Where to write; None is the run's own folder, or for several `report-<hash of their results>`. Elsewhere
            than in the run's own folder, results.json and the statistics behind it are written too.
        progress: Where to show how far it is.

    The same folders give the same bytes. Raises HdbenchError when a results.json is missing, unreadable or not what
    hdbench writes, for runs over different data, and when nothing can be written there.
    """
    folders = [runs] if isinstance(runs, Path) else list(runs)
    record = open_runs(folders)
    target = out or (folders[0] if len(record.folders) == 1 else _usual_folder(record))
    is_foreign = target.resolve() not in [folder.resolve() for folder in record.folders]
    if is_foreign and (target / "plan.json").exists():
        raise HdbenchError(f"{target} holds another run; choose another folder with --out.")
    refuse_unwritable(target / "results.json")  # before minutes of drawing
    content = Content(record)
    pictures = draw_pictures(record, content.board, content.statistics, progress=progress or Progress())
    files = {
        "report.html": render_html(content, pictures, draw_figures(record, shown_lines(content.board))),
        "report.md": render_markdown(content),
        "leaderboard.csv": to_csv(table(record.results)),
        "leaderboard.tex": render_latex(content),
    }
    if is_foreign:
        files["results.json"] = to_json(_brought_along(record, target))
    for name, text in files.items():
        write_atomic(target / name, text)
    return [target / name for name in files]


def _usual_folder(record: Record) -> Path:
    return Path(f"report-{digest([file_digest(folder / 'results.json') for folder in record.folders])[:10]}")


def _brought_along(record: Record, target: Path) -> Results:
    """The results, their statistics copied to `target` under names that no two runs share."""
    rows = []
    for row in record.results.rows:
        copied = {}
        for name, sha256 in row.statistics.items():
            source = record.home(row) / Path(name).name
            if source.is_file():
                own = f"{record.folders.index(record.home(row)):03d}-{source.name}"
                write_atomic(target / own, source.read_bytes())
                copied[own] = sha256
        rows.append(row.model_copy(update={"statistics": copied}))
    return record.results.model_copy(update={"rows": rows})
