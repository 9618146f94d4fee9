import numpy as np
import pytest
import trimesh

from hdbench.geometry.parts import larger_parts
from hdbench.shapes import Mesh


def boxes(*sizes: float) -> Mesh:
    solids = [trimesh.creation.box([size] * 3).apply_translation([3 * i, 0, 0]) for i, size in enumerate(sizes)]
    joined = trimesh.util.concatenate(solids)
    return Mesh(joined.vertices, joined.faces)


def split(mesh: Mesh) -> list[float]:
    parts = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).split(only_watertight=False)
    return sorted(round(float(part.area), 4) for part in parts)


def test_bits_below_the_share_of_the_whole_area_go() -> None:
    mesh = boxes(1.0, 0.1, 0.5)  # areas 6, 0.06 and 1.5
    assert split(larger_parts(mesh, 0.05)) == [1.5, 6.0]
    assert split(larger_parts(mesh, 0.5)) == [6.0]
    assert split(larger_parts(mesh, 0.005)) == [0.06, 1.5, 6.0]


def test_what_is_kept_is_closed_and_has_no_loose_vertices() -> None:
    kept = larger_parts(boxes(0.1, 1.0), 0.5)
    solid = trimesh.Trimesh(kept.vertices, kept.faces, process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(1.0)
    assert len(kept.vertices) == 8


def test_of_many_equal_parts_the_largest_stay() -> None:
    assert split(larger_parts(boxes(1.0, 1.0, 1.0, 0.9), 0.9)) == [6.0, 6.0, 6.0]


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_nothing_is_done_to_one_part_or_none(share: float) -> None:
    whole = boxes(1.0)
    assert np.array_equal(larger_parts(whole, share).faces, whole.faces)
    empty = Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.int32))
    assert len(larger_parts(empty, share).faces) == 0


def test_parts_that_touch_in_a_vertex_hang_together() -> None:
    tips = Mesh(
        np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -0.1, 0]], np.float32),
        np.array([[0, 1, 2], [0, 3, 4]], np.int32),
    )
    assert len(larger_parts(tips, 0.5).faces) == 2
