"""Every command: parse, call, print; and where exceptions become exit codes. Only `cli*.py` print.

What the commands share is in `cli_options`; each group of commands has its own module, methods and protocols share
`cli_groups`.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import atexit
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from hdbench.cli_data import data_app
from hdbench.cli_groups import methods_app, protocols_app
from hdbench.cli_leaderboard import leaderboard_app
from hdbench.cli_options import (
    AsJson,
    Category,
    Dataset,
    Device,
    EngineName,
    Limit,
    LogFile,
    Preset,
    Protocol,
    Quiet,
    Set,
    Strict,
    choose_progress,
    console,
    device_called,
    engine_called,
    names,
    open_workshop,
    print_table,
)
from hdbench.cli_runs import runs_app
from hdbench.cli_zoo import zoo_app
from hdbench.errors import DISK_ERRORS, HdbenchError, system_error
from hdbench.memory import keep_freed_memory
from hdbench.redaction import redacted
from hdbench.version import __version__

BAD_INPUT = 2
INTERRUPTED = 130
UNDERPOWERED = 3

app = typer.Typer(
    name="hdbench",
    help="Train or download, sample, score and compare generative models of 3D and 4D shapes.",
    epilog="Example: hdbench run --category airplane",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(leaderboard_app, name="leaderboard")
app.add_typer(methods_app, name="methods")
app.add_typer(protocols_app, name="protocols")
app.add_typer(runs_app, name="runs")
app.add_typer(zoo_app, name="zoo")


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Show the version."""
    if show:
        print(__version__)
        raise typer.Exit


@app.command(epilog="Example: hdbench run --category chair --dataset my_chairs/ --methods hyperdiffusion,noise")
def run(
    category: Category,
    dataset: Dataset = "procedural",
    methods: Annotated[str, typer.Option(help="Comma-separated; all that support the dataset if not given.")] = "",
    preset: Preset = "default",
    protocol: Protocol = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Samples per method; as many as references if not given.")
    ] = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Sample sets per method, from seeds S, S+1, …")] = 1,
    device: Device = "auto",
    changes: Set = None,
    figures: Annotated[bool, typer.Option("--figures", help="Show denoising and interpolation in the report.")] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Train every method, also where the zoo has its model.")
    ] = False,
    engine: EngineName = "local",
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/CATEGORY-HASH if not given.")] = None,
    strict: Strict = False,
    log_file: LogFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fit all methods to a category, sample, score against held-out shapes, and write the report."""
    from hdbench.benchmark import Plan, Run
    from hdbench.results import to_json
    from hdbench.store import Store

    plan = Plan(
        category=category,
        dataset=dataset,
        methods=names(methods),
        preset=preset,
        protocol=protocol,
        count=count,
        limit=limit,
        seed=seed,
        seeds=seeds,
        device=device_called(device),
        strict=strict,
        changes=tuple(changes or ()),
        figures=figures,
        train=train,
    )
    progress = choose_progress(quiet=quiet, log_file=log_file, device=plan.device)
    folder = out or Path("runs") / plan.folder_name
    carried = Run(plan, store=Store(progress=progress), folder=folder, progress=progress, engine=engine_called(engine))
    progress.say(carried.outline())
    results = carried.execute()
    if as_json:
        print(to_json(results), end="")
        return
    from hdbench.reporting.console import run_table

    console().print(run_table(results))
    print(f"Report: {folder / 'report.html'}")


@app.command(epilog="Example: hdbench fit hyperdiffusion --category airplane --set fields.octaves=0")
def fit(
    method: Annotated[str, typer.Argument(help="The method; see `hdbench methods list`.")],
    category: Category,
    dataset: Dataset = "procedural",
    preset: Preset = "default",
    limit: Limit = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    device: Device = "auto",
    changes: Set = None,
    from_fields: Annotated[
        Path | None, typer.Option(help="Learn from the neural fields in this folder, not from the dataset's shapes.")
    ] = None,
    engine: EngineName = "local",
    out: Annotated[
        Path | None, typer.Option(help="The model's folder; models/CATEGORY-METHOD-HASH if not given.")
    ] = None,
    strict: Strict = False,
    log_file: LogFile = None,
    quiet: Quiet = False,
) -> None:
    """Fit one method and write its model into a folder; `hdbench run` uses the same model."""
    from hdbench.models import FitPlan, fit_model

    plan = FitPlan(
        method=method,
        category=category,
        dataset=dataset,
        preset=preset,
        limit=limit,
        seed=seed,
        changes=tuple(changes or ()),
        from_fields=from_fields,
        strict=strict,
    )
    progress = choose_progress(quiet=quiet, log_file=log_file, device=device_called(device))
    print(f"Model: {fit_model(plan, open_workshop(progress, device, engine), out)}")


@app.command(epilog="Example: hdbench sample models/airplane-hyperdiffusion-0123456789 --count 64 --seed 1 --out mine")
def sample(
    model: Annotated[Path, typer.Argument(help="A model's folder: of hdbench fit, or hdbench zoo import.")],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    device: Device = "auto",
    engine: EngineName = "local",
    out: Annotated[Path | None, typer.Option(help="The samples' folder; MODEL-samples-SEED if not given.")] = None,
    log_file: LogFile = None,
    quiet: Quiet = False,
) -> None:
    """Draw shapes from a model; `hdbench evaluate` reads the folder."""
    from hdbench.models import draw_samples

    named = model if model.name not in ("", "..") else model.resolve()
    folder = out or Path(f"{named}-samples-{seed}")
    progress = choose_progress(quiet=quiet, log_file=log_file, device=device_called(device))
    workshop = open_workshop(progress, device, engine)
    drawn = draw_samples(model, folder, workshop, count=count, seed=seed)
    print(f"{drawn} samples: {folder}")


@app.command(
    epilog="Example: hdbench evaluate my_samples/ --reference test/ --protocol hyperdiffusion --json scores.json"
)
def evaluate(
    samples: Annotated[Path, typer.Argument(help="Generated shapes: a folder, an .npz or an .npy.")],
    reference: Annotated[Path, typer.Option(help="The real shapes to compare with.")],
    train: Annotated[
        Path | None,
        typer.Option(
            help="The training shapes, for novelty; under pvd, pointflow and lion their moments also de-normalise the "
            "samples (not those of an hdbench run), which changes every score."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="One or more, comma-separated; hyperdiffusion, or hyperdiffusion-4d, if not given."),
    ] = None,
    metrics: Annotated[
        str,
        typer.Option(help="Only these metrics or families, comma-separated: cd, emd, emd_published, …"),
    ] = "",
    extractor: Annotated[str | None, typer.Option(help="Feature extractor of FPD and KPD.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="Chamfer distances by numba, torch, triton or pytorch3d, for a cross-check.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of surface points and intervals.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the scores and their statistics here.")
    ] = None,
    log_file: LogFile = None,
    quiet: Quiet = False,
) -> None:
    """Score anyone's shapes against reference shapes under any paper's protocol."""
    from hdbench.evaluation import evaluate as score
    from hdbench.reporting.console import score_table, signature_lines
    from hdbench.store import refuse_unwritable

    if json_file:
        refuse_unwritable(json_file)
    evaluation = score(
        samples,
        reference,
        train=train,
        protocol=None if protocol is None else names(protocol),
        metrics=names(metrics) or None,
        extractor=extractor,
        backend=backend,
        seed=seed,
        progress=choose_progress(quiet=quiet, log_file=log_file),
    )
    if json_file:
        evaluation.write(json_file)
    if not quiet or not json_file:
        console().print(score_table(evaluation.scores))
        print(signature_lines(evaluation.scores))


@app.command(epilog="Example: hdbench report runs/airplane-0123456789 runs/airplane-9876543210 --out together")
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="A run's folder, or several over the same data.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; the run's own folder, or report-HASH for several.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write the report of a run again from what its folder holds, or one report of several runs."""
    from hdbench.reporting.report import write_report

    for path in write_report(runs, out=out, progress=choose_progress(quiet=quiet)):
        print(path)


