"""Commands about what there is: datasets, methods, protocols."""

from pathlib import Path
from typing import Annotated

import typer

from hdbench.cli_options import AsJson, Category, Quiet, Strict, print_table

data_app = typer.Typer(help="Datasets: list them, or prepare one ahead of a run.", no_args_is_help=True)
methods_app = typer.Typer(help="Methods: list them, or test that one keeps the contract.", no_args_is_help=True)
protocols_app = typer.Typer(help="Protocols: exactly how shapes become numbers.", no_args_is_help=True)


@data_app.command("list", epilog="Example: hdbench data list")
def data_list(as_json: AsJson = False) -> None:
    """List the datasets and the categories they have."""
    from hdbench.datasets.registry import describe_datasets

    print_table(("dataset", "categories", "what it is"), describe_datasets(), as_json=as_json)


@data_app.command("prepare", epilog="Example: hdbench data prepare my_chairs/ --category chair")
def data_prepare(
    dataset: Annotated[str, typer.Argument(help="A dataset's name, or a folder or .npz of shapes.")],
    category: Category,
    strict: Strict = False,
    quiet: Quiet = False,
) -> None:
    """Read a dataset, sample its points into the store, and say what was skipped."""
    from hdbench.benchmark import prepare_dataset
    from hdbench.progress import choose_progress
    from hdbench.store import Store

    progress = choose_progress(quiet=quiet)
    prepared = prepare_dataset(dataset, category, store=Store(progress=progress), strict=strict, progress=progress)
    for split, count in prepared.counts.items():
        print(f"{split}: {count} shapes")
    for name, reason in prepared.skipped.items():
        print(f"skipped {name}: {reason}")


@methods_app.command("list", epilog="Example: hdbench methods list --json")
def methods_list(as_json: AsJson = False) -> None:
    """List the installed methods, ours and those of plug-ins."""
    from hdbench.method import broken_methods, methods

    rows: list[tuple[str, ...]] = [
        (name, method.title, "control" if method.is_control else "method", method.output)
        for name, method in methods().items()
    ]
    rows += [(name, reason, "broken", "") for name, reason in broken_methods().items()]
    print_table(("name", "title", "kind", "makes"), rows, as_json=as_json)


@methods_app.command("test", epilog="Example: hdbench methods test hyperdiffusion")
def methods_test(name: Annotated[str, typer.Argument(help="The method to check.")], quiet: Quiet = False) -> None:
    """Check that a method keeps the contract: fit, save, load, sample, resume; exit code 1 if it does not."""
    import tempfile

    from hdbench.conformance import check_method
    from hdbench.method import get_method
    from hdbench.progress import choose_progress

    method = get_method(name)
    with tempfile.TemporaryDirectory() as folder:
        checks = check_method(method, workspace=Path(folder), progress=choose_progress(quiet=quiet))
    for check in checks:
        print(f"{'passed' if check.passed else 'FAILED'}  {check.name}" + (f": {check.detail}" if check.detail else ""))
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


@protocols_app.command("list", epilog="Example: hdbench protocols list")
def protocols_list(as_json: AsJson = False) -> None:
    """List the protocols."""
    from hdbench.metrics.protocols import PROTOCOLS

    rows = [(protocol.name, protocol.title, protocol.source) for protocol in PROTOCOLS.values()]
    print_table(("name", "title", "source"), rows, as_json=as_json)


@protocols_app.command("show", epilog="Example: hdbench protocols show pvd")
def protocols_show(name: Annotated[str, typer.Argument(help="The protocol.")]) -> None:
    """Print everything a protocol fixes."""
    from hdbench.metrics.protocols import get_protocol
    from hdbench.reporting.protocols import facts_of

    for title, text in facts_of(get_protocol(name)):
        print(f"{title}: {text}")
