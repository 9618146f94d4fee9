"""The embedded dataset: solid, connected, deterministic, split as promised; and the lofts it is made of."""

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256

import igl
import numpy as np
import pytest
import trimesh

from hdbench.datasets.base import SPLITS
from hdbench.datasets.procedural import dataset as procedural
from hdbench.datasets.procedural.dataset import MESH_CATEGORIES, VERSION, Procedural
from hdbench.datasets.procedural.lofts import (
    Solid,
    X,
    Y,
    Z,
    aerofoil,
    along,
    beam,
    block,
    fillet,
    loft,
    merged,
    mirrored,
    rounded_rectangle,
    superellipse,
    sweep,
    turned,
    united,
    wing,
)
from hdbench.datasets.procedural.parameters import Between, OneOf, Subtype, choose_subtype, draw
from hdbench.errors import HdbenchError
from hdbench.shapes import Mesh

SUBTYPES = [(name, subtype) for name in MESH_CATEGORIES for subtype in procedural._CATEGORIES[name].subtypes]

DIGESTS = {
    2: {
        "airplane-00003": "6f1a07dbda6c773c",
        "airplane-00009": "c3f8a7b0e37c6823",
        "airplane-00000": "64c213d9bd99a6ab",
        "airplane-00019": "8b79dbb1ef096b48",
        "airplane-00002": "c29b8ec8be86905d",
        "airplane-00010": "8760b601b48851b2",
        "airplane-00008": "b37b5da3c352bc03",
        "car-00004": "5687f609a2226d0f",
        "car-00003": "fe0aac3e240c58c9",
        "car-00000": "5285941ccbee27ec",
        "car-00021": "f5df5a190d1a90cc",
        "car-00016": "fbf6fd28fc743d63",
        "car-00001": "8d30a04ac380c091",
        "car-00019": "0fee125fa6a3ee18",
        "car-00037": "fbe49be03a1627b5",
        "chair-00001": "7b3a3b9eec7d06e0",
        "chair-00002": "f547368cdbb01c0a",
        "chair-00007": "0419f2cd08b36660",
        "chair-00003": "0f52caaac1fcb576",
        "chair-00000": "9d8d4a8b3c1bc0ef",
        "chair-00033": "4bb21169a9194e33",
        "chair-00009": "1d950ca822fed85c",
    },
}


def some_of(category: str, subtype: str, count: int) -> list[str]:
    """The first `count` shapes of one sub-type."""
    dataset = Procedural(category)
    names = (f"{category}-{index:05d}" for index in range(10_000))
    return [name for name, _ in zip((n for n in names if dataset.subtype(n) == subtype), range(count), strict=False)]


def as_trimesh(shape: Solid | Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(shape.vertices, shape.faces, process=False)


def digest(mesh: Mesh) -> str:
    """A digest of the set of vertices, coarse enough for another release of numpy or manifold3d."""
    grid = np.unique(np.round(mesh.vertices.astype(np.float64) * 1e5).astype(np.int64), axis=0)
    return sha256(grid.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(("category", "subtype"), SUBTYPES)
def test_shapes_are_watertight_connected_and_normalised(category: str, subtype: str) -> None:
    dataset = Procedural(category)
    for name in some_of(category, subtype, 6):
        mesh = dataset.shape(name)
        solid = as_trimesh(mesh)
        assert solid.is_watertight, name
        assert solid.is_winding_consistent, name
        assert solid.body_count == 1, name
        assert solid.volume > 0, name
        assert 400 <= len(mesh.faces) <= 8000, name
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        np.testing.assert_allclose((low + high) / 2, 0, atol=1e-6)
        assert np.max(high - low) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("category", "subtype"), SUBTYPES)
def test_shapes_are_thick_enough_to_be_learnt(category: str, subtype: str) -> None:
    (name,) = some_of(category, subtype, 1)
    mesh = Procedural(category).shape(name)
    solid = as_trimesh(mesh)
    points, faces = trimesh.sample.sample_surface(solid, 2000, seed=0)
    sunk = points - 0.008 * solid.face_normals[faces]
    inside = igl.winding_number(mesh.vertices.astype(float), mesh.faces.astype(np.int64), sunk) > 0.5
    assert inside.mean() > 0.93  # what remains lies at sharp rims and in panes' corners
    assert solid.volume > 0.002


@pytest.mark.parametrize(("category", "subtype"), SUBTYPES)
def test_left_and_right_are_alike(category: str, subtype: str) -> None:
    (name,) = some_of(category, subtype, 1)
    dataset = Procedural(category)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)).astype(np.float32)
    mirror = points * np.float32([-1, 1, 1])
    differ = dataset.occupancy(name, points) != dataset.occupancy(name, mirror)
    assert differ.mean() < 1e-3  # rounding, on the surface itself


