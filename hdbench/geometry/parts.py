"""The parts a surface falls into."""

import numpy as np

from hdbench.shapes import Mesh


def larger_parts(mesh: Mesh, share: float) -> Mesh:
    """The connected parts of `mesh` that have at least `share` (0 to 1) of its whole area; its largest one in any case.

    Surfaces hang together where they share a vertex. Samples of generative models carry small floating bits, which
    weigh far more in a Chamfer distance than in the eye.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if share <= 0 or len(mesh.faces) == 0:
        return mesh
    first, second, third = mesh.faces.T
    ends = np.tile(first, 2), np.concatenate([second, third])
    edges = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(mesh.vertices), len(mesh.vertices)))
    count, part_of_vertex = connected_components(edges, directed=False)
    part_of_face = part_of_vertex[first]
    areas = np.bincount(part_of_face, weights=_areas(mesh), minlength=count)
    kept = areas >= min(share * areas.sum(), areas.max())
    faces = mesh.faces[kept[part_of_face]]
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[used], renumbered.reshape(faces.shape).astype(np.int32))


def _areas(mesh: Mesh) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    sides = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return 0.5 * np.linalg.norm(np.cross(*sides), axis=1)
