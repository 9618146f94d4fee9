"""The bounds are proofs: no lattice value may lie outside, whatever the field."""

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.field_kernels import TILE_POINTS
from hdbench_baselines.hyperdiffusion.fields import FieldLayout, encode, lattice_field
from hdbench_baselines.hyperdiffusion.fitting import FittingRecipe, LabelledPoints, fit

from hdbench.geometry.isosurface import isosurface, lattice_axes
from hdbench.geometry.sparse_lattice import certified_values
from hdbench.shapes import defect

RESOLUTION = 34


def random_field(layout, seed, gain=3.0):
    return (layout.initial(np.random.default_rng(seed)) * gain).numpy()


def cancelling(layout, seed):
    """Large weights whose sums nearly cancel: what is left of a value is mostly its rounding."""
    tensors = layout.unpack(torch.from_numpy(random_field(layout, seed)))
    for weight in tensors[2:-2:2]:
        weight[:, 1::2] = -weight[:, ::2] * 1.0001
        weight *= 300
    tensors[0][1::2], tensors[1][1::2] = tensors[0][::2], tensors[1][::2]
    return torch.cat([tensor.reshape(-1) for tensor in tensors]).numpy()


def dead_layer(layout, seed):
    tensors = layout.unpack(torch.from_numpy(random_field(layout, seed)))
    tensors[3].fill_(-1e3)
    return torch.cat([tensor.reshape(-1) for tensor in tensors]).numpy()


def fitted():
    """A ball and a thin disc, fitted in 300 steps."""
    recipe = FittingRecipe(hidden=(32, 32, 32), octaves=4, batch_points=512, learning_rate=0.03, steps=300)
    rng = np.random.default_rng(5)
    points = rng.uniform(-0.5, 0.5, (20_000, 3)).astype(np.float32)
    ball = np.linalg.norm(points - np.float32([0.1, 0, 0]), axis=1) < 0.2
    disc = (np.abs(points[:, 1]) < 0.03) & (np.linalg.norm(points[:, ::2], axis=1) < 0.45)
    labelled = LabelledPoints(points, ball | disc, np.ones(len(points), np.float32))
    starts = recipe.layout.initial(rng)[None]
    return recipe.layout, fit(starts, [labelled], recipe, steps=recipe.steps, seed=0)[0].numpy()


@pytest.fixture(scope="module")
def fitted_field():
    return fitted()


PLAIN, ODD, DEEP = FieldLayout((24, 24, 24), 4), FieldLayout((13, 6), 6), FieldLayout((9, 17, 5, 11), 3)
FIELDS = {
    "one layer": (FieldLayout((7,), 2), random_field(FieldLayout((7,), 2), 0)),
    "no octaves": (FieldLayout((8, 8), 0), random_field(FieldLayout((8, 8), 0), 1)),
    "plain": (PLAIN, random_field(PLAIN, 2)),
    "odd widths": (ODD, random_field(ODD, 3)),
    "deep": (DEEP, random_field(DEEP, 4, gain=6)),
    "large": (PLAIN, random_field(PLAIN, 5, gain=1e3)),
    "huge": (PLAIN, random_field(PLAIN, 6, gain=1e8)),
    "tiny": (PLAIN, random_field(PLAIN, 7, gain=1e-9)),
    "underflowing": (PLAIN, random_field(PLAIN, 8, gain=1e-13)),
    "overflowing": (PLAIN, random_field(PLAIN, 9, gain=1e12)),
    "cancelling": (PLAIN, cancelling(PLAIN, 10)),
    "dead layer": (PLAIN, dead_layer(PLAIN, 11)),
    "constant": (PLAIN, np.zeros(PLAIN.count, np.float32)),
}


