"""Animals: closed in every frame, of one topology, on the ground, in step, and as many kinds as promised."""

from collections import Counter
from dataclasses import replace
from functools import cache
from hashlib import sha256

import igl
import numpy as np
import pytest
import trimesh

from hdbench.datasets.base import SPLITS
from hdbench.datasets.procedural import animal, animal_gaits, animal_skeleton
from hdbench.datasets.procedural.animal_body import body
from hdbench.datasets.procedural.animal_gaits import FRAMES, GAITS, pose_of, standing
from hdbench.datasets.procedural.animal_parameters import SUBTYPES, Animal
from hdbench.datasets.procedural.animal_skeleton import BONES, LEGS, REACH, bend, pitch, posed, skeleton_of, yaw
from hdbench.datasets.procedural.animal_skin import Part, chain, evened, flexible, rigid, united
from hdbench.datasets.procedural.dataset import ANIMAL_VERSION, Procedural
from hdbench.datasets.procedural.lofts import X, Y, Z, along, block, sweep
from hdbench.datasets.procedural.parameters import OneOf
from hdbench.shapes import Sequence

DATASET = Procedural("animal")
DIGESTS = {
    1: {
        "animal-00000": "1ce408c6c9f716d5",
        "animal-00001": "85eeef36383c0017",
        "animal-00002": "ebe18fd5c3c8583c",
        "animal-00004": "2fcb5ee83f3ad3fb",
        "animal-00005": "b7318501bdb403fb",
        "animal-00006": "c33418f2eab77bff",
        "animal-00007": "82fd7b9fcc68e68a",
        "animal-00009": "610ddd3b4d343dd5",
        "animal-00015": "3619f0e25c725a64",
        "animal-00016": "c9ba50b846861714",
        "animal-00022": "7596eea4119394ff",
        "animal-00033": "eedd58001e2cfa20",
    },
}


@cache
def one_of_each() -> dict[tuple[str, str], str]:
    """The first clip of each sub-type and gait."""
    found: dict[tuple[str, str], str] = {}
    for index in range(600):
        name = f"animal-{index:05d}"
        found.setdefault((DATASET.subtype(name), DATASET.parameters(name).gait), name)
    return found


def first_of(gait: str) -> Animal:
    return DATASET.parameters(next(name for (_, its_gait), name in one_of_each().items() if its_gait == gait))


def vertices_of(clip: Sequence) -> np.ndarray:
    return np.stack([frame.vertices for frame in clip.frames])


def volumes(clip: Sequence) -> np.ndarray:
    a, b, c = (vertices_of(clip).astype(np.float64)[:, clip.frames[0].faces[:, corner]] for corner in range(3))
    return np.einsum("tfi,tfi->t", a, np.cross(b, c)) / 6


def digest(clip: Sequence) -> str:
    """A digest of the clip, coarse enough for another release of numpy or manifold3d."""
    grid = np.unique(np.round(vertices_of(clip)[::5].reshape(-1, 3) * 1e4).astype(np.int64), axis=0)
    return sha256(grid.tobytes()).hexdigest()[:16]


def test_every_kind_and_every_gait_occurs():
    expected = {
        (kind, gait)
        for kind, subtype in SUBTYPES.items()
        for gait in (subtype.table["gait"].options if isinstance(subtype.table["gait"], OneOf) else ["walk"])
    }
    assert set(one_of_each()) == expected
    assert {gait for _, gait in expected} == {*GAITS, "leap"}


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_clips_are_closed_connected_and_of_one_topology(subtype):
    for (kind, gait), name in one_of_each().items():
        if kind != subtype:
            continue
        clip = DATASET.shape(name)
        assert len(clip.frames) == FRAMES
        faces = clip.frames[0].faces
        assert all(np.array_equal(frame.faces, faces) for frame in clip.frames)
        surface = trimesh.Trimesh(clip.frames[0].vertices, faces, process=False)
        assert surface.is_watertight, name
        assert surface.is_winding_consistent, name
        assert surface.body_count == 1, name
        assert 2000 <= len(faces) <= 8000, name
        found = volumes(clip)
        assert found.min() > 0.003, name
        # A crouching animal's thighs press into its belly; nothing else takes volume away.
        assert np.ptp(found) < (0.06 if gait in ("walk", "trot", "run") else 0.2) * found.mean(), (name, kind, gait)
        points = vertices_of(clip).reshape(-1, 3)
        np.testing.assert_allclose(points.min(axis=0) + points.max(axis=0), 0, atol=1e-6)
        assert np.ptp(points, axis=0).max() == pytest.approx(1, abs=1e-6)
        assert min(np.ptp(frame.vertices, axis=0).max() for frame in clip.frames) > 0.6


