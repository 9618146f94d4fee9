"""Animals in motion: quadrupeds and others as clips of a fixed mesh whose vertices move.

The body is built once, standing, and carried through the clip by its skeleton (linear blend skinning), so that every
frame has the same faces and is closed because the first one is.
"""

import numpy as np

from hdbench.datasets.procedural.animal_body import body
from hdbench.datasets.procedural.animal_gaits import pose_of
from hdbench.datasets.procedural.animal_parameters import Animal
from hdbench.datasets.procedural.animal_skeleton import posed, skeleton_of
from hdbench.shapes import Mesh, Sequence


def build(animal: Animal) -> Sequence:
    """The clip of `animal`: its frames evenly in time, in a unit box: of the whole clip the bounding box's centre is
    0 and the longest side 1."""
    skeleton = skeleton_of(animal)
    skin = body(animal, skeleton)
    frames = posed(skeleton, pose_of(animal, skeleton)).skin(skin.vertices, skin.weights)
    low, high = frames.min(axis=(0, 1)), frames.max(axis=(0, 1))
    boxed = ((frames - (low + high) / 2) / (high - low).max()).astype(np.float32)
    return Sequence(tuple(Mesh(vertices, skin.faces) for vertices in boxed))
