"""The bones of an animal: where they are at rest, and where they go when spine, neck, tail and feet move.

The animal looks along -z and stands on y = 0. Feet are put where the gait wants them and the legs follow by inverse
kinematics, so that feet neither slide nor sink; everything else turns about its joint and takes along what hangs on
it. All frames of a clip are computed at once, along the first axis of every array.
"""

from dataclasses import dataclass

import numpy as np

from hdbench.datasets.procedural.animal_parameters import Animal
from hdbench.datasets.procedural.lofts import Array, Y, Z

LEGS = ("hind-left", "hind-right", "fore-left", "fore-right")
SEGMENTS = ("upper", "lower", "cannon", "foot")
TAIL = tuple(f"tail-{index}" for index in range(4))
TRUNK = tuple(f"trunk-{index}" for index in range(3))
BONES = (
    *("pelvis", "chest", "neck", "nape", "head"),
    *TAIL,
    *TRUNK,
    *(f"{leg} {segment}" for leg in LEGS for segment in SEGMENTS),
)
REACH = 0.992
"""How far a leg may be stretched, as a share of the length of its upper two segments."""


def unit(vectors: Array) -> Array:
    """`vectors` (..., 3) at length 1."""
    scaled: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def pitch(degrees: Array | float) -> Array:
    """Turns that raise the nose, (..., 3, 3)."""
    return _turn(degrees, 1, 2)


def yaw(degrees: Array | float) -> Array:
    """Turns to the animal's left, (..., 3, 3)."""
    return _turn(degrees, 2, 0)


def _turn(degrees: Array | float, first: int, second: int) -> Array:
    angle = np.radians(np.asarray(degrees, np.float64))
    turn = np.zeros((*angle.shape, 3, 3))
    turn[..., range(3), range(3)] = 1.0
    turn[..., first, first] = turn[..., second, second] = np.cos(angle)
    turn[..., second, first] = np.sin(angle)
    turn[..., first, second] = -turn[..., second, first]
    return turn


@dataclass(frozen=True, eq=False)
class Leg:
    """A leg at rest."""

    name: str
    joints: Array
    """(4, 3): hip or shoulder, knee or elbow, ankle or wrist, and the joint above the foot."""
    pole: Array
    """Where the knee or elbow points."""
    is_arm: bool = False
    """It hangs from the chest and bears nothing."""

    @property
    def side(self) -> float:
        """-1 left, 1 right."""
        return 1.0 if self.name.endswith("right") else -1.0

    @property
    def is_hind(self) -> bool:
        """Whether it hangs from the pelvis."""
        return self.name.startswith("hind")

    @property
    def lengths(self) -> Array:
        """Of the three segments."""
        return np.linalg.norm(np.diff(self.joints, axis=0), axis=1)

    @property
    def height(self) -> float:
        """Of its uppermost joint over its lowest one."""
        return float(self.joints[0, 1] - self.joints[3, 1])


@dataclass(frozen=True, eq=False)
class Skeleton:
    """An animal's joints at rest."""

    centre: Array
    """The middle of the spine, about which pelvis and chest turn."""
    neck: Array
    """(3, 3): root, middle and upper end of the neck."""
    tail: Array
    """(5, 3): root to tip."""
    trunk: Array
    """(4, 3): an elephant's trunk from root to tip."""
    legs: tuple[Leg, ...]