@pytest.mark.parametrize(("subtype", "gait"), [("dog", "gallop"), ("rabbit", "bound"), ("kangaroo", "hop")])
def test_nothing_turns_inside_out(subtype, gait):
    clip = DATASET.shape(one_of_each()[subtype, gait])
    rng = np.random.default_rng(0)
    for frame in clip.frames[::5]:
        points = rng.uniform(frame.vertices.min(axis=0), frame.vertices.max(axis=0), (1500, 3))
        winding = igl.winding_number(frame.vertices.astype(float), frame.faces.astype(np.int64), points)
        assert (winding < -0.5).mean() < 1e-3
        assert (winding > 1.5).sum() < 0.1 * (winding > 0.5).sum()  # parts that press into each other


def test_animals_differ_but_the_same_name_is_the_same_clip():
    name = "animal-00012"
    first = DATASET.shape(name)
    again = animal.build(DATASET.parameters(name))
    np.testing.assert_array_equal(vertices_of(first), vertices_of(again))
    np.testing.assert_array_equal(first.frames[0].faces, again.frames[0].faces)
    assert DATASET.shape(name) is first  # kept, frames and all
    names = [name for split in SPLITS for name in DATASET.ids(split)]
    assert len({DATASET.parameters(name) for name in names}) == len(names) == 220
    assert Procedural("animal", seed=1).parameters(name) != DATASET.parameters(name)


def test_clips_are_those_of_the_stored_version():
    """When this fails because clips were meant to change: raise ANIMAL_VERSION and store the new digests."""
    found = {name: digest(DATASET.shape(name)) for name in DIGESTS[ANIMAL_VERSION]}
    assert found == DIGESTS[ANIMAL_VERSION]


def test_splits_and_kinds():
    assert DATASET.kind == "sequence"
    assert Procedural("chair").kind == "mesh"
    assert {split: len(DATASET.ids(split)) for split in SPLITS} == {"train": 176, "val": 11, "test": 33}
    kinds = Counter(DATASET.subtype(name) for split in SPLITS for name in DATASET.ids(split))
    assert set(kinds) == set(SUBTYPES)
    assert DATASET.fingerprint()["version"] == ANIMAL_VERSION


def test_occupancy_is_that_of_the_frame_asked_for():
    name = one_of_each()["horse", "gallop"]
    clip = DATASET.shape(name)
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (3000, 3)).astype(np.float32)
    for index in (0, 7):
        frame = clip.frames[index]
        exact = igl.winding_number(frame.vertices.astype(float), frame.faces.astype(np.int64), points.astype(float))
        np.testing.assert_array_equal(DATASET.occupancy(name, points, frame=index), exact >= 0.5)
    assert (DATASET.occupancy(name, points, frame=0) != DATASET.occupancy(name, points, frame=7)).any()


@pytest.mark.parametrize("gait", GAITS)
def test_gaits_repeat_themselves(gait):
    """A clip begun one frame later is the same clip, its first frame at the end."""
    one = first_of(gait)
    clip, later = (vertices_of(animal.build(each)) for each in (one, replace(one, start=one.start + 1 / FRAMES)))
    np.testing.assert_allclose(later, np.roll(clip, -1, axis=0), atol=1e-5)
    steps = np.abs(np.diff(np.concatenate([clip, clip[:1]]), axis=0)).max(axis=(1, 2))
    assert steps.max() < 0.3  # no jump from one frame to the next
    assert steps.min() > 1e-3  # and no frame twice


