"""Commands about what there is: datasets, methods, protocols, the zoo."""

from pathlib import Path
from typing import Annotated

import typer

from hdbench.cli_options import AsJson, Category, Quiet, Set, Strict, open_workshop, print_table

data_app = typer.Typer(help="Datasets: list them, or prepare one ahead of a run.", no_args_is_help=True)
methods_app = typer.Typer(help="Methods: list them, or test that one keeps the contract.", no_args_is_help=True)
protocols_app = typer.Typer(help="Protocols: exactly how shapes become numbers.", no_args_is_help=True)
zoo_app = typer.Typer(help="The zoo: bring in what others have published.", no_args_is_help=True)


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


@zoo_app.command("import", epilog="Example: hdbench zoo import hyperdiffusion last-epoch.ckpt --category airplane")
def zoo_import(
    kind: Annotated[str, typer.Argument(help="A method's name, or pointnet2 (a PointNet++ classifier, for FPD).")],
    file: Annotated[Path, typer.Argument(help="What the original authors published: a file, or a folder of them.")],
    category: Annotated[str | None, typer.Option(help="The category a model was trained on.")] = None,
    changes: Set = None,
    out: Annotated[Path | None, typer.Option(help="The new folder; models/METHOD-FILE if not given.")] = None,
    name: Annotated[str | None, typer.Option(help="pointnet2: what to call it; from the file if not given.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="pointnet2: refuse any file but the published ModelNet40 one.")
    ] = False,
) -> None:
    """Import an original checkpoint without unpickling anything but tensors."""
    if kind == "pointnet2":
        from hdbench.features.extractors import import_checkpoint

        print(f"Imported as {import_checkpoint(file, name=name, verify=verify).signature}.")
        return
    from hdbench.errors import unknown_name
    from hdbench.method import get_method, method_names
    from hdbench.models import import_original
    from hdbench.progress import choose_progress
    from hdbench.recipe import parse_changes

    if kind not in method_names():
        raise unknown_name("kind of checkpoint", kind, ["pointnet2", *method_names()])
    folder = out or Path("models") / f"{kind}-{file.stem}"
    workshop = open_workshop(choose_progress(quiet=True), "cpu")
    method, changed = get_method(kind), parse_changes(changes or ())
    what = import_original(method, file, folder, workshop, category=category, changes=changed)
    print(f"Imported {what}: {folder}")
