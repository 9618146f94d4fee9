import pytest
import torch
from hdbench_baselines.voxel.window import Window


def grids(*places, size=12):
    """Two grids of two frames that differ in these voxels, of one frame each."""
    made = torch.full((2, 2, size, size, size), -1.0)
    for number, place in enumerate(places):
        made[number % 2, number // 2 % 2][place] = 0.5
    return made


@pytest.mark.parametrize(
    ("places", "multiple", "start", "edges"),
    [
        ([(5, 5, 5)], 1, (5, 5, 5), (1, 1, 1)),
        ([(5, 5, 5)], 4, (4, 4, 4), (4, 4, 4)),  # room on both sides
        ([(0, 5, 11)], 4, (0, 4, 8), (4, 4, 4)),  # as far as the cube goes
        ([(2, 0, 4), (7, 11, 4), (3, 3, 5)], 4, (1, 0, 3), (8, 12, 4)),
        ([], 4, (0, 0, 0), (4, 4, 4)),
    ],
)
def test_it_is_the_smallest_box_around_what_differs(places, multiple, start, edges):
    data = grids(*places)
    window = Window.around(data, multiple=multiple)
    assert (window.start, window.edges) == (start, edges)
    left = data - data[:1]
    window.of(left).zero_()
    assert not left.any()


def test_voxels_that_all_grids_share_are_no_part_of_it():
    data = grids((5, 5, 5))
    data[:, :, 0] = 1
    assert Window.around(data, multiple=1).edges == (1, 1, 1)


def test_the_whole_cube_is_one():
    data = torch.randn(3, 1, 8, 8, 8)
    window = Window.around(data, multiple=4)
    assert window == Window.whole(8)
    assert torch.equal(window.of(data), data)