@pytest.mark.parametrize("gait", [*GAITS, "leap"])
def test_feet_stand_still_on_the_ground(gait):
    one = first_of(gait)
    skeleton = skeleton_of(one)
    pose = pose_of(one, skeleton)
    motion = posed(skeleton, pose)
    ground = []
    for leg in (leg for leg in skeleton.legs if not leg.is_arm):
        on_ground = standing(pose, leg)
        assert 3 <= on_ground.sum() < FRAMES
        place = motion.place[:, BONES.index(f"{leg.name} foot")]
        np.testing.assert_allclose(place[on_ground, 1], leg.joints[3, 1], atol=2e-4)  # neither sunk nor lifted
        assert (place[~on_ground, 1] > leg.joints[3, 1] - 1e-9).all()
        pairs = on_ground & np.roll(on_ground, -1)
        ground += list((np.roll(place[:, 2], -1) - place[:, 2])[pairs] if gait != "leap" else [0.0])
        toes = pose.toes[leg.name][on_ground]
        np.testing.assert_allclose(toes, 0, atol=1e-9)
    # All standing feet move with the ground, as far as their legs are of one length.
    assert min(ground) >= 0.0
    assert np.ptp(ground) <= 0.2 * np.mean(ground) + 2e-3


def test_footfalls_are_those_of_the_gaits():
    order = sorted(LEGS, key=lambda leg: GAITS["walk"].footfalls[LEGS.index(leg)])
    assert order == ["hind-left", "fore-left", "hind-right", "fore-right"]  # lateral sequence
    hind_left, hind_right, fore_left, fore_right = GAITS["trot"].footfalls
    assert (hind_left, hind_right) == (fore_right, fore_left)  # diagonal pairs
    airborne = {gait: _airborne(first_of(gait)) for gait in (*GAITS, "leap")}
    assert airborne["walk"] == 0
    assert all(airborne[gait] > 0 for gait in ("trot", "gallop", "bound", "run", "hop", "leap"))


def _airborne(one: Animal) -> int:
    """In how many frames no foot is on the ground."""
    skeleton = skeleton_of(one)
    pose = pose_of(one, skeleton)
    return int((~np.any([standing(pose, leg) for leg in skeleton.legs if not leg.is_arm], axis=0)).sum())


def test_knees_bend_forwards_and_elbows_backwards():
    one = first_of("gallop")
    skeleton = skeleton_of(one)
    motion = posed(skeleton, pose_of(one, skeleton))
    for leg in skeleton.legs:
        hip, knee, ankle = (
            motion.place[:, BONES.index(f"{leg.name} {segment}")] for segment in ("upper", "lower", "cannon")
        )
        share = ((knee - hip) * (ankle - hip)).sum(axis=1) / ((ankle - hip) ** 2).sum(axis=1)
        bulge = (knee - hip - share[:, None] * (ankle - hip))[:, 2]
        assert (bulge < 0).all() if leg.is_hind else (bulge > 0).all()


def test_animals_look_along_minus_z_with_the_head_in_front():
    for subtype in ("dog", "horse", "giraffe", "ostrich", "elephant"):
        name = next(name for (kind, gait), name in one_of_each().items() if kind == subtype and gait in ("walk", "run"))
        vertices = DATASET.shape(name).frames[0].vertices
        highest = vertices[vertices[:, 1] > np.quantile(vertices[:, 1], 0.98)]
        assert highest[:, 2].mean() < 0 or subtype == "elephant", subtype
        snout = vertices[vertices[:, 2].argmin()]
        assert abs(snout[0]) < 0.2


def test_a_leap_leaves_the_ground_and_comes_back():
    clip = vertices_of(animal.build(first_of("leap")))
    low = clip[..., 1].min(axis=1)
    assert low.argmax() in range(5, 12)
    assert low.max() - low[0] > 0.03
    assert abs(low[-1] - low[0]) < 0.02


def test_at_rest_nothing_moves():
    one = DATASET.parameters("animal-00001")
    skeleton = skeleton_of(one)
    skin = body(one, skeleton)
    still = np.zeros(2)
    nothing = animal_skeleton.Pose(
        rise=still, pitch=still, flex=still, sway=still, nod=still, gaze=0.0,
        tail_sway=np.zeros((2, 4)), tail_rise=still, trunk=still,
        feet={leg.name: np.zeros((2, 3)) for leg in skeleton.legs},
        cannon={leg.name: still for leg in skeleton.legs}, toes={leg.name: still for leg in skeleton.legs},
    )  # fmt: skip
    moved = posed(skeleton, nothing).skin(skin.vertices, skin.weights)
    np.testing.assert_allclose(moved, np.stack([skin.vertices] * 2), atol=1e-9)
    np.testing.assert_allclose(skin.weights.sum(axis=1), 1)
    assert skin.weights.min() >= 0


