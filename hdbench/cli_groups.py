"""Commands about what there is: methods and protocols."""

from pathlib import Path
from typing import Annotated

import typer

from hdbench.cli_options import AsJson, Quiet, choose_progress, print_table

methods_app = typer.Typer(help="Methods: list them, or test that one keeps the contract.", no_args_is_help=True)
protocols_app = typer.Typer(help="Protocols: exactly how shapes become numbers.", no_args_is_help=True)


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
