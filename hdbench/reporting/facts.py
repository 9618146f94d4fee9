"""The words of a report, the same on the page and in Markdown: what was compared, and how it was made."""

import json
from typing import Any

from hdbench.metrics.protocols import PROTOCOLS
from hdbench.reporting.columns import Column
from hdbench.reporting.published import PublishedBoard
from hdbench.reporting.rounding import display_scale, in_full, rounded
from hdbench.reporting.tables import Board, Cell, Line
from hdbench.results import Results, SetInfo

_CD_METRIC = "mmd_cd"
"""The metric whose power of ten the distances to training shapes are shown with."""

ELSEWHERE = (
    "Chamfer metrics and JSD of the very same samples; a column per protocol, and no protocol's values compare with "
    "another's."
)
PUBLISHED = (
    "What papers print under the same protocol, on other data than this run's: to be seen beside the scores above, "
    "not ranked with them."
)


def published_caption(board: PublishedBoard) -> str:
    """Where the numbers of a published table are from, and on what data."""
    table = board.table
    source = f"{table.source}. Data: {table.data}."
    return " ".join([source, *table.notes])


def title(results: Results) -> str:
    """The category, as a heading."""
    return results.dataset.category[:1].upper() + results.dataset.category[1:]


def subtitle(results: Results) -> str:
    """What was compared, in one line."""
    counts = sorted({row.samples.count + row.samples.invalid for row in results.rows if row.source != "control"})
    drawn = f"{'–'.join(map(str, counts[:1] + counts[1:][-1:]))} samples per model · " if counts else ""
    seeds = results.provenance.seeds
    seeded = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds" if seeds else "no seed"
    return (
        f"Dataset {results.dataset.name} · {results.dataset.reference.count} reference shapes · {drawn}"
        f"protocol {', '.join(protocols(results))} · {seeded}"
    )


def protocols(results: Results) -> list[str]:
    """Names of the protocols of the scores, in order."""
    return list(dict.fromkeys(score.protocol for row in results.rows for score in row.scores))


def caption(board: Board) -> str:
    """What the numbers of a table are."""
    text = "Value ± half of its 95 % interval; hover or focus a value for how it was made."
    if len(board.models) > 1:
        text += " Tie: its interval overlaps the best one's."
    return " ".join(filter(None, (text, foreign_note(board))))


def foreign_note(board: Board) -> str:
    """What † means, where the board has it."""
    if not any(cell.is_foreign for line in board.lines for cell in line.cells if cell):
        return ""
    return "† measured on other counts than the models, so not to be compared with them: see its signature."


def shown(cell: Cell, column: Column) -> str:
    """A value as tables without hover print it, marked † where it has another signature than its column."""
    return f"{rounded(cell.score, column.scale)}{' †' if cell.is_foreign else ''}"


def shown_value(line: Line, index: int, column: Column) -> str:
    """`shown` of a line in column `index`; a dash where it has nothing there."""
    cell = line.cells[index]
    return shown(cell, column) if cell else "–"


def missing(board: Board) -> list[str]:
    """The scores that no line has, each with the reason."""
    reasons = ((column, board.reason(index)) for index, column in enumerate(board.columns))
    return [f"{column.label} (protocol {column.protocol}): {reason}" for column, reason in reasons if reason]


def counts(line: Line) -> str:
    """How many samples there are, how many of them are valid and were scored, and where the model is from."""
    seeds = len(line.rows)
    words: list[str] = [] if line.is_control else [line.rows[0].source]
    if line.invalid:
        words.append(f"{line.count} of {line.count + line.invalid} valid")
    if line.scored < line.count:
        first = f"first {line.scored}" if seeds == 1 else f"first {line.reference_count} per seed"
        words.append(f"{first} of {line.count} samples scored")
    elif not line.invalid:
        words.append(f"{line.count} samples")
    if seeds > 1:
        words.append(f"{seeds} seeds")
    return ", ".join(words)


def tooltip(cell: Cell) -> str:
    """The exact value, its interval and unit, and its signature."""
    return in_full(cell.score)