def test_what_hangs_on_one_bone_moves_rigidly():
    one = DATASET.parameters("animal-00001")
    skeleton = skeleton_of(one)
    motion = posed(skeleton, pose_of(one, skeleton))
    points = np.random.default_rng(0).normal(size=(30, 3))
    bones = np.arange(30) % len(BONES)
    moved = motion.skin(points, np.eye(len(BONES))[bones])
    for vertex, bone in enumerate(bones):
        expected = motion.turn[:, bone] @ (points[vertex] - motion.joint[bone]) + motion.place[:, bone]
        np.testing.assert_allclose(moved[:, vertex], expected, atol=1e-9)


def test_turns():
    np.testing.assert_allclose(pitch(90.0) @ -Z, Y, atol=1e-12)  # the nose goes up
    np.testing.assert_allclose(yaw(90.0) @ -Z, -X, atol=1e-12)  # and to the left
    assert yaw(np.zeros(5)).shape == (5, 3, 3)


@pytest.mark.parametrize("distance", [0.01, 0.5, 1.2, 3.0])
def test_legs_keep_their_lengths_and_reach_as_far_as_they_can(distance):
    hip, target = np.zeros(3), np.array([0.0, -distance, 0.0])
    knee, ankle = bend(hip, target, np.array([0.8, 0.6]), -Z)
    assert np.linalg.norm(knee) == pytest.approx(0.8)
    assert np.linalg.norm(ankle - knee) == pytest.approx(0.6)
    assert knee[2] < 0
    assert -ankle[1] == pytest.approx(np.clip(distance, 1.02 * 0.2, REACH * 1.4))


def test_chain_blends_one_bone_into_the_next():
    weights = chain(np.array([0.0, 0.9, 1.0, 1.1, 2.0]), ("pelvis", "chest"), [(1.0, 0.1)])
    np.testing.assert_allclose(weights[:, BONES.index("chest")], [0, 0, 0.5, 1, 1], atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_the_union_brings_the_weights_along():
    lower = rigid(block((-1, 0, -1), (1, 2, 1), radius=0), "pelvis")
    path = np.array([(0, y, 0) for y in (1.0, 3.0, 5.0)])
    upper = flexible(sweep(path, np.array([0.3, 0.3]), X), chain(path[:, 1], ("pelvis", "head"), [(3.0, 1.0)]))
    skin = united([lower, upper])
    surface = trimesh.Trimesh(skin.vertices, skin.faces, process=False)
    assert surface.is_watertight
    assert surface.volume > 8.4
    np.testing.assert_allclose(skin.weights.sum(axis=1), 1)
    head = skin.weights[:, BONES.index("head")]
    assert head[skin.vertices[:, 1] > 4.9].min() > 0.7  # evened with what is below
    assert head[skin.vertices[:, 1] < 0.1].max() < 0.05
    with pytest.raises(ValueError, match="part 0 is not a solid"):
        united([Part(replace(lower.solid, faces=lower.solid.faces[1:]), lower.weights)])


def test_evening_is_the_mean_of_a_vertex_and_its_neighbours():
    solid = along(Z, np.array([(0, 0, 0, 1, 1), (1, 0, 0, 1, 1), (2, 0, 0, 1, 1)]), corners=5)
    weights = np.random.default_rng(0).dirichlet(np.ones(3), len(solid.vertices))
    expected = weights
    for _ in range(4):
        neighbours = [{*solid.faces[(solid.faces == v).any(axis=1)].ravel()} - {v} for v in range(len(weights))]
        expected = np.stack([(expected[v] + expected[sorted(n)].mean(axis=0)) / 2 for v, n in enumerate(neighbours)])
    np.testing.assert_allclose(evened(solid.faces, weights), expected)


def test_lowering_ends_where_feet_reach():
    one = first_of("gallop")
    skeleton = skeleton_of(one)
    pose = pose_of(one, skeleton)
    assert animal_gaits.lowered(skeleton, pose) is pose
    lifted = replace(pose, rise=pose.rise + 0.3)
    assert animal_gaits.lowered(skeleton, lifted).rise.max() < lifted.rise.max() - 0.1