@pytest.mark.parametrize("category", MESH_CATEGORIES)
def test_occupancy_agrees_with_the_exact_winding_number(category: str) -> None:
    dataset = Procedural(category)
    rng = np.random.default_rng(1)
    for name in dataset.ids("val")[:4]:
        mesh = dataset.shape(name)
        near, _ = trimesh.sample.sample_surface(as_trimesh(mesh), 1000, seed=2)
        points = np.concatenate([rng.uniform(-0.55, 0.55, (1000, 3)), near + rng.normal(0, 0.01, (1000, 3))])
        points = points.astype(np.float32)
        exact = igl.winding_number(mesh.vertices.astype(float), mesh.faces.astype(np.int64), points.astype(float))
        np.testing.assert_array_equal(dataset.occupancy(name, points), exact >= 0.5)


@pytest.mark.parametrize(
    ("category", "subtype"),
    [("airplane", "airliner"), ("airplane", "fighter"), ("car", "hatchback"), ("car", "estate"), ("chair", "dining")],
)
def test_fins_roofs_and_backs_stand_behind(category: str, subtype: str) -> None:
    dataset = Procedural(category)
    for name in some_of(category, subtype, 5):
        vertices = dataset.shape(name).vertices
        front, rear = (vertices[side * vertices[:, 2] > 0.15, 1].max() for side in (-1, 1))
        assert rear > front + 0.05, name


@pytest.mark.parametrize("category", MESH_CATEGORIES)
def test_same_seed_same_shape_other_index_or_seed_another(category: str) -> None:
    name, other = f"{category}-00007", f"{category}-00008"
    first = Procedural(category).shape(name)
    procedural._shape.cache_clear()
    again = Procedural(category, size=10).shape(name)
    np.testing.assert_array_equal(first.vertices, again.vertices)
    np.testing.assert_array_equal(first.faces, again.faces)
    assert len({digest(first), digest(Procedural(category).shape(other))}) == 2
    assert Procedural(category).parameters(name) != Procedural(category, seed=1).parameters(name)


def test_shapes_are_those_of_the_stored_version() -> None:
    """When this fails because shapes were meant to change: raise VERSION and store the new digests."""
    found = {name: digest(Procedural(name.split("-")[0]).shape(name)) for name in DIGESTS[VERSION]}
    assert found == DIGESTS[VERSION]


@pytest.mark.parametrize("category", MESH_CATEGORIES)
def test_every_subtype_occurs_about_as_often_as_its_weight_says(category: str) -> None:
    dataset = Procedural(category)
    names = [name for split in SPLITS for name in dataset.ids(split)]
    counts = Counter(dataset.subtype(name) for name in names)
    subtypes = procedural._CATEGORIES[category].subtypes
    total = sum(subtype.weight for subtype in subtypes.values())
    for name, subtype in subtypes.items():
        share = subtype.weight / total
        deviation = np.sqrt(share * (1 - share) / len(names))
        assert abs(counts[name] / len(names) - share) < 4 * deviation, name