def spoken(board: Board, index: int) -> str:
    """Column `index` in words, for those who cannot see the plot."""
    column = board.columns[index]
    cells = ((line.title, line.cells[index]) for line in board.lines)
    values = "; ".join(f"{name} {shown(cell, column)}" for name, cell in cells if cell)
    return f"{column.display_unit}, {column.goal_in_words}: {values}".lstrip(", ")


def distance_scale(results: Results) -> float:
    """What distances to training shapes are multiplied by for display: the power of ten of MMD."""
    return display_scale(next(iter(protocols(results)), ""), _CD_METRIC, "")


def duration(seconds: float | None) -> str:
    """A time as people say it; a dash for none."""
    if seconds is None:
        return "–"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def memory(count: int | None) -> str:
    """Bytes as people say them; a dash for none."""
    if count is None:
        return "–"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def machine(results: Results) -> str:
    """The machine in one line."""
    facts = results.provenance.machine
    words = [str(facts[key]) for key in ("processor", "gpu") if facts.get(key)]
    if facts.get("cores"):
        words.append(f"{facts['cores']} cores")
    if isinstance(facts.get("memory_bytes"), int):
        words.append(f"{memory(facts['memory_bytes'])} memory")
    return ", ".join(words) or "a machine that was not recorded"


def making(results: Results) -> list[tuple[str, str]]:
    """What is needed to make the same numbers again, as name and value."""
    made, data = results.provenance, results.dataset
    facts = [(f"Protocol {name}", _protocol(name)) for name in protocols(results)]
    facts += [
        ("Dataset", f"{data.name}, category {data.category}: {_split_counts(data.counts)}"),
        ("Dataset fingerprint", data.fingerprint),
        ("Skipped files", f"{len(data.skipped)}" if data.skipped else "none"),
        ("Reference", _set(data.reference)),
    ]
    facts += [(f"Samples of {row.title}, seed {row.seed}", _set(row.samples)) for row in results.rows]
    facts += [
        ("Seeds", ", ".join(map(str, made.seeds))),
        ("hdbench", f"{made.hdbench}{_git(made.git)}"),
        ("Machine", ", ".join(f"{key} {value}" for key, value in made.machine.items())),
        ("Packages", ", ".join(f"{name} {version}" for name, version in made.packages.items())),
    ]
    return facts


def appendices(results: Results) -> list[tuple[str, str]]:
    """Longer facts as name and text: the plan, recipes, signatures, invalid samples, skipped files."""
    found = [("Plan of the run", json.dumps(results.run, indent=1, ensure_ascii=False))]
    found += [
        (f"Recipe of {row.title} (model {row.model[:12]})", json.dumps(row.recipe, indent=1, ensure_ascii=False))
        for row in results.rows
        if row.recipe and row.seed == min(other.seed for other in results.rows if other.model == row.model)
    ]
    signatures = dict.fromkeys(score.signature for row in results.rows for score in row.scores)
    found.append(("Signatures", "\n".join(signatures)))
    invalid = [
        f"{row.title}, seed {row.seed}, {name}: {reason}"
        for row in results.rows
        for name, reason in row.samples.invalid_ids.items()
    ]
    skipped = [f"{name}: {reason}" for name, reason in results.dataset.skipped.items()]
    credits = [f"{name}: {credit}" for name, credit in results.dataset.credits.items()]
    optional = [("Invalid samples", invalid), ("Skipped files", skipped), ("Credits", credits)]
    return found + [(f"{name} ({len(lines)})", "\n".join(lines)) for name, lines in optional if lines]


def _protocol(name: str) -> str:
    if name not in PROTOCOLS:
        return "unknown to this version of hdbench"
    protocol = PROTOCOLS[name]
    return " ".join((f"{protocol.source}.", *protocol.quirks))


def _split_counts(splits: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in splits.items())


def _set(info: SetInfo) -> str:
    invalid = f", {info.invalid} invalid" if info.invalid else ""
    return f"{info.count} shapes{invalid}; sha256 {info.sha256}"


def _git(git: dict[str, Any] | None) -> str:
    if not git:
        return ""
    return f", commit {git.get('commit')}{' with uncommitted changes' if git.get('dirty') else ''}"
