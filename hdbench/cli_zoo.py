"""Commands about the zoo: published models listed, fetched, verified, made and published."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdbench.cli_options import (
    AsJson,
    Device,
    Limit,
    Preset,
    Quiet,
    Set,
    choose_progress,
    names,
    open_workshop,
    print_table,
)
from hdbench.errors import HdbenchError

if TYPE_CHECKING:
    from hdbench.stages import Workshop
    from hdbench.zoo.catalogue import Entry

zoo_app = typer.Typer(help="The zoo: published models to use, verify and publish.", no_args_is_help=True)

Model = Annotated[
    str, typer.Argument(help="A model of the zoo, or a folder or URL (hf://OWNER/NAME, …) with a model.toml.")
]


@zoo_app.command("list", epilog="Example: hdbench zoo list")
def zoo_list(as_json: AsJson = False) -> None:
    """List the published models."""
    from hdbench.zoo.catalogue import entries
    from hdbench.zoo.manifest import EMBEDDED, total_size

    rows = [
        (
            entry.name,
            entry.manifest.method,
            entry.manifest.category,
            f"{entry.manifest.dataset.name}, {entry.manifest.preset}",
            entry.manifest.status,
            f"{total_size(entry.manifest.files)}{'' if EMBEDDED in entry.manifest.sources else ' to fetch'}",
        )
        for entry in entries()
    ]
    print_table(("name", "method", "category", "trained on, by", "status", "weights"), rows, as_json=as_json)


@zoo_app.command("show", epilog="Example: hdbench zoo show voxel-airplane")
def zoo_show(model: Model, as_json: AsJson = False) -> None:
    """Print a model's card, or what its model.toml says as JSON."""
    from hdbench.zoo.card import card_text, written_prose
    from hdbench.zoo.exchange import find

    entry = find(model)
    if as_json:
        print(entry.manifest.model_dump_json(indent=1, by_alias=True))
    else:
        print(card_text(entry.name, entry.manifest, prose=written_prose(entry.folder)), end="")


