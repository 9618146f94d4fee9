"""Commands about what earlier runs left in the store."""

import json
from typing import Annotated

import typer

from hdbench.cli_options import AsJson, print_table
from hdbench.errors import HdbenchError

runs_app = typer.Typer(help="The store: what runs have left there, and how large it is.", no_args_is_help=True)

Stage = Annotated[str | None, typer.Option(help="Only this stage: shapes, prepare, model, samples, scores, …")]


@runs_app.command("list", epilog="Example: hdbench runs list --stage model")
def runs_list(stage: Stage = None, as_json: AsJson = False) -> None:
    """List what lies in the store, the largest first."""
    from hdbench.runs import age_in_words, kept_in, now, of_stage, size_in_words
    from hdbench.store import default_remote, default_root

    root, time = default_root(), now()
    found = of_stage(kept_in(root), stage)
    if as_json:
        rows = [(item.stage, item.key, str(item.size), f"{time - item.used:.0f}", item.what) for item in found]
        print_table(("stage", "key", "bytes", "seconds since used", "what"), rows, as_json=True)
        return
    shown = [
        (item.stage, item.key[:12], size_in_words(item.size), age_in_words(time - item.used), item.what)
        for item in found
    ]
    print_table(("stage", "key", "size", "used", "what"), shown, as_json=False)
    print(f"{len(found)} in {root}: {size_in_words(sum(item.size for item in found))}")
    if remote := default_remote():
        print(f"The store {remote} stands behind it; what is only there is not listed.")


@runs_app.command("show", epilog="Example: hdbench runs show 3f6c1d")
def runs_show(key: Annotated[str, typer.Argument(help="The beginning of a key, as runs list shows it.")]) -> None:
    """Print what one artefact was made from, and its files."""
    from hdbench.runs import age_in_words, find, kept_in, now, size_in_words
    from hdbench.store import default_root

    item = find(kept_in(default_root()), key)
    print(f"{item.stage} {item.key}, {item.state}, {size_in_words(item.size)}, by hdbench {item.hdbench or 'unknown'}")
    print(f"made {age_in_words(now() - item.made)} ago, used {age_in_words(now() - item.used)} ago")
    print(item.folder)
    for path in sorted(path for path in item.folder.rglob("*") if path.is_file()):
        print(f"  {path.relative_to(item.folder).as_posix()}  {size_in_words(path.stat().st_size)}")
    print(json.dumps(dict(item.inputs), indent=1))


@runs_app.command("clean", epilog="Example: hdbench runs clean --unused 30 --keep 20GB --dry-run")
def runs_clean(
    older: Annotated[float | None, typer.Option(min=0, metavar="DAYS", help="Made more than so many days ago.")] = None,
    unused: Annotated[float | None, typer.Option(min=0, metavar="DAYS", help="Not used for so many days.")] = None,
    keep: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The least recently used, until no more than this is left: 20GB.")
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="What killed commands left to be resumed, and what is damaged.")
    ] = False,
    stage: Stage = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove from the store what is old, unused or too much; it is made again when it is needed again.

    Of a store at a URL only the part that this machine keeps.
    """
    from hdbench.runs import kept_in, now, parse_size, removable, remove, size_in_words
    from hdbench.store import default_remote, default_root

    if older is None and unused is None and keep is None and not unfinished:
        raise HdbenchError("What shall go? Give --older, --unused, --keep or --unfinished.")
    root = default_root()
    going = removable(
        kept_in(root),
        now=now(),
        older=older,
        unused=unused,
        keep=None if keep is None else parse_size(keep),
        unfinished=unfinished,
        stage=stage,
    )
    gone = [item for item in going if dry_run or remove(root, item)]
    for item in gone:
        print(f"{item.stage} {item.key[:12]}  {size_in_words(item.size)}  {item.what}")
    done = "would go" if dry_run else "removed"
    print(f"{len(gone)} {done}: {size_in_words(sum(item.size for item in gone))}")
    if remote := default_remote():
        print(f"In the store {remote} all stays: remove there what nobody needs, by folder or by the bucket's rules.")
