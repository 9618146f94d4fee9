import numpy as np
import pytest

from hdbench.distances.blocks import make_blocks
from hdbench.distances.bounds import lower_bounds
from hdbench.distances.chamfer import cd_sq_directions, cd_sq_matrix, frames_as_clouds
from hdbench.distances.search import cd_sq_nearest
from hdbench.errors import HdbenchError

FIRST = 30


def structured(rng, points=300):
    """Boxes of random proportions with a sheet through them: alike, and yet each its own."""
    size = np.exp(0.4 * rng.normal(size=3))
    surface = rng.uniform(-1, 1, (points, 3))
    surface[np.arange(points), rng.integers(0, 3, points)] = rng.choice([-1, 1], points)
    surface[: points // 4, 2] = 0.3 * surface[: points // 4, 0]
    return surface * size


def shapes(kind, seed=0, count=70):
    rng = np.random.default_rng(seed)
    if kind == "random":
        made = rng.uniform(-1.5, 1.5, (count, 200, 3))
    elif kind == "noisy":
        made = np.stack([structured(rng) + 0.05 * rng.normal(size=(300, 3)) for _ in range(count)])
    elif kind == "duplicates":
        made = np.stack([structured(np.random.default_rng(index % 7)) for index in range(count)])
    elif kind == "constant":
        made = np.repeat(rng.normal(size=(count, 1, 3)), 20, axis=1)
    elif kind == "same point":
        made = np.full((count, 20, 3), 0.1)
    elif kind == "outlier":
        made = np.stack([structured(rng) for _ in range(count)])
        made[5, 7] = 1e6
    elif kind == "offset":
        made = np.stack([structured(rng) * 0.1 + 50 for _ in range(count)])
    elif kind == "sequences":
        made = np.stack([np.stack([structured(rng, 60) + frame for frame in range(3)]) for _ in range(count)])
    else:
        made = np.stack([structured(rng) for _ in range(count)])
    return made.astype(np.float32)


KINDS = ["structured", "noisy", "random", "duplicates", "constant", "same point", "outlier", "offset", "sequences"]


def from_matrix(matrix, length):
    """The answer, from all distances: (index, distance) of each group's nearest, ties by lowest index."""
    others = matrix + np.diag(np.full(len(matrix), np.inf))
    index, distance = [], []
    for group in (slice(0, FIRST), slice(FIRST, None)):
        order = np.argsort(others[:, group], axis=1, kind="stable")[:, :length]
        index.append(order)
        distance.append(np.take_along_axis(others[:, group], order, axis=1))
    return np.stack(index, axis=1), np.stack(distance, axis=1)


@pytest.mark.parametrize("length", [1, 5, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_the_search_finds_what_the_matrix_holds_to_the_last_bit(kind, length):
    points = shapes(kind)
    index, distance = from_matrix(cd_sq_matrix(points), length)
    found = cd_sq_nearest(points, first_group=FIRST, length=length)
    assert np.array_equal(found.distances, distance)
    assert np.array_equal(found.members, index)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_group_in_the_first_alone(kind):
    points = shapes(kind)
    everything = cd_sq_nearest(points, first_group=FIRST, length=3)
    found = cd_sq_nearest(points, first_group=FIRST, length=3, only_second_in_first=True)
    wanted = np.zeros((len(points), 2, 1), bool)
    wanted[FIRST:, 0] = True
    assert np.array_equal(found.members, np.where(wanted, everything.members, -1))
    assert np.array_equal(found.distances, np.where(wanted, everything.distances, np.inf))
    assert found.measured <= everything.measured


@pytest.mark.parametrize("step", [0.05, 0.3, 2.0, 100.0])
def test_neither_step_nor_threads_change_the_answer(step):
    points = shapes("structured")
    usual = cd_sq_nearest(points, first_group=FIRST, length=3, workers=1)
    other = cd_sq_nearest(points, first_group=FIRST, length=3, workers=3, step=step)
    assert np.array_equal(usual.members, other.members)
    assert np.array_equal(usual.distances, other.distances)


@pytest.mark.parametrize("step", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_no_bound_exceeds_its_distance(kind, step):
    points = shapes(kind, count=24)
    clouds, frames = frames_as_clouds(points)
    bounds = lower_bounds(clouds, make_blocks(clouds), frames=frames, step=step)
    exact = np.array([[cd_sq_directions(a, b).a_to_b for b in points] for a in points])
    assert bounds.shape == exact.shape
    assert (bounds <= exact).all()
    assert (bounds >= 0).all()


def test_bounds_are_tight_enough_to_prune():
    clouds = shapes("structured", count=24)
    bounds = lower_bounds(clouds, make_blocks(clouds), frames=1, step=0.1)
    exact = np.array([[cd_sq_directions(a, b).a_to_b for b in clouds] for a in clouds])
    apart = ~np.eye(len(clouds), dtype=bool)
    assert np.median(bounds[apart] / exact[apart]) > 0.8


def test_few_pairs_are_measured_on_shapes():
    points = shapes("structured", count=200)
    found = cd_sq_nearest(points, first_group=100, length=1)
    assert found.measured < 0.15 * 200 * 199 / 2


def test_lists_longer_than_a_group_end_in_blanks():
    points = shapes("structured", count=FIRST + 4)
    found = cd_sq_nearest(points, first_group=FIRST, length=6)
    assert (found.members[0, 1] >= 0).tolist() == [True] * 4 + [False] * 2
    assert np.isinf(found.distances[0, 1, 4:]).all()
    assert (found.members[-1, 1] >= 0).sum() == 3  # a shape is not in its own list


def test_unusable_coordinates_are_refused():
    points = shapes("structured", count=8)
    points[3, 4, 1] = np.nan
    with pytest.raises(HdbenchError, match="cloud 3 of 8"):
        cd_sq_nearest(points, first_group=4, length=1)