@zoo_app.command("pull", epilog="Example: hdbench zoo pull voxel-airplane --out voxel-airplane")
def zoo_pull(
    model: Model,
    out: Annotated[Path | None, typer.Option(help="The model's new folder; models/NAME if not given.")] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch a model, verify it, and write it into a folder that `hdbench sample` reads."""
    from hdbench.zoo.exchange import find, pull

    entry = find(model)
    folder = out or Path("models") / entry.name
    pull(entry, folder, open_workshop(choose_progress(quiet=quiet), "cpu"))
    print(f"Model: {folder}")


@zoo_app.command("push", epilog="Example: hdbench zoo push voxel-airplane me/voxel-airplane")
def zoo_push(
    model: Model,
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    quiet: Quiet = False,
) -> None:
    """Publish a model's card and weights on the hub, with the token of `hf auth login` or HF_TOKEN."""
    from hdbench.zoo.exchange import find, push

    workshop = open_workshop(choose_progress(quiet=quiet), "cpu")
    source = push(find(model), repository, store=workshop.store, progress=workshop.progress, private=private)
    print(f"Published. The source for its model.toml: {source}")


@zoo_app.command("verify", epilog="Example: hdbench zoo verify voxel-airplane")
def zoo_verify(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models of the zoo, folders or URLs; all if none given.")
    ] = None,
    links: Annotated[
        bool, typer.Option("--links", help="Instead, read every file from every source and check its hash.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="Where the data lie, if not known by the name in model.toml.")
    ] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Draw from models and score them again; exit code 1 where a score leaves its interval."""
    from hdbench.zoo.catalogue import entries
    from hdbench.zoo.exchange import find

    chosen = [find(name) for name in models or ()] or entries()
    workshop = open_workshop(choose_progress(quiet=quiet), device)
    with tempfile.TemporaryDirectory() as scratch:
        holds = [_holds(entry, Path(scratch), workshop, links=links, dataset=dataset) for entry in chosen]
    if not all(holds):
        raise typer.Exit(1)


def _holds(entry: "Entry", scratch: Path, workshop: "Workshop", *, links: bool, dataset: str | None) -> bool:
    """Whether a model does what it states, printed line by line; one that cannot be had at all does not."""
    try:
        return _links_hold(entry, scratch, workshop) if links else _scores_hold(entry, scratch, workshop, dataset)
    except HdbenchError as error:
        print(f"FAILED  {entry.name}: {error}")
        return False


def _links_hold(entry: "Entry", scratch: Path, workshop: "Workshop") -> bool:
    from hdbench.zoo.fetch import check_links

    defects = check_links(entry, scratch / entry.name, progress=workshop.progress)
    for source, reason in defects.items():
        print(f"{'FAILED' if reason else 'ok':6}  {entry.name}: {source}" + (f": {reason}" if reason else ""))
    return not any(defects.values())


def _scores_hold(entry: "Entry", scratch: Path, workshop: "Workshop", dataset: str | None) -> bool:
    from hdbench.zoo.verification import room, verify

    verdicts = verify(entry, workshop, room(workshop, scratch / entry.name), dataset=dataset)
    for verdict in verdicts:
        stated, found = verdict.expected, "nothing" if verdict.found is None else f"{verdict.found:.4g}"
        line = f"{entry.name}: {stated.protocol} {stated.metric} {found}, stated {stated.value:.4g}"
        print(f"{'FAILED' if verdict.reason else 'ok':6}  {line}" + (f": {verdict.reason}" if verdict.reason else ""))
    if not verdicts:
        print(f"ok      {entry.name}: its files; it states no scores")
    return not any(verdict.reason for verdict in verdicts)


@zoo_app.command("add", epilog="Example: hdbench zoo add runs/airplane-0123456789 --half --status reproduces")
def zoo_add(
    source: Annotated[Path, typer.Argument(help="A run's folder, or the model's folder of hdbench fit.")],
    methods: Annotated[
        str, typer.Option(help="Of a run only these, comma-separated; all it trained if not given.")
    ] = "",
    category: Annotated[str | None, typer.Option(help="Of a model's folder: the category it was trained on.")] = None,
    dataset: Annotated[str, typer.Option(help="Of a model's folder: the dataset it was trained on.")] = "procedural",
    preset: Preset = "default",
    changes: Set = None,
    limit: Limit = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store matrices as float16, unless that costs anything.")
    ] = False,
    status: Annotated[str, typer.Option(help="reproduces, 'does not', or unverified.")] = "unverified",
    licence: Annotated[str, typer.Option(help="An SPDX identifier.")] = "MIT",
    origin: Annotated[str | None, typer.Option(help="Its commit or paper; from the run if not given.")] = None,
    selection: Annotated[str | None, typer.Option(help="How the checkpoint was selected.")] = None,
    sources: Annotated[str, typer.Option(help="Comma-separated URLs of folders that hold the files.")] = "embedded",
    zoo: Annotated[
        Path | None, typer.Option(help="Where entries lie; the first of HDBENCH_ZOO, or hdbench's own, if not given.")
    ] = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Make zoo entries of trained models: files, hashes, expected scores, model.toml and card."""
    from pydantic import ValidationError

    from hdbench.recipe import first_complaint
    from hdbench.zoo.add import SELECTION, Statement, add_model, add_run
    from hdbench.zoo.catalogue import zoo_folders

    workshop, target = open_workshop(choose_progress(quiet=quiet), device), zoo or zoo_folders()[0]
    stated = {
        "status": status,
        "licence": licence,
        "origin": origin,
        "selection": selection or SELECTION,
        "sources": names(sources),
        "half": half,
    }
    try:
        statement = Statement.model_validate(stated)
        if not source.is_dir():
            raise HdbenchError(f"There is no folder {source}; give a run's, or a model's as hdbench fit writes it.")
        if (source / "results.json").is_file():
            if category or changes or limit or (dataset, preset) != ("procedural", "default"):
                raise HdbenchError(
                    f"{source} is a run, which says itself what its models were trained on and how; leave out "
                    "--category, --dataset, --preset, --set and --limit."
                )
            made = add_run(source, target, workshop, statement, methods=names(methods))
        elif category is None:
            raise HdbenchError(f"{source} is no run's folder; of a model's, give its --category.")
        else:
            made = [
                add_model(
                    source,
                    target,
                    workshop,
                    statement,
                    category=category,
                    dataset=dataset,
                    preset=preset,
                    changes=tuple(changes or ()),
                    limit=limit,
                )
            ]
    except ValidationError as error:
        raise HdbenchError(f"model.toml: {first_complaint(error)}.") from error
    for entry in made:
        print(f"{entry.folder}: {entry.manifest.size / 1e6:.2f} MB, {len(entry.manifest.expected)} expected scores")


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
        from hdbench.extractors import import_checkpoint

        print(f"Imported as {import_checkpoint(file, name=name, verify=verify).signature}.")
        return
    from hdbench.errors import unknown_name
    from hdbench.method import get_method, method_names
    from hdbench.models import import_original
    from hdbench.recipe import parse_changes

    if kind not in method_names():
        raise unknown_name("kind of checkpoint", kind, ["pointnet2", *method_names()])
    folder = out or Path("models") / f"{kind}-{file.stem}"
    workshop = open_workshop(choose_progress(quiet=True), "cpu")
    method, changed = get_method(kind), parse_changes(changes or ())
    what = import_original(method, file, folder, workshop, category=category, changes=changed)
    print(f"Imported {what}: {folder}")
