"""Commands about leaderboards: add entries, check them, build and publish the site."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdbench.cli_options import Quiet, choose_progress, names, open_workshop
from hdbench.errors import HdbenchError

if TYPE_CHECKING:
    from hdbench.leaderboard.lint import Finding

leaderboard_app = typer.Typer(
    help="Leaderboards: sets of samples scored here, ranked, and shown as a static site.", no_args_is_help=True
)

Board = Annotated[Path, typer.Argument(help="The leaderboard's folder.")]
Name = Annotated[str, typer.Option(help="What the entry is called; for samples that do not say it themselves.")]
MethodName = Annotated[str, typer.Option("--method", help="Its family, such as pvd; the name if not given.")]
Control = Annotated[bool, typer.Option("--control", help="Show it beside the models, unranked.")]
Dataset = Annotated[str, typer.Option(help="A dataset's name, or a folder or .npz of your own shapes.")]
CategoryName = Annotated[str, typer.Option("--category", help="What was generated: airplane, chair, …")]
Url = Annotated[str, typer.Option(help="Where the code or weights are, https://…")]
Paper = Annotated[str, typer.Option(help="Where the paper is, https://…")]
Licence = Annotated[str, typer.Option(help="Of the samples, such as CC-BY-4.0.")]
Authors = Annotated[str, typer.Option(help="Who made it.")]
Card = Annotated[Path | None, typer.Option(help="A text file about the entry.")]
Sha256 = Annotated[str, typer.Option(help="That the file of samples must have.")]


@leaderboard_app.command("add", epilog="Example: hdbench leaderboard add runs/airplane-0123456789 --board leaderboard")
def add(
    paths: Annotated[
        list[Path], typer.Argument(help="Runs, submissions (.zip, or a folder with entry.json), or samples.")
    ],
    board: Annotated[Path, typer.Option(help="The leaderboard's folder; made if there is none.")] = Path("leaderboard"),
    name: Name = "",
    method: MethodName = "",
    control: Control = False,
    dataset: Dataset = "",
    category: CategoryName = "",
    protocol: Annotated[
        str, typer.Option(help="Comma-separated; of a new board, what all entries are scored under.")
    ] = "",
    url: Url = "",
    paper: Paper = "",
    licence: Licence = "",
    authors: Authors = "",
    card: Card = None,
    sha256: Sha256 = "",
    quiet: Quiet = False,
) -> None:
    """Score sets of samples and add them to a leaderboard; exit code 1 if one does not pass the lint."""
    from hdbench.leaderboard.add import add as add_all
    from hdbench.leaderboard.submission import Details

    details = Details(
        name=name,
        method=method,
        is_control=control,
        dataset=dataset,
        category=category,
        protocols=names(protocol),
        sha256=sha256,
        url=url,
        paper=paper,
        licence=licence,
        authors=authors,
        card=_text(card),
    )
    added = add_all(paths, board, details, open_workshop(choose_progress(quiet=quiet), "cpu"))
    for entry in added:
        print(f"{entry.outcome}: {entry.name}: {entry.detail}")
        _tell(entry.findings)
    if any(entry.outcome == "refused" for entry in added):
        raise typer.Exit(1)


@leaderboard_app.command(
    "pack",
    epilog="Example: hdbench leaderboard pack samples.npz entry.zip --name X --dataset procedural --category car",
)
def pack(
    samples: Annotated[Path, typer.Argument(help="A run's samples/METHOD, an .npz, or a folder of shapes.")],
    archive: Annotated[Path, typer.Argument(help="The zip file to write.")],
    name: Name,
    dataset: Dataset,
    category: CategoryName,
    method: MethodName = "",
    protocol: Annotated[str, typer.Option(help="Comma-separated; what it is meant for.")] = "",
    url: Url = "",
    paper: Paper = "",
    licence: Licence = "",
    authors: Authors = "",
    card: Card = None,
    quiet: Quiet = False,
) -> None:
    """Pack samples as a submission, with the version of the dataset and their hash; add takes it anywhere."""
    from hdbench.leaderboard.add import pack as pack_one
    from hdbench.leaderboard.submission import Details
    from hdbench.store import refuse_unwritable

    refuse_unwritable(archive)
    details = Details(
        name=name,
        method=method,
        dataset=dataset,
        category=category,
        protocols=names(protocol),
        url=url,
        paper=paper,
        licence=licence,
        authors=authors,
        card=_text(card),
    )
    entry = pack_one(samples, archive, details, open_workshop(choose_progress(quiet=quiet), "cpu"))
    print(f"{archive}: {entry.samples.count} samples for {entry.dataset}")


@leaderboard_app.command("lint", epilog="Example: hdbench leaderboard lint leaderboard")
def lint(board: Board) -> None:
    """Check every entry of a leaderboard: hashes, identities of scores, signatures; exit code 1 if one fails."""
    from hdbench.leaderboard.entry import open_entries
    from hdbench.leaderboard.lint import lint_board

    _end_with(lint_board(board), f"{len(open_entries(board))} entries checked.")


@leaderboard_app.command("build", epilog="Example: hdbench leaderboard build leaderboard site")
def build(
    board: Board,
    site: Annotated[Path, typer.Argument(help="The folder to write; a site that stands there is replaced.")],
    quiet: Quiet = False,
) -> None:
    """Check a leaderboard and write it as a static site; exit code 1 if an entry does not pass the lint."""
    from hdbench.leaderboard.site import build as build_site

    _end_with(build_site(board, site, progress=choose_progress(quiet=quiet)), str(site / "index.html"))


@leaderboard_app.command("publish", epilog="Example: hdbench leaderboard publish leaderboard hf://datasets/me/board")
def publish(
    board: Board,
    target: Annotated[str, typer.Argument(help="A folder, or hf://datasets/OWNER/NAME on the Hugging Face hub.")],
    quiet: Quiet = False,
) -> None:
    """Build the site and publish it, on the hub with all entries; exit code 1 if an entry does not pass the lint."""
    from hdbench.leaderboard.publish import publish as publish_board

    _end_with(publish_board(board, target, progress=choose_progress(quiet=quiet)), f"Published to {target}")


def _text(card: Path | None) -> str:
    if card is None:
        return ""
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HdbenchError(f"{card} cannot be read as text ({error}).") from error


def _tell(findings: Sequence["Finding"]) -> None:
    for finding in findings:
        print(finding)


def _end_with(findings: Sequence["Finding"], done: str) -> None:
    """Print the findings; then `done`, or leave with exit code 1 where one is an error."""
    _tell(findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)
    print(done)
