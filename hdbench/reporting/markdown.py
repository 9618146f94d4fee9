"""The report as text: Markdown for repositories and pull requests, LaTeX for papers."""

from collections.abc import Sequence

from hdbench.reporting import facts
from hdbench.reporting.columns import Column
from hdbench.reporting.content import Content
from hdbench.reporting.published import PublishedBoard, PublishedRow
from hdbench.reporting.rounding import rounded, three_digits
from hdbench.reporting.summary import Verdict, nearness, verdicts
from hdbench.reporting.tables import Board, Cell, Line
from hdbench.results import Results

_MARKDOWN_SPECIAL = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "\\`*_[]|#~$"},
        "<": "&lt;",
        ">": "&gt;",
        "&": "&amp;",
        "\n": " ",
        "\r": " ",
    }
)
_LATEX_SPECIAL = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "−": "$-$",
        "–": "--",
        "±": r"$\pm$",
        "×": r"$\times$",
        "\n": " ",
        "\r": " ",
    }
)


def render_markdown(content: Content) -> str:
    """The report's tables and facts as GitHub-flavoured Markdown."""
    results, board = content.results, content.board
    parts = [f"# {_plain(facts.title(results))}: generated shapes against real ones", _plain(facts.subtitle(results))]
    for protocol in board.protocols:
        main, halves = (board.only(protocol=protocol, headline=headline) for headline in (True, False))
        parts += [f"## Scores, protocol {_plain(protocol)}", _verdict_list(verdicts(main)), _score_table(main)]
        parts += [facts.caption(main).replace("; hover or focus a value for how it was made", "")]
        if halves.columns:
            parts += ["### Halves of the scores", _score_table(halves)]
    parts += [f"Not computed: {_plain('; '.join(missing))}." if (missing := facts.missing(board)) else ""]
    parts += _elsewhere(content) + _published(content)
    parts += _distances(content) + _nearest_training(content)
    parts += ["## Cost", f"On {_plain(facts.machine(results))}.", _cost_table(board)]
    parts += ["## How it was made", _code(results.provenance.command)]
    parts += [_table(["", ""], [[_plain(name), _plain(value)] for name, value in facts.making(results)])]
    for name, text in facts.appendices(results):
        parts += [f"### {_plain(name)}", _code(text)]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_latex(content: Content) -> str:
    """The headline scores as booktabs tables, ready to paste; best values bold, ties underlined."""
    board = content.board
    mains = [board.only(protocol=protocol, headline=True) for protocol in board.protocols]
    blocks = [_latex_table(content.results, part, f"protocol {part.protocols[0]}") for part in mains if part.columns]
    blocks += [
        _latex_table(content.results, part, f"{name} under every protocol", by_protocol=True)
        for name, part in content.across
    ]
    blocks += [_latex_published(one) for one in content.published]
    return "% Needs \\usepackage{booktabs}.\n" + "\n".join(blocks)


def _elsewhere(content: Content) -> list[str]:
    if not content.across:
        return []
    parts = ["## The same samples under every protocol", facts.ELSEWHERE]
    for name, part in content.across:
        parts += [f"### {name} ({part.columns[0].goal_in_words})", _score_table(part, by_protocol=True)]
    return parts


def _published(content: Content) -> list[str]:
    if not content.published:
        return []
    parts = ["## Published numbers", facts.PUBLISHED]
    for one in content.published:
        head = ["Published", *(_heading(column) for column in one.columns), ""]
        rows = [[_plain(row.method), *row.values, _plain(row.flag)] for row in one.rows]
        parts += [f"### {_plain(one.table.title)}", _plain(facts.published_caption(one)), _table(head, rows)]
    return parts


def _distances(content: Content) -> list[str]:
    """Quartiles of the distances that the page draws."""
    scale = facts.distance_scale(content.results)
    rows = [
        [
            _plain(one.line.title),
            *(three_digits(value * scale) for value in one.quartiles(one.to_reference)),
            *(three_digits(value * scale) for value in one.quartiles(one.from_reference)),
        ]
        for one in content.statistics
    ]
    if not rows:
        return []
    unit = f" (×{scale:g})" if scale != 1 else ""
    head = ["", *(f"{of}, {part}" for of in ("samples", "reference") for part in ("lower quartile", "median", "upper"))]
    return [f"## Chamfer distances to the nearest of the other set{unit}", _table(head, rows)]


def _nearest_training(content: Content) -> list[str]:
    scale = facts.distance_scale(content.results)
    near = [
        [
            _plain(entry.line.title),
            three_digits(entry.typical * scale),
            "–" if entry.line.is_control else f"{len(entry.copies)} of {len(entry.entries)}",
        ]
        for entry in nearness(content.results, content.board)
    ]
    if not near:
        return []
    unit = f" (×{scale:g})" if scale != 1 else ""
    return ["## Nearest training shapes", _table(["", f"median Chamfer distance{unit}", "as near as copies"], near)]


def _verdict_list(found: Sequence[Verdict]) -> str:
    lines = []
    for verdict in found:
        claim = f" ({verdict.claim})" if verdict.claim else ""
        real = f"; real shapes {verdict.real}" if verdict.real else ""
        standing = f" ({verdict.standing})" if verdict.standing else ""
        unit = f" {verdict.column.display_unit}" if verdict.column.display_unit else ""
        lines.append(
            f"- **{verdict.column.label}** ({verdict.column.goal_in_words}): "
            f"{_plain(verdict.heading)}{claim}, {verdict.value}{unit}{real}{standing}"
        )
    return "\n".join(lines)


