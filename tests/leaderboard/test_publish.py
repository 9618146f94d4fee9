import sys
from pathlib import Path

import pytest
from board_examples import add_entry, new_board

from hdbench.errors import HdbenchError
from hdbench.leaderboard.lint import lint_board
from hdbench.leaderboard.publish import publish
from hdbench.progress import Progress

sys.path.append(str(Path(__file__).resolve().parents[1] / "zoo"))
from hub_server import TOKEN, HubServer


@pytest.fixture
def board(tmp_path):
    board = new_board(tmp_path / "board", title="Toys: <b>all</b>")
    add_entry(board, 0)
    add_entry(board, 1, shift=2)
    return board


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub.constants as constants

    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HDBENCH_OFFLINE", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def test_a_folder_gets_the_site(board, tmp_path):
    assert publish(board, str(tmp_path / "site"), progress=Progress()) == []
    assert (tmp_path / "site" / "index.html").is_file()


@pytest.mark.parametrize("target", ["s3://bucket/board", "hf://owner/name", "hf://datasets/name", "hf://datasets/../x"])
def test_other_targets_are_refused(board, target):
    with pytest.raises(HdbenchError, match="hf://datasets/OWNER/NAME"):
        publish(board, target, progress=Progress())


def test_a_dataset_repository_gets_the_site_and_all_entries(board, hub, tmp_path):
    publish(board, "hf://datasets/tester/board", progress=Progress())
    files = hub.files("tester/board", kind="dataset")
    assert {"index.html", "README.md", "leaderboard.csv", "board.json"} <= files.keys()
    assert b"pretty_name: Toys b all b" in b" ".join(files["README.md"].split())
    copy = tmp_path / "copy"
    for name, content in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    assert lint_board(copy) == []


def test_publishing_again_removes_what_is_no_longer_there(board, hub, tmp_path):
    publish(board, "hf://datasets/tester/board", progress=Progress())
    gone = add_entry(board, 2)
    publish(board, "hf://datasets/tester/board", progress=Progress())
    assert any(gone.name in name for name in hub.files("tester/board", kind="dataset"))
    for path in gone.iterdir():
        path.unlink()
    gone.rmdir()
    publish(board, "hf://datasets/tester/board", progress=Progress())
    assert not any(gone.name in name for name in hub.files("tester/board", kind="dataset"))


def test_a_hub_that_refuses_is_one_line(board, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    with pytest.raises(HdbenchError, match="hf://datasets/tester/board cannot be written") as refusal:
        publish(board, "hf://datasets/tester/board", progress=Progress())
    assert "\n" not in str(refusal.value)


def test_a_board_with_an_error_is_not_published(board, hub):
    next((board / "entries").glob("*/samples.npz")).unlink()
    findings = publish(board, "hf://datasets/tester/board", progress=Progress())
    assert any(finding.level == "error" for finding in findings)
    assert ("dataset", "tester/board") not in hub.repositories