def boxes(resolution, rng):
    """Blocks of every size, all single points of a stretch, and boxes drawn at random."""
    found = []
    for size in (1, 2, 4, 8, 16, 64):
        low = np.argwhere(np.ones((-(-(resolution - 1) // size),) * 3, bool)) * size
        low = low[rng.permutation(len(low))[:300]]
        found.append((low, np.minimum(low + size, resolution - 1)))
    points = rng.integers(resolution, size=(3000, 3))
    found.append((points, points))
    ends = rng.integers(resolution, size=(2, 300, 3))
    found.append((ends.min(0), ends.max(0)))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def extremes(values, low, high):
    regions = [
        values[tuple(slice(a, b + 1) for a, b in zip(*ends, strict=True))] for ends in zip(low, high, strict=True)
    ]
    return np.array([r.min() for r in regions]), np.array([r.max() for r in regions])


def assert_bounds_hold(field, rng, axes=None):
    axes = axes or lattice_axes(RESOLUTION)
    values, (low, high) = field(*axes), boxes(len(axes[0]), rng)
    lowest, highest = field.on_lattice(*axes).bounds(low, high)
    least, greatest = extremes(values, low, high)
    assert not (lowest > least).any()
    assert not (highest < greatest).any()
    assert not ((lowest > -np.inf) & np.isnan(least)).any()
    assert not ((highest < np.inf) & np.isnan(least)).any()
    return values, (low, high), (lowest, highest)


@pytest.mark.parametrize("name", FIELDS)
def test_no_value_is_outside_its_bounds(name):
    layout, vector = FIELDS[name]
    assert_bounds_hold(lattice_field(layout, vector), np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(12))
def test_no_value_of_random_architectures_is_outside(seed):
    rng = np.random.default_rng(seed)
    layout = FieldLayout(tuple(rng.integers(1, 40, size=rng.integers(1, 5)).tolist()), int(rng.integers(0, 7)))
    vector = random_field(layout, seed, gain=10 ** rng.uniform(-1, 2))
    bounds = tuple(np.sort(rng.uniform(-3, 3, (2, 3)), 0).tolist())
    assert_bounds_hold(lattice_field(layout, vector), rng, lattice_axes(20, bounds))


def test_bounds_of_single_points_hold_by_the_rounding_alone_and_are_close(fitted_field):
    """With nothing to relax, only the allowance for rounding lies between a value and its bounds."""
    for layout, vector in (fitted_field, FIELDS["cancelling"], FIELDS["deep"], FIELDS["large"]):
        field, axes = lattice_field(layout, vector), lattice_axes(RESOLUTION)
        points = np.random.default_rng(1).integers(RESOLUTION, size=(5000, 3))
        lowest, highest = field.on_lattice(*axes).bounds(points, points)
        values = field(*axes)[tuple(points.T)]
        assert (lowest < values).all()
        assert (values < highest).all()
    layout, vector = fitted_field
    lowest, highest = lattice_field(layout, vector).on_lattice(*axes).bounds(points, points)
    assert (highest - lowest).max() < 0.05  # logits of fitted fields are in the tens


def test_bounds_of_the_mathematical_field_hold_too(fitted_field):
    """Values in float64, on the tables in float64, are within the allowance as well: it covers all of float32."""
    layout, vector = fitted_field
    axes = lattice_axes(12)
    points = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)).double()
    tensors = [tensor.double() for tensor in layout.unpack(torch.from_numpy(vector))]
    hidden = encode(points, layout.octaves)
    for weight, bias in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
        hidden = torch.relu(hidden @ weight.T + bias)
    exact = (hidden @ tensors[-2].T + tensors[-1]).view(12, 12, 12).numpy()
    low, high = boxes(12, np.random.default_rng(2))
    lowest, highest = lattice_field(layout, vector).on_lattice(*axes).bounds(low, high)
    least, greatest = extremes(exact, low, high)
    assert (lowest <= least).all()
    assert (greatest <= highest).all()


def test_bounds_of_fitted_fields_hold_and_decide_most_small_blocks(fitted_field):
    layout, vector = fitted_field
    values, (low, high), (lowest, highest) = assert_bounds_hold(
        lattice_field(layout, vector), np.random.default_rng(3), lattice_axes(97)
    )
    least, greatest = extremes(values, low, high)
    small = (high - low).max(1) == 4
    uniform, decided = (least > 0) | (greatest <= 0), (lowest > 0) | (highest <= 0)
    assert decided[small & uniform].mean() > 0.8


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("tensor", range(8))
def test_spoilt_weights_are_never_taken_for_proofs_and_never_crash(spoilt, tensor):
    start = sum(PLAIN.sizes[:tensor])
    vector = random_field(PLAIN, 13)
    vector[start + PLAIN.sizes[tensor] // 2] = spoilt
    field = lattice_field(PLAIN, vector)
    assert_bounds_hold(field, np.random.default_rng(4), lattice_axes(14))
    sparse, dense = isosurface(field, resolution=14), isosurface(field.__call__, resolution=14)
    np.testing.assert_array_equal(sparse.vertices, dense.vertices)
    np.testing.assert_array_equal(sparse.faces, dense.faces)
    defect(sparse)  # whatever it says, it says


def test_a_feature_that_is_spoilt_within_a_box_only_is_noticed():
    """The tables of the first layer, not its weights, overflow in the middle of an axis."""
    field, (x, y, z) = lattice_field(*FIELDS["plain"]), lattice_axes(9)
    x = x.copy()
    x[4] = np.nan
    lowest, highest = field.on_lattice(x, y, z).bounds(
        np.array([[0, 0, 0], [0, 0, 0]]), np.array([[8, 8, 8], [3, 8, 8]])
    )
    assert not lowest[0] > -np.inf
    assert not highest[0] < np.inf
    assert np.isfinite([lowest[1], highest[1]]).all()


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_a_spoilt_weight_of_a_unit_that_is_always_zero_is_noticed(spoilt):
    """Zero times a finite weight may be left out; zero times this one is NaN."""
    tensors = PLAIN.unpack(torch.from_numpy(FIELDS["dead layer"][1]).clone())
    tensors[4][3, 5] = spoilt
    field = lattice_field(PLAIN, torch.cat([tensor.reshape(-1) for tensor in tensors]).numpy())
    values, _, _ = assert_bounds_hold(field, np.random.default_rng(10), lattice_axes(6))
    assert np.isnan(values).all()


def test_fields_of_nan_are_empty_and_counted_invalid():
    mesh = isosurface(lattice_field(PLAIN, np.full(PLAIN.count, np.nan, np.float32)), resolution=20)
    assert defect(mesh) == "no faces"


@pytest.mark.parametrize("name", ["plain", "odd widths", "deep", "large", "dead layer", "constant", "overflowing"])
@pytest.mark.parametrize(("resolution", "quantile"), [(2, 0.5), (17, 0.9), (40, 0.02)])
def test_meshes_are_those_of_the_whole_lattice_to_the_last_bit(name, resolution, quantile):
    layout, vector = FIELDS[name]
    field = lattice_field(layout, vector)
    level = float(np.quantile(np.nan_to_num(field(*lattice_axes(resolution))), quantile))
    sparse, dense = (isosurface(f, resolution=resolution, level=level) for f in (field, field.__call__))
    np.testing.assert_array_equal(sparse.vertices, dense.vertices)
    np.testing.assert_array_equal(sparse.faces, dense.faces)


@pytest.mark.parametrize("level", [0.0, 1.386])
def test_fitted_fields_are_meshed_sparsely_and_identically(fitted_field, level):
    layout, vector = fitted_field
    field = lattice_field(layout, vector)
    sparse, dense = (isosurface(f, resolution=100, level=level) for f in (field, field.__call__))
    assert len(dense.faces) > 10_000
    np.testing.assert_array_equal(sparse.vertices, dense.vertices)
    np.testing.assert_array_equal(sparse.faces, dense.faces)
    known = certified_values(field.on_lattice(*lattice_axes(100)), (100,) * 3, np.float32(level))
    assert np.isfinite(known.values).sum() < 0.35 * 100**3


@pytest.mark.parametrize("name", ["plain", "odd widths", "deep", "large"])
def test_a_value_has_the_same_bits_whichever_points_are_asked_for(name):
    layout, vector = FIELDS[name]
    axes = lattice_axes(23)
    lattice, everything = lattice_field(layout, vector).on_lattice(*axes), np.arange(23**3)
    values = lattice.values(everything)
    rng = np.random.default_rng(6)
    for points in (
        everything[::-1],
        rng.permutation(everything)[:1001],
        np.repeat(everything[5:9], 40),
        everything[7 : 7 + TILE_POINTS],
        everything[3:3],
        *np.array_split(everything, 97),
    ):
        np.testing.assert_array_equal(lattice.values(points), values[points])
    np.testing.assert_array_equal(lattice_field(layout, vector)(*axes).reshape(-1), values)


def test_one_box_has_the_same_bounds_whichever_are_asked_for_with_it():
    lattice = lattice_field(*FIELDS["plain"]).on_lattice(*lattice_axes(RESOLUTION))
    low, high = boxes(RESOLUTION, np.random.default_rng(7))
    together, order = np.stack(lattice.bounds(low, high)), np.random.default_rng(8).permutation(len(low))[:777]
    np.testing.assert_array_equal(np.stack(lattice.bounds(low[order], high[order])), together[:, order])
    assert all(len(bound) == 0 for bound in lattice.bounds(low[:0], high[:0]))


@pytest.mark.parametrize("time", [0.0, 7.0, 15.0])
def test_fields_in_time_are_those_of_one_moment(time):
    layout = FieldLayout((15, 15), 3, dimensions=4)
    vector = random_field(layout, 14)
    field, axes = lattice_field(layout, vector, time=time), lattice_axes(20)
    values, _, _ = assert_bounds_hold(field, np.random.default_rng(9), axes)
    points = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)).double()
    points = torch.cat([points, torch.full((len(points), 1), time).double()], 1)
    tensors = [tensor.double() for tensor in layout.unpack(torch.from_numpy(vector))]
    hidden = torch.relu(encode(points, 3) @ tensors[0].T + tensors[1])
    hidden = torch.relu(hidden @ tensors[2].T + tensors[3])
    expected = (hidden @ tensors[4].T + tensors[5]).view(20, 20, 20).float().numpy()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5)


def test_time_goes_with_four_dimensions_only():
    with pytest.raises(ValueError, match="4 dimensions at time=None"):
        lattice_field(
            FieldLayout((4,), 1, dimensions=4), np.zeros(FieldLayout((4,), 1, dimensions=4).count, np.float32)
        )
    with pytest.raises(ValueError, match="3 dimensions at time=2"):
        lattice_field(FieldLayout((4,), 1), np.zeros(FieldLayout((4,), 1).count, np.float32), time=2)
