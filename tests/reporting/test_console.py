import io

from report_examples import example_results, half_size_held_out, results, row, score
from rich.console import Console, RenderableType

from hdbench.reporting.console import run_table, score_table
from hdbench.results import Results


def printed(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(renderable)
    return console.file.getvalue()


def in_category(category: str, document: Results) -> Results:
    return document.model_copy(update={"dataset": document.dataset.model_copy(update={"category": category})})


def test_a_run_shows_models_and_controls():
    text = printed(run_table(example_results()))
    for words in ("Airplane", "Alpha", "Noise", "MMD-CD", "3.4 ± 0.2", "3 of 4 valid"):
        assert words in text


def test_brackets_are_text_and_no_markup():
    broken = row("alpha", [score("m_[/m]", 0.1, 0.01, protocol="[/p]")], title="[bold]Alpha[/x]")
    text = printed(run_table(in_category("[/x] y", results([broken]))))
    for words in ("[/x] y", "[bold]Alpha[/x]", "[/M]"):
        assert words in text
    reason = "interval [0, 1] is not [red]positive[/]"
    assert reason in printed(score_table([score("fpd", None, reason=reason, protocol="[/p]")]))


def test_what_has_another_signature_is_marked():
    text = printed(run_table(half_size_held_out()))
    assert "2.00 ± 0.10 †" in text
    assert "† measured on other counts" in text
    assert "†" not in printed(run_table(example_results()))


def test_a_run_without_scores_still_makes_a_table():
    assert "Alpha" in printed(run_table(results([row("alpha", [])])))
