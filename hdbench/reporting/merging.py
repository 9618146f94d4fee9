"""Several runs over the same data as one: what `hdbench report RUN RUN…` writes its report of.

A row that several runs have (the same samples of the same model) is there once, with the scores of all of them.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdbench.comparison import read_statistics
from hdbench.errors import HdbenchError
from hdbench.metrics.scoring import Statistics
from hdbench.reporting.plausible import refuse_implausible
from hdbench.results import Provenance, Results, Row, Score, load_results


@dataclass(frozen=True)
class Record:
    """Results, and where the shapes behind them lie."""

    results: Results
    folders: tuple[Path, ...]
    """Those of the runs; the first is where reference and neighbours are looked for first."""
    homes: Mapping[Hashable, Path]

    def home(self, row: Row) -> Path:
        """The folder of the run that `row` is from."""
        return self.homes[_identity(row)]

    def statistics(self, row: Row) -> Statistics | None:
        """What the scores of `row` were made from; None where it was not brought along.

        Raises HdbenchError for a file that is not the one the results name.
        """
        return read_statistics(row.statistics, self.home(row)) if row.statistics else None


def open_runs(folders: Sequence[Path]) -> Record:
    """The runs in `folders` as one.

    Raises HdbenchError for a folder without results, and for runs over different data.
    """
    opened = {folder: _open(folder) for folder in dict.fromkeys(folders)}
    (first, results), *others = opened.items()
    for folder, other in others:
        _refuse_other_data(first, results, folder, other)
    ambiguous = _made_by_several(opened.values())
    rows: dict[Hashable, Row] = {}
    homes: dict[Hashable, Path] = {}
    for folder, document in opened.items():
        for row in document.rows:
            is_told_apart = (row.method, row.title) in ambiguous
            title = f"{row.title} @{_code(document)[:7]}" if is_told_apart else row.title
            titled = row.model_copy(update={"title": title})
            key = _identity(titled)
            homes.setdefault(key, folder)
            rows[key] = _united(rows[key], titled) if key in rows else titled
    if others:
        update = {"run": _plan(opened), "rows": list(rows.values()), "provenance": _provenance(opened.values())}
        update["timeline"] = []  # of one command
        results = results.model_copy(update=update)
    return Record(results, tuple(opened), homes)


def _open(folder: Path) -> Results:
    if not (folder / "results.json").is_file():
        raise HdbenchError(f"{folder} is not the folder of a run: it holds no results.json; make one with hdbench run.")
    results = load_results(folder)
    refuse_implausible(results, str(folder / "results.json"))
    return results


def _identity(row: Row) -> Hashable:
    return row.method, row.title, row.model, row.source, row.seed, row.samples.sha256, row.samples.count


def _refuse_other_data(first: Path, results: Results, folder: Path, other: Results) -> None:
    for what, own, its in (
        ("category", results.dataset.category, other.dataset.category),
        ("dataset", results.dataset.name, other.dataset.name),
        ("dataset fingerprint", results.dataset.fingerprint[:12], other.dataset.fingerprint[:12]),
        ("reference", results.dataset.reference.sha256[:12], other.dataset.reference.sha256[:12]),
    ):
        if own != its:
            raise HdbenchError(
                f"{folder} and {first} differ in their {what} ({its}, {own}); report runs over the same data together."
            )


def _made_by_several(documents: Iterable[Results]) -> set[tuple[str, str]]:
    """Method and title of what was trained by differing code in different runs."""
    codes: dict[tuple[str, str], set[str]] = {}
    for document in documents:
        for row in document.rows:
            if row.source == "trained":
                codes.setdefault((row.method, row.title), set()).add(_code(document))
    return {name for name, found in codes.items() if len(found) > 1}


def _code(document: Results) -> str:
    """The commit that a run was made with, or else the version."""
    commit = (document.provenance.git or {}).get("commit")
    return commit if isinstance(commit, str) else document.provenance.hdbench


def _united(row: Row, other: Row) -> Row:
    """The same samples, with the scores of both; what stands under a run's own protocol stays there."""
    own = _without_copies([*row.scores, *other.scores])
    elsewhere = _without_copies([*own, *row.other_scores, *other.other_scores])[len(own) :]
    return row.model_copy(update={"scores": own, "other_scores": elsewhere})


def _without_copies(scores: Iterable[Score]) -> list[Score]:
    kept: dict[tuple[str, str, str], Score] = {}
    for score in scores:
        kept.setdefault((score.protocol, score.metric, score.signature), score)
    return list(kept.values())


def _plan(opened: Mapping[Path, Results]) -> dict[str, Any]:
    return {"merged": [{"folder": folder.name, "plan": document.run} for folder, document in opened.items()]}


def _provenance(documents: Iterable[Results]) -> Provenance:
    made = [document.provenance for document in documents]
    dirty = any((one.git or {}).get("dirty") for one in made)
    commits = list(dict.fromkeys(str(one.git["commit"]) for one in made if one.git and "commit" in one.git))
    return Provenance(
        hdbench=", ".join(dict.fromkeys(one.hdbench for one in made)),
        git={"commit": ", ".join(commits), "dirty": dirty} if commits else None,
        packages=_joined([one.packages for one in made]),
        machine=_joined([one.machine for one in made]),
        seeds=sorted({seed for one in made for seed in one.seeds}),
        command="\n".join(dict.fromkeys(one.command for one in made)),
    )


def _joined(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each fact of any, its different values side by side."""
    joined = {}
    for name in dict.fromkeys(name for one in facts for name in one):
        values = list({repr(one[name]): one[name] for one in facts if name in one}.values())
        joined[name] = values[0] if len(values) == 1 else " / ".join(map(str, values))
    return joined