def test_splits_are_disjoint_and_in_proportion() -> None:
    dataset = Procedural("chair")
    assert {split: len(dataset.ids(split)) for split in SPLITS} == {"train": 352, "val": 22, "test": 66}
    assert len({name for split in SPLITS for name in dataset.ids(split)}) == 440
    for size in (20, 50, 137):
        parts = [len(Procedural("chair", size=size).ids(split)) for split in SPLITS]
        assert sum(parts) == size
        np.testing.assert_allclose(np.array(parts) / size, [0.8, 0.05, 0.15], atol=0.03)


def test_a_larger_dataset_keeps_the_splits_of_a_smaller_one() -> None:
    small, large = Procedural("car", size=100), Procedural("car", size=200)
    for split in SPLITS:
        assert large.ids(split)[: len(small.ids(split))] == small.ids(split)


def test_fresh_shapes_stand_in_no_split() -> None:
    dataset = Procedural("airplane")
    splits = {name for split in SPLITS for name in dataset.ids(split)}
    first, again, other = (dict(dataset.fresh(3, seed)) for seed in (0, 0, 1))
    assert not splits & (first.keys() | other.keys())
    assert first.keys() == again.keys()
    assert not first.keys() & other.keys()
    assert dict(dataset.fresh(2, 0)).keys() < first.keys()
    name = next(iter(first))
    assert digest(dataset.shape(name)) == digest(first[name])
    with pytest.raises(HdbenchError, match="must not be negative"):
        dataset.fresh(1, -1)


def test_fingerprint_tells_datasets_apart() -> None:
    prints = [
        Procedural(category, seed=seed, size=size).fingerprint()
        for category in MESH_CATEGORIES
        for seed in (0, 1)
        for size in (20, 440)
    ]
    assert len({str(sorted(entry.items())) for entry in prints}) == len(prints)
    assert all(entry["version"] == VERSION for entry in prints)


@pytest.mark.parametrize("name", ["chair-7", "chair-000007", "car-00007", "chair-00007x", "", "chair--0001"])
def test_foreign_names_are_refused(name: str) -> None:
    with pytest.raises(HdbenchError, match="names look like 'chair-00012'"):
        Procedural("chair").shape(name)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(HdbenchError, match="Did you mean 'airplane'"):
        Procedural("airplan")
    with pytest.raises(HdbenchError, match="0 shapes"):
        Procedural("chair", size=0)


def test_importing_the_dataset_imports_nothing_heavy() -> None:
    heavy = ["manifold3d", "scipy", "trimesh", "torch", "point_cloud_utils", "pyvista"]
    code = f"import sys, hdbench.datasets.procedural.dataset; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


SQUARE = np.array([(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)])


def cube(low: float, high: float) -> Solid:
    return block((low, low, low), (high, high, high), radius=0.0)


@pytest.mark.parametrize("turn", [1, -1])
def test_loft_of_squares_is_a_box_with_outward_fronts(turn: int) -> None:
    sections = np.stack([np.insert(SQUARE[::turn], 2, z, axis=1) for z in (0.0, 1.0, 3.0)])
    solid = as_trimesh(loft(sections))
    assert solid.is_watertight
    assert solid.volume == pytest.approx(12)


@pytest.mark.parametrize(
    "solid",
    [
        along(Z, np.array([(0, 0, 0, 1, 2), (1, 0.5, 0, 2, 1), (2, 0, 0, 1, 1)]), exponent=3),
        along(X, np.array([(0, 0, 0, 1, 2), (2, 0, 0, 1, 1)])),
        beam((0, 0, 0), (1, 2, 3), (0.1, 0.2), taper=0.5),
        beam((-1, 0, 0), (1, 0, 0), (0.1, 0.1)),
        block((0, 0, 0), (1, 2, 3), radius=0.2, bevel=0.1),
        sweep(fillet([(0, 0, 0), (0, 1, 0), (0, 1, 1)], 0.3), np.array([0.1, 0.1]), X),
        turned([(0.2, 0.5), (0.0, 0.7), (0.0, 1.0), (2.0, 0.8)], (1, 2, 3), Y),
        wing(np.array([(-1, 0, 0.5), (0, 0, 0), (1, 0, 0.5)]), np.ones(3), np.full(3, 0.1), np.tile(Y, (3, 1))),
    ],
    ids=["along z", "along x", "beam", "beam along x", "block", "bent sweep", "turned with a mouth", "wing"],
)
def test_every_loft_is_a_solid(solid: Solid) -> None:
    mesh = as_trimesh(solid)
    assert mesh.is_watertight
    assert mesh.volume > 0
    assert as_trimesh(merged([solid])).volume == pytest.approx(mesh.volume, rel=1e-9)


