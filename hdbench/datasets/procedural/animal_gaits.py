"""How animals walk, trot, gallop, bound, run, hop and leap.

A gait says when each foot stands on the ground. Everything else follows: a standing foot moves backwards at the speed
of the ground, a swinging one is lifted and brought forwards without a jerk; the body sinks on standing legs, rises
when they push off, rocks between hind and fore legs, and the back is rounded while the hind feet reach forwards.
The ground moves, not the animal: it stays in the middle of the picture. Orders of footfalls after Hildebrand 1989,
"The quadrupedal gaits of vertebrates".
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hdbench.datasets.procedural.animal_parameters import Animal
from hdbench.datasets.procedural.animal_skeleton import BONES, TAIL, Leg, Motion, Pose, Skeleton, posed
from hdbench.datasets.procedural.lofts import Array

FRAMES = 16
LOWERINGS = 12
"""Times the body is lowered at most, each time by what is missing."""


@dataclass(frozen=True)
class Gait:
    """A cyclic gait. Times in cycles, lengths in heights of the leg, angles in degrees."""

    footfalls: tuple[float, float, float, float]
    """When the hind left, hind right, fore left and fore right foot come down."""
    duty: float
    """How long each of them stands."""
    stride: float
    """How far a foot moves back while it stands."""
    lift: float
    """How high a foot is lifted."""
    bounce: float = 0.0
    """How far the body rises and sinks."""
    rock: float = 0.0
    """How far the body tips, nose up on the hind legs, nose down on the fore legs."""
    round: float = 0.0
    """How far the back is rounded and stretched."""
    fold: float = 40.0
    """How far the swinging foot is folded back."""


GAITS = {
    "walk": Gait((0.0, 0.5, 0.25, 0.75), duty=0.64, stride=0.5, lift=0.1, bounce=0.02, rock=1.0),
    "trot": Gait((0.0, 0.5, 0.5, 0.0), duty=0.44, stride=0.52, lift=0.16, bounce=0.06, rock=0.5, fold=55),
    "gallop": Gait((0.0, 0.1, 0.4, 0.52), duty=0.3, stride=0.52, lift=0.24, bounce=0.08, rock=6, round=9, fold=75),
    "bound": Gait((0.0, 0.03, 0.46, 0.54), duty=0.34, stride=0.5, lift=0.3, bounce=0.16, rock=7, round=8, fold=40),
    "run": Gait((0.0, 0.5, 0.5, 0.0), duty=0.36, stride=0.62, lift=0.2, bounce=0.06, fold=60),
    "hop": Gait((0.0, 0.0, 0.0, 0.0), duty=0.4, stride=0.62, lift=0.36, bounce=0.3, rock=10, fold=35),
}


def pose_of(animal: Animal, skeleton: Skeleton) -> Pose:
    """The clip of `animal`: `FRAMES` moments, evenly through one cycle of its gait, or through one leap."""
    pose = _leap(animal, skeleton) if animal.gait == "leap" else _cycle(animal, skeleton, GAITS[animal.gait])
    return lowered(skeleton, pose)


@dataclass(frozen=True, eq=False)
class _Step:
    """One foot through the clip, each (T,)."""

    forwards: Array
    """Of where it stands at rest, in heights of the leg."""
    lifted: Array
    """In lifts of the gait."""
    swing: Array
    """Folded back, 0 to 1."""
    roll: Array
    """From heel (1) to toe (-1) while it stands."""
    load: Array
    """How much it bears, 0 to 1."""


def _steps(time: Array, gait: Gait, footfall: float) -> _Step:
    phase = (time - footfall) % 1.0
    stands = phase < gait.duty
    stood = np.clip(phase / gait.duty, 0, 1)
    swung = np.clip((phase - gait.duty) / (1 - gait.duty), 0, 1)
    # A cubic that leaves and meets the ground at the ground's own speed.
    speed = -(1 - gait.duty) / gait.duty
    back = -0.5 + speed * swung + (3 - 3 * speed) * swung**2 + (2 * speed - 2) * swung**3
    ease = np.sin(np.pi * swung) ** 2
    return _Step(
        forwards=gait.stride * np.where(stands, 0.5 - stood, back),
        lifted=np.where(stands, 0.0, np.sin(np.pi * swung**0.85) ** 1.5),
        swing=np.where(stands, 0.0, ease),
        roll=np.where(stands, 1 - 2 * stood, -np.cos(np.pi * swung)),
        load=np.exp(3.0 * (np.cos(2 * np.pi * (phase - gait.duty / 2)) - 1)),
    )


def _cycle(animal: Animal, skeleton: Skeleton, gait: Gait) -> Pose:
    time = np.arange(FRAMES) / FRAMES + animal.start
    index = {"hind-left": 0, "hind-right": 1, "fore-left": 2, "fore-right": 3}
    steps = {leg.name: _steps(time, gait, gait.footfalls[index[leg.name]]) for leg in skeleton.legs}
    bearing = [steps[leg.name] for leg in skeleton.legs if not leg.is_arm]
    hind = [steps[leg.name] for leg in skeleton.legs if leg.is_hind]
    fore = [steps[leg.name] for leg in skeleton.legs if not leg.is_hind]
    load = np.mean([step.load for step in bearing], axis=0)
    height = min(leg.height for leg in skeleton.legs if not leg.is_arm)
    rise = -animal.bounce * gait.bounce * height * 2 * (load - load.mean())
    tip = _mean_load(hind, time) - (_mean_load(fore, time) if animal.forelegs == "legs" else load.mean())
    reach = np.mean([step.forwards for step in hind], axis=0)
    if animal.forelegs == "legs":
        reach = reach - np.mean([step.forwards for step in fore], axis=0)
    swing = 2 * np.pi * (time - gait.footfalls[0])
    lag = 0.9 * np.arange(len(TAIL))
    return Pose(
        rise=rise,
        pitch=gait.rock * (tip - tip.mean()),
        flex=gait.round * reach / gait.stride,
        sway=animal.sway * np.cos(swing),
        nod=animal.nod * np.cos(2 * swing if gait.rock < 5 else swing),
        gaze=animal.gaze,
        tail_sway=animal.wag * np.cos(swing[:, None] - 0.6 - lag) * np.linspace(0.6, 1.2, len(TAIL)),
        tail_rise=np.full(FRAMES, 0.6 * gait.rock) - 40 * rise,
        trunk=6 * np.cos(swing - 0.8),
        **_feet(animal, skeleton, gait, steps, rise),
    )


def _mean_load(steps: list[_Step], time: Array) -> Array:
    return np.mean([step.load for step in steps], axis=0) if steps else np.zeros_like(time)


def _feet(
    animal: Animal, skeleton: Skeleton, gait: Gait, steps: dict[str, _Step], rise: Array
) -> dict[str, dict[str, Array]]:
    feet, cannon, toes = {}, {}, {}
    for leg in skeleton.legs:
        step = steps[leg.name]
        if leg.is_arm:
            feet[leg.name] = np.outer(rise, [0, -0.2, 0.5])
            cannon[leg.name] = toes[leg.name] = np.zeros_like(rise)
            continue
        fold = gait.fold * (0.55 if leg.is_hind else 1.0) * folding(leg)
        high = animal.lift * gait.lift * leg.height * step.lifted + np.maximum(rise, 0) * (step.lifted > 0)
        along = -animal.stride * leg.height * step.forwards * (1.8 if animal.sprawl else 1.0)
        feet[leg.name] = np.stack([np.zeros_like(high), high, along], axis=1)
        cannon[leg.name] = 9 * step.roll - fold * step.swing
        toes[leg.name] = -0.8 * fold * step.swing
    return {"feet": feet, "cannon": cannon, "toes": toes}


def folding(leg: Leg) -> float:
    """How far the segment above the foot may be folded: little where it is short, or lies on the ground already."""
    share = leg.lengths[2] / leg.lengths.sum()
    return float(np.clip(4 * share, 0.3, 1.0))


def _leap(animal: Animal, skeleton: Skeleton) -> Pose:
    """One leap on the spot: crouch, push off hind legs last, fly stretched, land on the fore legs first."""
    time = np.arange(FRAMES) / FRAMES
    height = min(leg.height for leg in skeleton.legs if not leg.is_arm)
    high = 0.42 * animal.bounce
    moments = [0.0, 0.15, 0.3, 0.5, 0.7, 0.83, 1.0]
    rise = height * _through(time, moments, [0, -0.13, 0.06, high, 0.06, -0.13, 0])
    feet, cannon, toes = {}, {}, {}
    for leg in skeleton.legs:
        leaves, lands = (0.34, 0.8) if leg.is_hind else (0.25, 0.72)
        if animal.forelegs != "legs":
            leaves, lands = 0.34, 0.76
        flies = (time > leaves) & (time < lands)
        share = np.clip((time - leaves) / (lands - leaves), 0, 1)
        arc = np.sin(np.pi * share) ** 0.8
        reach = [0, -0.3, -0.36, 0.1, 0.3, 0] if leg.is_hind else [0, -0.05, 0.2, 0.42, 0.3, 0]
        along = leg.height * animal.stride * _through(share, [0, 0.2, 0.4, 0.65, 0.85, 1.0], reach)
        up = flies * (np.maximum(rise, 0) + animal.lift * 0.24 * leg.height * arc)
        fold = (35.0 if leg.is_hind else 70.0) * folding(leg) * np.sin(np.pi * share) ** 2
        if leg.is_arm:
            up, along, fold = 0.1 * rise, -0.3 * rise, np.zeros_like(fold)
        feet[leg.name] = np.stack([np.zeros_like(up), up, -along], axis=1)
        cannon[leg.name], toes[leg.name] = -fold, -0.8 * fold
    tip = 1.0 if animal.forelegs == "legs" else 0.4
    return Pose(
        rise=rise,
        pitch=tip * _through(time, moments, [0, 5, 20, 2, -16, -6, 0]),
        flex=_through(time, moments, [0, 9, -3, 0, 4, 9, 0]),
        sway=np.zeros_like(time),
        nod=_through(time, moments, [0, -6, 6, 2, 4, -4, 0]),
        gaze=animal.gaze,
        tail_sway=np.outer(np.sin(2 * np.pi * time), 0.3 * animal.wag * np.ones(len(TAIL))),
        tail_rise=_through(time, moments, [0, -4, -8, 10, 14, 4, 0]),
        trunk=np.zeros_like(time),
        feet=feet,
        cannon=cannon,
        toes=toes,
    )


def _through(at: Array, moments: list[float], values: list[float]) -> Array:
    """A smooth curve through `values` at `moments`, level at each of its peaks."""
    from scipy.interpolate import PchipInterpolator

    curve: Array = PchipInterpolator(moments, values)(at)
    return curve


def lowered(skeleton: Skeleton, pose: Pose) -> Pose:
    """`pose` with the body as much lower, in all frames alike, as the standing legs need to reach the ground."""
    missing = np.inf
    for _ in range(LOWERINGS):
        motion = posed(skeleton, pose)
        short = max(_short(motion, pose, leg) for leg in skeleton.legs if not leg.is_arm)
        if short < 1e-4 or short >= missing:
            break
        missing = short
        pose = replace(pose, rise=pose.rise - 1.2 * short)
    return pose


def _short(motion: Motion, pose: Pose, leg: Leg) -> float:
    """How far the standing foot of `leg` is from where it should stand, at most."""
    place = motion.place[:, BONES.index(f"{leg.name} foot")]
    missing = np.linalg.norm(place - leg.joints[3] - pose.feet[leg.name], axis=1)
    return float(missing[standing(pose, leg)].max(initial=0))


def standing(pose: Pose, leg: Leg) -> npt.NDArray[np.bool_]:
    """In which frames the foot of `leg` stands on the ground, (T,)."""
    return pose.feet[leg.name][:, 1] == 0