def _heading(column: Column, *, by_protocol: bool = False) -> str:
    name = column.protocol_label if by_protocol else column.label
    return " ".join(filter(None, [_plain(name), column.display_unit, column.goal]))


def _score_table(board: Board, *, by_protocol: bool = False) -> str:
    head = ["Model", "Samples", *(_heading(column, by_protocol=by_protocol) for column in board.columns)]
    rows = [
        [
            f"*{_plain(line.title)}*" if line.is_control else _plain(line.title),
            facts.counts(line),
            *(_markdown_cell(cell, column, board) for cell, column in zip(line.cells, board.columns, strict=True)),
        ]
        for line in board.lines
    ]
    return _table(head, rows)


def _markdown_cell(cell: Cell | None, column: Column, board: Board) -> str:
    if cell is None:
        return "–"
    text = facts.shown(cell, column)
    if not cell.is_best or len(board.models) < 2:
        return text
    return f"**{text}**{' (tie)' if cell.is_tied else ''}"


def _cost_table(board: Board) -> str:
    rows = []
    for line in board.lines:
        cost = line.rows[0].cost
        rows.append(
            [
                _plain(line.title),
                facts.duration(cost.fit_s),
                facts.duration(cost.sample_s_per_shape),
                facts.memory(cost.peak_memory_bytes),
                _plain(cost.device),
            ]
        )
    return _table(["Model", "Training", "One sample", "Peak memory", "Device"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """`text` such that Markdown shows it as it is and no HTML comes of it."""
    return text.translate(_MARKDOWN_SPECIAL)


def _code(text: str) -> str:
    """`text` as an indented code block, which nothing in it can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _latex_table(results: Results, board: Board, what: str, *, by_protocol: bool = False) -> str:
    names = [column.protocol_label if by_protocol else column.label for column in board.columns]
    goals = [_latex_goal(column) for column in board.columns]
    head = " & ".join(["Model", *(f"{_latex(name)}{goal}" for name, goal in zip(names, goals, strict=True))])
    notes = [
        f"% {results.dataset.category}, {results.dataset.name}, {what}".replace("\n", " ").replace("\r", " "),
        *([f"% {note}"] if (note := facts.foreign_note(board)) else []),
    ]
    body = [
        *(_latex_row(line, board) for line in board.models),
        *([r"\midrule"] if board.models and board.controls else []),
        *(_latex_row(line, board) for line in board.controls),
    ]
    return _tabular(notes, head, body, values=len(board.columns))


def _latex_published(board: PublishedBoard) -> str:
    head = " & ".join(["Published", *(f"{_latex(column.label)}{_latex_goal(column)}" for column in board.columns)])
    flagged = [f"% {row.method}: {row.flag}" for row in board.rows if row.flag]
    notes = [f"% {board.table.title}: {facts.published_caption(board)}", *flagged]
    body = [" & ".join([_latex_flagged(row), *row.values]).replace("–", "--") + r" \\" for row in board.rows]
    return _tabular(notes, head, body, values=len(board.columns))


def _tabular(notes: Sequence[str], head: str, body: Sequence[str], *, values: int) -> str:
    """A table with rules, of a name and so many `values` in each line, below `notes` that LaTeX does not print."""
    start = [rf"\begin{{tabular}}{{l{'c' * values}}}", r"\toprule", rf"{head} \\", r"\midrule"]
    return "\n".join([*notes, *start, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_flagged(row: PublishedRow) -> str:
    return _latex(row.method) + (r"$\,^{!}$" if row.flag else "")


def _latex_goal(column: Column) -> str:
    unit = {"%": r" \%", "": ""}.get(column.display_unit) or (
        rf" $\times 10^{{{len(f'{column.scale:.0f}') - 1}}}$" if column.scale > 1 else ""
    )
    if isinstance(column.target, str):
        return unit + (r" $\downarrow$" if column.target == "lower" else r" $\uparrow$")
    return rf"{unit} $\to {column.target * column.scale:g}$"


def _latex_row(line: Line, board: Board) -> str:
    cells = [_latex_cell(cell, column, board) for cell, column in zip(line.cells, board.columns, strict=True)]
    title = _latex(line.title)
    return " & ".join([rf"\textit{{{title}}}" if line.is_control else title, *cells]) + r" \\"


def _latex_cell(cell: Cell | None, column: Column, board: Board) -> str:
    if cell is None or cell.score.value is None:
        return "--"
    shown = rounded(cell.score, column.scale)
    value, plus, minus = map(_latex_power, (shown.value, shown.plus, shown.minus))
    if cell.is_best and len(board.models) > 1:
        value = rf"\mathbf{{{value}}}" if not cell.is_tied else rf"\underline{{{value}}}"
    mark = r"\,^{\dagger}" if cell.is_foreign else ""
    if not plus:
        return f"${value}{mark}$"
    if shown.is_symmetric:
        return rf"${value} \pm {plus}{mark}$"
    return rf"${value}^{{+{plus}}}_{{-{minus}}}{mark}$"


def _latex_power(number: str) -> str:
    digits, _, exponent = number.partition("e")
    return rf"{digits} \times 10^{{{int(exponent)}}}" if exponent else number


def _latex(text: str) -> str:
    return text.translate(_LATEX_SPECIAL)