def test_volumes_of_known_bodies() -> None:
    cylinder = turned([(0.0, 1.0), (2.0, 1.0)], (0, 0, 0), Y, corners=200)
    assert as_trimesh(cylinder).volume == pytest.approx(2 * np.pi, rel=1e-3)
    rod = sweep(np.array([(0, 0, 0), (0, 0, 3.0)]), np.array([1.0, 0.5]), X, corners=200)
    assert as_trimesh(rod).volume == pytest.approx(1.5 * np.pi, rel=1e-3)
    slab = block((0, 0, 0), (4, 1, 2), radius=0.5)
    assert as_trimesh(slab).volume == pytest.approx(8 - (4 - np.pi) * 0.25, rel=0.01)


def test_union_and_difference_have_the_volumes_they_should() -> None:
    both = merged([cube(0, 2), cube(1, 3)])
    assert as_trimesh(both).volume == pytest.approx(15)
    less = merged([cube(0, 2)], without=[cube(1, 3), cube(-1, 0.5)])
    assert as_trimesh(less).volume == pytest.approx(8 - 1 - 0.125)


def test_mirror_images_face_outwards() -> None:
    pair = mirrored([cube(1, 2)])
    assert [as_trimesh(solid).volume for solid in pair] == pytest.approx([1, 1])
    assert pair[1].vertices[:, 0].max() == -1


def test_union_drops_splinters_and_is_normalised() -> None:
    mesh = united([cube(0, 2), cube(5, 5.01)])
    np.testing.assert_allclose([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)], [[-0.5] * 3, [0.5] * 3])


def test_what_is_no_solid_is_named() -> None:
    open_box = Solid(cube(0, 1).vertices, cube(0, 1).faces[:-1])
    with pytest.raises(ValueError, match="part 1 is not a solid"):
        united([cube(0, 1), open_box])


def test_outlines() -> None:
    x, y = superellipse(4, 16).T
    np.testing.assert_allclose(x**4 + y**4, 1)
    assert np.abs(rounded_rectangle(2, 1, 0.3)).max(axis=0) == pytest.approx([2, 1])
    chord, half = aerofoil().T
    assert (chord.min(), chord.max(), half.max()) == pytest.approx((0, 1, 1))
    np.testing.assert_allclose(half.sum(), 0, atol=1e-12)


@dataclass(frozen=True)
class Thing:
    size: float = 1.0
    colour: str = "red"
    count: int = 2


def test_parameters_are_drawn_from_their_tables() -> None:
    table = {"size": Between(2, 3), "colour": OneOf("blue", "green")}
    things = [draw(Thing, table, np.random.default_rng(seed)) for seed in range(50)]
    assert all(2 <= thing.size <= 3 and thing.count == 2 for thing in things)
    assert {thing.colour for thing in things} == {"blue", "green"}
    assert draw(Thing, table, np.random.default_rng(0)) == things[0]
    assert draw(Thing, {"count": 5}, np.random.default_rng(0)) == Thing(count=5)


def test_subtypes_follow_their_weights() -> None:
    rng = np.random.default_rng(0)
    chosen = Counter(choose_subtype({"a": Subtype(3, {}), "b": Subtype(1, {})}, rng) for _ in range(2000))
    assert chosen["a"] / 2000 == pytest.approx(0.75, abs=0.04)
