"""Commands about datasets: which there are, reading one ahead of a run, checking that one is whole."""

from pathlib import Path
from typing import Annotated

import typer

from hdbench.cli_options import AsJson, Category, Quiet, Strict, choose_progress, print_table

data_app = typer.Typer(
    help="Datasets: list them, prepare one ahead of a run, or check that one is whole.", no_args_is_help=True
)


@data_app.command("list", epilog="Example: hdbench data list")
def data_list(as_json: AsJson = False) -> None:
    """List the datasets, the categories they have, and where they lie here."""
    from hdbench.datasets.registry import describe_datasets

    print_table(("dataset", "categories", "what it is", "where"), describe_datasets(), as_json=as_json)


@data_app.command("prepare", epilog="Example: hdbench data prepare shapenet:ShapeNetCore.v2 --category chair")
def data_prepare(
    dataset: Annotated[str, typer.Argument(help="A dataset's name, NAME:PATH, or a folder or .npz of shapes.")],
    category: Category,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per core if not given.")] = None,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Read every shape of a dataset once, keep it in the store with its points, and say what was skipped."""
    from hdbench.benchmark import prepare_dataset
    from hdbench.store import Store

    progress = choose_progress(quiet=quiet)
    prepared = prepare_dataset(
        dataset, category, store=Store(progress=progress), strict=strict, progress=progress, workers=workers
    )
    for split, count in prepared.counts.items():
        print(f"{split}: {count} shapes")
    for name, reason in prepared.skipped.items():
        print(f"skipped {name}: {reason}")
    for line in prepared.occupancy():
        print(line)


@data_app.command("verify", epilog="Example: hdbench data verify pointflow15k /data/ShapeNetCore.v2.PC15k")
def data_verify(
    dataset: Annotated[str, typer.Argument(help="A dataset's name, NAME:PATH, or the path of one.")],
    path: Annotated[Path | None, typer.Argument(help="Where it lies; found in $HDBENCH_DATA if not given.")] = None,
    category: Annotated[str | None, typer.Option(help="Where a dataset is checked by category: which.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check layout, counts, split lists and hashes of a dataset; exit code 1 if anything is missing or wrong."""
    from hdbench.datasets.registry import verify_dataset
    from hdbench.progress import Progress

    findings = verify_dataset(dataset, path, category, progress=Progress())
    if as_json:
        print_table(("status", "finding"), [(finding.status, finding.text) for finding in findings], as_json=True)
    else:
        for finding in findings:
            print(f"{finding.status:5}  {finding.text}")
    if any(finding.status == "wrong" for finding in findings):
        raise typer.Exit(1)
