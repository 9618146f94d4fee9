"""What makes the tables of docs/reliability.md."""

import sys

import pytest
import trimesh
from load_figures import GIB, Row, Usage, is_flat, measured, table, write_torus


@pytest.mark.parametrize("faces", [50, 2_000, 9_000])
def test_a_torus_is_closed_and_has_about_the_faces_asked_for(faces, tmp_path):
    made = write_torus(tmp_path / "torus.ply", faces)
    mesh = trimesh.load(tmp_path / "torus.ply", process=False)
    assert len(mesh.faces) == made == pytest.approx(faces, rel=0.1)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 0


def test_a_process_is_measured_with_what_it_took():
    idle = measured([sys.executable, "-c", ""])
    busy = measured([sys.executable, "-c", "held = bytearray(b'1') * 200_000_000; sum(range(5_000_000))"])
    assert 190e6 < busy.peak_bytes - idle.peak_bytes < 250e6
    assert busy.cpu_s > idle.cpu_s
    assert busy.wall_s >= 0


def test_a_process_that_fails_ends_it():
    with pytest.raises(SystemExit, match="no such thing"):
        measured([sys.executable, "-c", "raise SystemExit('no such thing')"])


def rows(*cpu_s: float, per_item: float = 1e4) -> list[Row]:
    start = Usage(1.0, 1.0, GIB)
    sizes = [10 * 10**power for power in range(len(cpu_s))]
    used = [Usage(9.0, 1 + cpu, GIB + round(per_item * size)) for cpu, size in zip(cpu_s, sizes, strict=True)]
    return [Row(size, size, usage, start) for size, usage in zip(sizes, used, strict=True)]


def test_flat_is_what_costs_the_same_per_item():
    assert is_flat(rows(1.0, 10.0, 100.0))
    assert not is_flat(rows(1.0, 10.0, 1000.0))


def test_costs_are_per_item_and_beyond_starting():
    assert list(table(rows(1.0, 10.0), "entries", "entry"))[2:] == [
        "| 10 | 9 s | 2 s | 1.00 GiB | 100 ms | 9.77 KiB |",
        "| 100 | 9 s | 11 s | 1.00 GiB | 100 ms | 9.77 KiB |",
    ]
