import re
import shutil
import subprocess

import pytest
from report_examples import content_of, example_results, half_size_held_out, results, row, score

from hdbench.reporting.markdown import render_latex, render_markdown


def tables(text: str) -> list[list[list[str]]]:
    """Every pipe table of a Markdown text, as lists of cells."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    split = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]
    return [[[cell.strip() for cell in line] for line in block] for block in split]


def markdown(document):
    return render_markdown(content_of(document))


def test_tables_parse_and_say_what_the_results_say():
    text = markdown(example_results())
    for found in tables(text):
        assert len({len(line) for line in found}) == 1
        assert set(found[1]) == {"---"}
    scores = {line[0]: line for line in tables(text)[0][2:]}
    assert scores["Alpha"] == ["Alpha", "trained, 3 of 4 valid", "**3.4 ± 0.2** (tie)", "30 ± 5", "**60 ± 4**"]
    assert scores["*Noise*"][2] == "40.0 ± 1.0"
    assert len(scores) == 5


def test_facts_stand_in_it():
    text = markdown(example_results())
    for fact in ("hdbench run --category airplane", "c0ffee", "cd" * 32, "00001: no faces", '"width": 64', "12 s"):
        assert fact in text, fact
    assert "1 of 2" in text  # samples as near as copies


def test_what_has_another_signature_is_marked_and_not_compared():
    text = markdown(half_size_held_out())
    assert "2.00 ± 0.10 †" in text or "2.0 ± 0.1 †" in text
    assert "† measured on other counts" in text
    assert "real shapes" not in text.split("## Scores")[1].split("|")[0]
    table = latex(half_size_held_out())
    assert table.count(r"^{\dagger}$") == 1
    assert "% † measured on other counts" in table


def test_hostile_text_stays_text():
    title = "a | b <script>alert(1)</script> `code` [link](javascript:x)\n| --- |"
    text = markdown(results([row("alpha", [score("mmd_cd", 0.1, 0.01)], title=title)]))
    assert "<script" not in text
    assert "\n| --- |\n\n" not in text
    for found in tables(text):
        assert len({len(line) for line in found}) == 1
    assert r"\[link\]" in text


def latex(document):
    return render_latex(content_of(document))


def test_latex_marks_best_and_ties():
    text = latex(example_results())
    assert r"\toprule" in text
    assert r"$\underline{3.4} \pm 0.2$" in text  # a tie
    assert r"$\mathbf{60} \pm 4$" in text
    assert r"\textit{Held-out}" in text
    lines = [line for line in text.split(r"\bottomrule")[0].splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in lines} == {3}


def test_tiny_values_stand_in_powers_of_ten():
    document = results([row("alpha", [score("mmd_cd", 6.4e-29, 5e-30)])])
    assert "6.4e-27 ± 5e-28" in markdown(document)
    assert r"$6.4 \times 10^{-27} \pm 5 \times 10^{-28}$" in latex(document)


def test_latex_of_hostile_text_compiles(tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    title = r"50\% & $x_1$ #{~^} \input{/etc/passwd} −"
    elsewhere = [score("cov_cd", 0.5, 0.1, protocol="pvd", signature="cov_cd|protocol:pvd")]
    hostile = row("alpha", [score("cov_cd", 0.98, interval=(0.9, 1.0))], title=title, other_scores=elsewhere)
    text = latex(results([hostile]))
    assert text.count(r"\begin{tabular}") == 3  # the scores, the other protocols, and what was published
    page = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{text}\end{{document}}"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_escapes_what_means_something():
    text = latex(results([row("alpha", [score("mmd_cd", 0.1, 0.01)], title=r"a&b_{c}%\input{x}$")]))
    assert r"a\&b\_\{c\}\%\textbackslash{}input\{x\}\$" in text


def test_other_protocols_and_published_numbers_stand_in_both():
    document = example_results()
    scored = [
        one.model_copy(update={"other_scores": [score("nna_cd", 0.7, 0.1, protocol="dpc", signature="nna_cd|d")]})
        for one in document.rows
    ]
    document = results(scored)
    text = markdown(document)
    (across,) = [found for found in tables(text) if found[0][2:] == ["hyperdiffusion % → 50", "dpc % → 50"]]
    assert across[2] == ["Alpha", "trained, 3 of 4 valid", "**60 ± 4**", "**70 ± 10** (tie)"]
    (published,) = [found for found in tables(text) if found[0][0] == "Published"]
    assert published[2] == ["Voxel", "6.0", "28", "94.1", "38.9", ""]
    assert "third party" in text
    table = latex(document)
    assert r"Published & MMD-CD" in table
    assert "Voxel & 6.0 & 28 & 94.1 & 38.9" in table


def test_published_numbers_of_other_categories_stay_away():
    dataset = example_results().dataset.model_copy(update={"category": "animal"})
    text = markdown(results(example_results().rows, dataset=dataset))
    assert "Published" not in text
