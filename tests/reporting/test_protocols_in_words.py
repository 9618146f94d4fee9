"""What the documentation says of protocols is what the code does."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hdbench.metrics.protocols import PROTOCOLS
from hdbench.reporting.protocols import HEADING, facts_of, metrics_in_short, renewed, scales_in_short, side_by_side

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
SET_OF_CD = ("mmd_cd", "mmd_cd_samples", "cov_cd", "nna_cd", "nna_cd_samples", "nna_cd_reference")


def test_the_documentation_shows_the_protocols_as_they_are():
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page), "renew it: python -m hdbench.reporting.protocols docs/protocols.md"


def test_renewing_keeps_what_was_written_and_is_done_once():
    page = renewed(f"# Protocols\n\nWritten by hand.\n\n{HEADING}\nold\n")
    assert page == f"# Protocols\n\nWritten by hand.\n\n{side_by_side()}"
    assert renewed(page) == page


def test_every_protocol_is_told_in_the_same_order():
    titles = {tuple(title for title, _ in facts_of(protocol)) for protocol in PROTOCOLS.values()}
    assert len(titles) == 1


def test_no_cell_breaks_the_table():
    for protocol in PROTOCOLS.values():
        for title, text in facts_of(protocol):
            assert text, (protocol.name, title)
            assert "|" not in text
            assert "\n" not in text
    rows = [line for line in side_by_side().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(PROTOCOLS)
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_page_holds_all_that_a_protocol_fixes(name):
    protocol, text = PROTOCOLS[name], side_by_side()
    row = next(line for line in text.splitlines() if line.startswith(f"| [{name}]"))
    section = re.split(r"^### ", text, flags=re.MULTILINE)[1 + list(PROTOCOLS).index(name)]
    assert str(protocol.point_count) in row
    for family, distance in protocol.distances.items():
        assert f"{family}: `{distance}`" in row
    for words in (protocol.title, protocol.source, protocol.sample_count, protocol.reference.rstrip(".")):
        assert words in section
    for quirk in protocol.quirks:
        assert quirk in section or f"\n- {quirk}\n" in text  # said once where all share it


@pytest.mark.parametrize(
    ("metrics", "short"),
    [
        (SET_OF_CD, "MMD, COV, 1-NNA under cd"),
        (
            (*SET_OF_CD, *(name.replace("cd", "emd") for name in SET_OF_CD), "jsd"),
            "MMD, COV, 1-NNA under cd and emd; JSD",
        ),
        ((*SET_OF_CD, "fpd", "kpd"), "MMD, COV, 1-NNA under cd; FPD, KPD"),
        ((*SET_OF_CD, "fpd"), "MMD, COV, 1-NNA under cd; fpd"),
        (SET_OF_CD[:-1], "; ".join(SET_OF_CD[:-1])),
        (("mmd_cd", "new"), "mmd_cd; new"),
    ],
)
def test_a_family_stands_for_its_metrics_only_where_all_are_there(metrics, short):
    assert metrics_in_short(metrics) == short


def test_scales_are_those_of_metrics_that_are_computed():
    protocol = replace(PROTOCOLS["dpc"], metrics=("mmd_cd", "cov_cd", "nna_cd"))
    assert scales_in_short(protocol) == "`cov_cd`, `nna_cd` x 100<br>`mmd_cd` x 1000"
