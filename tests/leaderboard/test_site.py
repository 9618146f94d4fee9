import html
import json
import re
import time

import pandas as pd
import pytest
from board_examples import add_entry, audit, change_scores, new_board

from hdbench.errors import HdbenchError
from hdbench.leaderboard.entry import open_entries
from hdbench.leaderboard.site import build
from hdbench.leaderboard.tables import tables
from hdbench.progress import Progress

HOSTILE = "<img src=x onerror=alert(1)>'\"&{{7*7}}"


@pytest.fixture
def board(tmp_path):
    return new_board(tmp_path / "board")


def built(board, site):
    findings = build(board, site, progress=Progress())
    assert [finding for finding in findings if finding.level == "error"] == []
    return (site / "index.html").read_text(encoding="utf-8")


def test_models_are_ranked_and_controls_are_not(board, tmp_path):
    for seed, shift in enumerate((0.0, 3.0, 0.1)):
        add_entry(board, seed, name=f"Model {seed}", shift=shift, count=48)
    add_entry(board, 9, name="Real shapes", kind="control", count=48)
    (table,) = tables(open_entries(board))
    assert [line.stored.entry.name for line in table.models][-1] == "Model 1"
    assert [line.stored.entry.name for line in table.controls] == ["Real shapes"]
    index = table.sorted_by
    assert table.columns[index].metric == "nna_cd"
    assert [line.cells[index].standing.high for line in table.models] == [2, 2, 3]
    assert all(cell.standing is None for cell in table.controls[0].cells)
    page = built(board, tmp_path / "site")
    assert page.index("Controls: scores known in advance") < page.index("Real shapes")
    assert page.count("rank 1–2") >= 2


def test_other_signatures_never_share_a_column(board):
    add_entry(board, 0)
    add_entry(board, 1)

    def other_data(document):
        for score in document["protocols"][0]["scores"]:
            score["signature"] += "|warning:other"

    change_scores(add_entry(board, 2), other_data)
    (table,) = tables(open_entries(board))
    columns = [column for column in table.columns if column.metric == "nna_cd"]
    assert len(columns) == 2
    for line in table.models:
        present = [
            cell is not None for cell, column in zip(line.cells, table.columns, strict=True) if column in columns
        ]
        assert sorted(present) == [False, True]
    ranked = [line for line in table.models if line.stored.entry.name == "Model 2"]
    assert all(cell is None or cell.standing is None for cell in ranked[0].cells)  # nobody to be compared with


def test_what_submitters_write_is_text_and_nothing_else(board, tmp_path):
    folder = add_entry(
        board, 0, name=HOSTILE, card="<script>alert(1)</script>", authors="</style><b>", url="https://a.b/?q=1&c"
    )
    page = built(board, tmp_path / "site")
    model = (tmp_path / "site" / "models" / f"{folder.name}.html").read_text(encoding="utf-8")
    for text in (page, model):
        assert "<img src=x" not in text
        assert text.count("<script>") == 1
        assert html.escape(HOSTILE, quote=False).split("'")[0] in text
        policy = html.unescape(re.search('Content-Security-Policy" content="([^"]*)"', text)[1])
        assert re.fullmatch(r"default-src 'none'; script-src 'sha256-[^' ]{44}'; style-src .*", policy)
    assert "&lt;script&gt;alert(1)" in model
    assert "https://a.b/?q=1&amp;c" in model


def test_entries_with_forbidden_addresses_cannot_be_read(board, tmp_path):
    folder = add_entry(board, 0)
    entry = json.loads((folder / "entry.json").read_text())
    (folder / "entry.json").write_text(json.dumps(entry | {"url": "javascript:alert(1)"}))
    with pytest.raises(HdbenchError, match="url"):
        build(board, tmp_path / "site", progress=Progress())


def test_a_gallery_cannot_name_other_files(board, tmp_path):
    folder = add_entry(board, 0)
    tiles = json.loads((folder / "gallery.json").read_text())
    tiles[0]["picture"] = "../../board.json"
    (folder / "gallery.json").write_text(json.dumps(tiles))
    findings = build(board, tmp_path / "site", progress=Progress())
    assert any("gallery.json is not the file" in finding.text for finding in findings)
    assert not (tmp_path / "site").exists()


def test_an_entry_without_any_value_still_has_its_place(board, tmp_path):
    def nothing(document):
        for score in document["protocols"][0]["scores"]:
            score.update(value=None, interval=None, reason="too few shapes")

    change_scores(add_entry(board, 0, name="Nothing"), nothing)
    assert "Nothing" in built(board, tmp_path / "alone")
    add_entry(board, 1)
    page = built(board, tmp_path / "site")
    assert "too few shapes" in page
    assert page.index("Model 1") < page.index(">Nothing<")


def test_flags_are_shown(board, tmp_path):
    add_entry(board, 0, audited=audit(near_copies=0.5, p_value=0.0001))
    assert '<span class="pill alarm" title="50% of the samples' in built(board, tmp_path / "site")


def test_the_same_board_gives_the_same_bytes(board, tmp_path):
    add_entry(board, 0)
    add_entry(board, 1)
    built(board, tmp_path / "a")
    built(board, tmp_path / "b")
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_downloads_open_elsewhere(board, tmp_path):
    add_entry(board, 0, name="=1+1")
    add_entry(board, 1, shift=3)
    built(board, tmp_path / "site")
    frame = pd.read_csv(tmp_path / "site" / "leaderboard.csv")
    assert set(frame.metric) >= {"nna_cd", "mmd_cd", "cov_cd"}
    assert frame.name[0].startswith("'=") or "'=1+1" in set(frame.name)
    document = json.loads((tmp_path / "site" / "leaderboard.json").read_text())
    assert document["schema"] == "hdbench/leaderboard-site/1"
    assert len(document["scores"]) == len(frame)
    page = (tmp_path / "site" / "index.html").read_text()
    for link in re.findall(r'(?:href|src)="([^"#:]+)"', page):
        assert (tmp_path / "site" / link).is_file(), link


def test_only_a_site_is_replaced(board, tmp_path):
    add_entry(board, 0)
    built(board, tmp_path / "site")
    (tmp_path / "site" / "models" / "stale.html").write_text("old")
    built(board, tmp_path / "site")
    assert not (tmp_path / "site" / "models" / "stale.html").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("dear")
    for target in (tmp_path / "photos", board, board / "site"):
        with pytest.raises(HdbenchError):
            build(board, target, progress=Progress())
    assert (tmp_path / "photos" / "me.jpg").read_text() == "dear"


def test_an_empty_board_is_told_so(board, tmp_path):
    with pytest.raises(HdbenchError, match="no entries yet"):
        build(board, tmp_path / "site", progress=Progress())


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seconds"), [(200, 30), (1000, 150)])
def test_a_site_of_many_entries_builds_in_time(board, tmp_path, count, seconds):
    for seed in range(count):
        add_entry(board, seed, shift=seed % 7 / 10, kind="control" if seed < 3 else "model")
    start = time.perf_counter()
    page = built(board, tmp_path / "site")
    assert time.perf_counter() - start < seconds
    assert page.count("<tr data-name=") == count