@dataclass(frozen=True, eq=False)
class Pose:
    """What the spine and the feet do, frame by frame; angles in degrees, (T,) unless stated."""

    rise: Array
    """Of the whole body."""
    pitch: Array
    """Of the whole body: nose up."""
    flex: Array
    """How far the back is rounded."""
    sway: Array
    """How far the chest is turned to the left against the middle, and the pelvis to the right."""
    nod: Array
    """Of neck and head together: nose up."""
    gaze: float
    tail_sway: Array
    """(T, 4), each part against the one before."""
    tail_rise: Array
    trunk: Array
    feet: dict[str, Array]
    """By leg, (T, 3): how far the foot is from where it stands at rest."""
    cannon: dict[str, Array]
    """By leg: how far the segment above the foot is turned, its lower end forwards."""
    toes: dict[str, Array]
    """By leg: how far the foot is turned, its tip upwards."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Where every bone goes: x at rest moves to turn @ (x - joint) + place."""

    turn: Array
    """(T, bones, 3, 3)"""
    joint: Array
    """(bones, 3)"""
    place: Array
    """(T, bones, 3)"""

    def skin(self, vertices: Array, weights: Array) -> Array:
        """`vertices` (V, 3) at rest in every frame, (T, V, 3): each moves as the bones it hangs on do on average.

        `weights` (V, bones) say how much it hangs on which bone; rows sum to 1. Turns are averaged as dual quaternions
        (Kavan et al. 2007, "Skinning with Dual Quaternions"), so that limbs do not grow thin where they bend.
        """
        real = quaternions(self.turn)
        real *= np.where((real * real[:, :1]).sum(axis=-1, keepdims=True) < 0, -1.0, 1.0)  # q and -q turn alike
        shift = self.place - np.einsum("tbij,bj->tbi", self.turn, self.joint)
        w, turned = real[..., :1], real[..., 1:]
        dual = np.concatenate([-(shift * turned).sum(axis=-1, keepdims=True), w * shift + np.cross(shift, turned)], -1)
        blended = weights @ np.concatenate([real, dual / 2], axis=-1)  # (T, V, 8)
        blended /= np.linalg.norm(blended[..., :4], axis=-1, keepdims=True)
        w, turned, dual_w, dual = np.split(blended, [1, 4, 5], axis=-1)
        turning = np.cross(turned, np.cross(turned, vertices) + w * vertices)
        moved: Array = vertices + 2 * (turning + w * dual - dual_w * turned + np.cross(turned, dual))
        return moved


def quaternions(turns: Array) -> Array:
    """The unit quaternions (..., 4), scalar first, of rotation matrices (..., 3, 3)."""
    from scipy.spatial.transform import Rotation

    vectors_first = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat()
    return np.roll(vectors_first, 1, axis=-1).reshape(*turns.shape[:-2], 4)


def bend(hip: Array, ankle: Array, lengths: Array, pole: Array) -> tuple[Array, Array]:
    """Knee and ankle (..., 3) of two segments of `lengths` (2,) from `hip` towards `ankle`, the knee towards `pole`.

    The ankle comes out nearer than asked for where the segments do not reach it.
    """
    upper, lower = lengths
    straight = unit(ankle - hip)
    distance = np.linalg.norm(ankle - hip, axis=-1, keepdims=True)
    distance = np.clip(distance, 1.02 * abs(upper - lower), REACH * (upper + lower))
    cosine = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    outwards = unit(pole - (pole * straight).sum(axis=-1, keepdims=True) * straight)
    knee = hip + upper * (cosine * straight + np.sqrt(1 - cosine**2) * outwards)
    return knee, hip + distance * straight


def cannon_direction(degrees: Array | float) -> Array:
    """From ankle to foot, (..., 3), when the segment leans back so far."""
    angle = np.radians(np.asarray(degrees, np.float64))
    return np.stack([np.zeros_like(angle), -np.cos(angle), -np.sin(angle)], axis=-1)


def skeleton_of(animal: Animal) -> Skeleton:
    """The joints of `animal` as it stands."""
    neck = _neck(animal)
    head = np.array([0, -np.sin(np.radians(animal.head_angle)), -np.cos(np.radians(animal.head_angle))])
    snout = neck[2] + 0.8 * animal.head_length * head
    hanging = np.array([(0.0, 0.0, 0.0), (0.0, -0.33, -0.07), (0.0, -0.66, -0.06), (0.0, -0.94, -0.2)])
    trunk = snout + animal.trunk_length * hanging
    return Skeleton(
        centre=_on_spine(animal, 0.5),
        neck=neck,
        tail=_tail(animal),
        trunk=trunk,
        legs=tuple(_leg(animal, name) for name in LEGS if name.startswith("hind") or animal.forelegs != "none"),
    )


