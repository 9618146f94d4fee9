import shutil
from pathlib import Path

import pytest

from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.reporting.report import write_report


def test_the_folder_alone_gives_the_report_twice_the_same(small_run):
    small_run.write()
    files = small_run.report()
    assert [path.name for path in files] == ["report.html", "report.md", "leaderboard.csv", "leaderboard.tex"]
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in small_run.report()] == before
    assert not list(small_run.folder.glob(".*"))


def test_a_folder_without_shapes_still_gives_the_tables(small_run):
    small_run.shapes = {}
    small_run.folder.mkdir()
    small_run.write()
    for name in ("reference", "neighbours"):
        for path in (small_run.folder / name).glob("points.npz"):
            path.unlink()
    page = small_run.report()[0].read_text(encoding="utf-8")
    assert "Alpha" in page
    assert 'id="samples"' not in page


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"ply\nbroken")])
def test_a_damaged_sample_is_named_and_nothing_is_written(small_run, damage):
    small_run.write()
    sample = small_run.folder / "samples" / "alpha" / "meshes" / "00002.ply"
    damage(sample)
    with pytest.raises(HdbenchError) as error:
        small_run.report()
    assert str(sample) in str(error.value)
    assert not (small_run.folder / "report.html").exists()


def test_samples_that_were_not_kept_are_left_out(small_run):
    small_run.write()
    shutil.rmtree(small_run.folder / "samples" / "alpha")
    page = small_run.report()[0].read_text(encoding="utf-8")
    assert 'data-title="Alpha' not in page
    assert 'data-title="Beta' in page


@pytest.mark.parametrize("content", [None, "{", '{"schema": "hdbench/results/2"}'])
def test_what_is_no_run_is_refused_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(HdbenchError) as error:
        write_report(tmp_path, progress=Progress())
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
