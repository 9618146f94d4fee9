"""The report of a run, written into its folder: report.html, report.md, leaderboard.csv and leaderboard.tex."""

from pathlib import Path

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.reporting.export import table, to_csv
from hdbench.reporting.html import render_html
from hdbench.reporting.markdown import render_latex, render_markdown
from hdbench.reporting.paper_figures import draw_figures
from hdbench.reporting.pictures import draw_pictures
from hdbench.reporting.tables import board
from hdbench.results import load_results
from hdbench.store import write_atomic


def write_report(run: Path, *, progress: Progress) -> list[Path]:
    """Write the report of the run in folder `run` from what stands there; returns the files.

    The same folder gives the same bytes. Raises HdbenchError when results.json is missing, unreadable or not
    what hdbench writes.
    """
    if not (run / "results.json").is_file():
        raise HdbenchError(f"{run} is not the folder of a run: it holds no results.json; make one with hdbench run.")
    results = load_results(run)
    arranged = board(results)
    pictures = draw_pictures(run, results, arranged, progress=progress)
    files = {
        "report.html": render_html(results, arranged, pictures, draw_figures(run, arranged)),
        "report.md": render_markdown(results, arranged),
        "leaderboard.csv": to_csv(table(results)),
        "leaderboard.tex": render_latex(results, arranged),
    }
    for name, text in files.items():
        write_atomic(run / name, text)
    return [run / name for name in files]