@app.command(epilog="Example: hdbench gate new.json --against published.json --markdown comment.md")
def gate(
    new: Annotated[Path, typer.Argument(help="Results of hdbench run, or scores of hdbench evaluate --json.")],
    against: Annotated[Path, typer.Option(help="The results to hold them against.")],
    junit: Annotated[Path | None, typer.Option(help="Write the verdicts as JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write them as a pull request's comment here.")] = None,
    floor: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=CHANGE", help="Forgive changes up to this; repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail where a change could not have been seen.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the paired comparison.")] = 0,
) -> None:
    """Say of each metric whether a model has become worse; exit code 1 when one has."""
    from hdbench.gate import gate as judge
    from hdbench.reporting.verdicts import headline, plain, to_junit, to_markdown, verdict_table
    from hdbench.store import refuse_unwritable, write_atomic
    from hdbench.thresholds import load_thresholds

    for path in filter(None, (junit, markdown)):
        refuse_unwritable(path)
    verdicts = judge(new, against, thresholds=load_thresholds(Path("pyproject.toml"), floor or ()), seed=seed)
    if junit:
        write_atomic(junit, to_junit(verdicts))
    if markdown:
        write_atomic(markdown, to_markdown(verdicts))
    console().print(verdict_table(verdicts))
    for line in (headline(verdicts), *verdicts.notes):
        print(plain(line))
    if verdicts.has("regressed"):
        raise typer.Exit(1)
    if strict and verdicts.has("underpowered"):
        raise typer.Exit(UNDERPOWERED)


@app.command(epilog="Example: hdbench doctor")
def doctor(as_json: AsJson = False) -> None:
    """Check this installation: packages, device, kernels against plain arithmetic, store; exit code 1 if one fails."""
    from hdbench.doctor import diagnose

    findings = diagnose()
    rows = [("ok" if finding.healthy else "FAILED", finding.name, finding.detail) for finding in findings]
    print_table(("state", "what", "detail"), rows, as_json=as_json)
    if not all(finding.healthy for finding in findings):
        raise typer.Exit(1)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; ends the process with DESIGN's exit codes."""
    code = _main(arguments)
    if code == INTERRUPTED and arguments is None:
        # Exit handlers are heard, but no native library is torn down: one cut short while it loaded may crash at that.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _main(arguments: Sequence[str] | None) -> int:
    # Before torch loads: threads that spin while they wait stall each other when the machine has other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    command: Any = typer.main.get_command(app)
    # Typer keeps click's exceptions in another place from version to version; all derive from this one's base.
    usage_error: type[Any] = typer.BadParameter.__bases__[0]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without the character shows a mark, not a traceback
    try:
        code = command.main(args=arguments, prog_name="hdbench", standalone_mode=False) or 0
    except HdbenchError as error:
        return _complain(str(error))
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return BAD_INPUT
        return _complain(f"{error.format_message().rstrip('.')}. See hdbench --help.")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        number = system_error(error)
        if number is None or number not in DISK_ERRORS:
            raise
        where = getattr(error, "filename", None) or "writing"
        return _complain(f"{os.strerror(number)}: {where}; nothing finished is lost, run it again when that is mended.")
    if code == INTERRUPTED:
        print("hdbench: interrupted; nothing finished is lost, the same command goes on from here.", file=sys.stderr)
    return code


def _complain(message: str) -> int:
    print(f"hdbench: {redacted(' '.join(message.split()))}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    main()