def _on_spine(animal: Animal, share: float) -> Array:
    """A place between the hips (0) and the shoulders (1)."""
    return np.array([0.0, animal.hind + share * (animal.fore - animal.hind), 0.5 - share])


def _neck(animal: Animal) -> Array:
    angle = np.radians(animal.neck_angle)
    straight = animal.neck_length * np.array([0.0, np.sin(angle), -np.cos(angle)])
    root = _on_spine(animal, 1.0) + np.array([0.0, 0.12, -0.2]) * animal.chest_depth
    dip = -0.08 * animal.neck_length * np.sin(angle) * np.array([0.0, 0.3, 1.0])  # forwards: necks are arched
    return np.stack([root, root + 0.5 * straight + dip, root + straight])


def _tail(animal: Animal) -> Array:
    angles = np.radians(animal.tail_angle + animal.tail_curl * np.linspace(0, 1, 4))
    steps = animal.tail_length / 4 * np.stack([np.zeros(4), np.sin(angles), np.cos(angles)], axis=1)
    root = _on_spine(animal, 0.0) + np.array([0.0, 0.05 if animal.sprawl else 0.2, 0.3]) * animal.rump_depth
    return root + np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])


def _leg(animal: Animal, name: str) -> Leg:
    side = 1.0 if name.endswith("right") else -1.0
    if name.startswith("fore") and animal.forelegs == "arms":
        return _arm(animal, name, side)
    is_hind = name.startswith("hind")
    height, depth = (animal.hind, animal.rump_depth) if is_hind else (animal.fore, animal.chest_depth)
    parts, slack = (animal.hind_parts, animal.hind_slack) if is_hind else (animal.fore_parts, animal.fore_slack)
    angle = animal.hind_foot_angle if is_hind else animal.fore_foot_angle
    x = side * animal.stance * animal.girth * depth / 2
    top = np.array([x, height, 0.5 if is_hind else -0.5])
    ground = pad_height(animal)
    foot = top + np.array([side * animal.sprawl * animal.hind, ground - height, 0.02 if is_hind else 0.0])
    lengths = slack * (height - ground) * np.array(parts)
    knee_to = np.array([0.0, 0.0, -1.0 if is_hind else 1.0])
    if animal.sprawl:
        knee_to = np.array([0.5 * side, 1.0, 0.35 * knee_to[2]])
    ankle = foot - lengths[2] * cannon_direction(angle)
    if angle > 45:  # a long foot that lies on the ground stands before the hip
        ankle = ankle - 0.25 * lengths[2] * Z
    knee, ankle = bend(top, ankle, lengths[:2], knee_to)
    foot = ankle + lengths[2] * cannon_direction(angle)
    return Leg(name, np.stack([top, knee, ankle, foot]), knee_to)


def _arm(animal: Animal, name: str, side: float) -> Leg:
    top = np.array([side * 0.8 * animal.girth * animal.chest_depth / 2, animal.fore, -0.5])
    lengths = 0.62 * np.array([0.4, 0.4, 0.2])
    knee, wrist = bend(top, top + np.array([0.02 * side, -0.32, -0.16]), lengths[:2], np.array([0.0, -0.3, 1.0]))
    return Leg(
        name, np.stack([top, knee, wrist, wrist + lengths[2] * cannon_direction(25)]), np.array([0, -0.3, 1.0]), True
    )


def pad_height(animal: Animal) -> float:
    """Height of the lowest joint of the legs over the ground."""
    return 0.03 + 0.6 * animal.shank


def posed(skeleton: Skeleton, pose: Pose) -> Motion:
    """Where the bones go in `pose`."""
    moving = _Moving(len(pose.rise))
    middle = skeleton.centre + pose.rise[:, None] * Y
    moving.put("pelvis", skeleton.centre, pitch(pose.pitch + pose.flex) @ yaw(-pose.sway), middle)
    moving.put("chest", skeleton.centre, pitch(pose.pitch - pose.flex) @ yaw(pose.sway), middle)
    # The neck gives way to what the chest does, so that the eyes stay level.
    level = 0.55 * (pose.flex - pose.pitch)
    straight = yaw(-0.5 * pose.sway)
    moving.hang("neck", "chest", skeleton.neck[0], pitch(0.6 * (pose.nod + level)) @ straight)
    moving.hang("nape", "neck", skeleton.neck[1], pitch(0.4 * (pose.nod + level)) @ straight @ yaw(-0.4 * pose.gaze))
    moving.hang("head", "nape", skeleton.neck[2], pitch(0.6 * (level - pose.nod)) @ yaw(-0.6 * pose.gaze))
    for index, (bone, before) in enumerate(zip(TAIL, ("pelvis", *TAIL), strict=False)):
        moving.hang(bone, before, skeleton.tail[index], yaw(pose.tail_sway[:, index]) @ pitch(-pose.tail_rise))
    for index, (bone, before) in enumerate(zip(TRUNK, ("head", *TRUNK), strict=False)):
        moving.hang(bone, before, skeleton.trunk[index], pitch(pose.trunk))
    for leg in skeleton.legs:
        _pose_leg(moving, leg, pose)
    return Motion(moving.turn, moving.joint, moving.place)


class _Moving:
    """Bones being put into place, one after the other."""

    def __init__(self, frames: int) -> None:
        self.turn = np.broadcast_to(np.eye(3), (frames, len(BONES), 3, 3)).copy()
        self.joint = np.zeros((len(BONES), 3))
        self.place = np.zeros((frames, len(BONES), 3))

    def put(self, bone: str, joint: Array, turn: Array, place: Array) -> None:
        """Turn `bone` by `turn` (T, 3, 3) about its `joint`, which comes to `place` (T, 3)."""
        index = BONES.index(bone)
        self.turn[:, index], self.joint[index], self.place[:, index] = turn, joint, place

    def carried(self, bone: str, point: Array) -> Array:
        """Where `point` goes when it hangs on `bone`, (T, 3)."""
        index = BONES.index(bone)
        moved: Array = self.turn[:, index] @ (point - self.joint[index]) + self.place[:, index]
        return moved

    def hang(self, bone: str, before: str, joint: Array, turn: Array) -> None:
        """Turn `bone` about its `joint` against the bone `before` it."""
        self.put(bone, joint, self.turn[:, BONES.index(before)] @ turn, self.carried(before, joint))


def _pose_leg(moving: _Moving, leg: Leg, pose: Pose) -> None:
    root = "pelvis" if leg.is_hind else "chest"
    hip = moving.carried(root, leg.joints[0])
    cannon = pitch(pose.cannon[leg.name])
    below = cannon @ (leg.joints[3] - leg.joints[2])
    foot, pole = leg.joints[3] + pose.feet[leg.name], leg.pole
    if leg.is_arm:
        foot = moving.carried(root, leg.joints[3]) + pose.feet[leg.name]
        pole = moving.turn[:, BONES.index(root)] @ leg.pole
    knee, ankle = bend(hip, foot - below, leg.lengths[:2], pole)
    rest = _axes(*leg.joints[:3])
    for segment, start, axes, at_rest in zip(SEGMENTS, (hip, knee), _axes(hip, knee, ankle), rest, strict=False):
        joint = leg.joints[SEGMENTS.index(segment)]
        moving.put(f"{leg.name} {segment}", joint, axes @ at_rest.T, start)
    moving.put(f"{leg.name} cannon", leg.joints[2], cannon, ankle)
    moving.put(f"{leg.name} foot", leg.joints[3], pitch(pose.toes[leg.name]), ankle + below)


def _axes(hip: Array, knee: Array, ankle: Array) -> tuple[Array, Array]:
    """Axes of the two upper segments as columns: along the segment, across the leg's plane, and square to both."""
    upper, lower = unit(knee - hip), unit(ankle - knee)
    across = unit(np.cross(upper, lower))
    first, second = (np.stack([along, across, np.cross(along, across)], axis=-1) for along in (upper, lower))
    return first, second
