"""CPU kernels of `hdbench.geometry.point_operations`; contracts and conventions stand there.

Each cloud is worked by one thread in one fixed order, so that threads and batches change no bit. Coordinates are
held as padded rows of x, y and z: the compiler then does distances many at a time, without branches, and only
blocks that matter are looked at one by one. The short loops are written in the forms that were seen to vectorise.
"""

from typing import Any

import numba
import numpy as np

BLOCK = 64
_kernel = numba.njit(parallel=True, nogil=True, cache=True, error_model="numpy")
_inner = numba.njit(nogil=True, cache=True, error_model="numpy")


@_inner
def _planes(points: Any) -> Any:
    """The cloud (P, 3) as three rows, (3, P rounded up to whole blocks); what is added lies infinitely far away."""
    size = len(points)
    planes = np.full((3, (size + BLOCK - 1) // BLOCK * BLOCK), np.float32(np.inf))
    for i in range(size):
        for axis in range(3):
            planes[axis, i] = points[i, axis]
    return planes


@_inner
def _distances(planes: Any, px: Any, py: Any, pz: Any, out: Any) -> None:
    """Squared distances from p to all points."""
    x, y, z = planes[0], planes[1], planes[2]
    for i in range(len(out)):
        dx, dy, dz = px - x[i], py - y[i], pz - z[i]
        out[i] = dx * dx + dy * dy + dz * dz


@_inner
def _lower(planes: Any, px: Any, py: Any, pz: Any, distances: Any) -> None:
    """Lower `distances` to the squared distances from p where these are smaller."""
    x, y, z = planes[0], planes[1], planes[2]
    for i in range(len(distances)):
        dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
        squared = dx * dx + dy * dy + dz * dz
        distances[i] = squared if squared < distances[i] else distances[i]


@_inner
def _first_highest(bits: Any) -> int:
    """Index of the first maximum of floats given as bits; those that are not negative keep their order as integers.

    Integer maxima vectorise; float ones would only with a licence to reorder arithmetic.
    """
    highest = bits[0]
    for i in range(len(bits)):
        highest = max(highest, bits[i])
    for block in range(len(bits) // BLOCK):
        here = np.int32(0)
        for i in range(BLOCK):
            here |= np.int32(bits[block * BLOCK + i] == highest)
        if here:
            for i in range(block * BLOCK, block * BLOCK + BLOCK):
                if bits[i] == highest:
                    return i
    return 0


@_inner
def _flag_blocks(distances: Any, limit: Any, flags: Any) -> None:
    """Mark the blocks that hold distances below `limit`."""
    for block in range(len(flags)):
        here = np.int32(0)
        for i in range(BLOCK):
            here |= np.int32(distances[block * BLOCK + i] < limit)
        flags[block] = here


@_kernel
def farthest_points(points: Any, count: int, start: int) -> Any:
    """(N, P, 3) to (N, count) int64."""
    clouds, size, _ = points.shape
    chosen = np.empty((clouds, count), np.int64)
    for cloud in numba.prange(clouds):
        planes = _planes(points[cloud])
        distances = np.full(planes.shape[1], np.float32(np.inf))
        distances[size:] = -1  # padding is never the farthest
        bits = distances.view(np.int32)
        current = start
        for step in range(count):
            chosen[cloud, step] = current
            _lower(planes, planes[0, current], planes[1, current], planes[2, current], distances)
            current = _first_highest(bits)
    return chosen


@_kernel
def ball_query(centres: Any, points: Any, limit: Any, count: int) -> Any:
    """First `count` with squared distance below `limit`; (N, M, 3), (N, P, 3) to (N, M, count) int64."""
    clouds = len(points)
    found = np.zeros((clouds, centres.shape[1], count), np.int64)
    for cloud in numba.prange(clouds):
        planes = _planes(points[cloud])
        distances = np.empty(planes.shape[1], np.float32)
        flags = np.empty(len(distances) // BLOCK, np.int32)
        for centre in range(centres.shape[1]):
            px, py, pz = centres[cloud, centre, 0], centres[cloud, centre, 1], centres[cloud, centre, 2]
            _distances(planes, px, py, pz, distances)
            _flag_blocks(distances, limit, flags)
            hits = 0
            for block in range(len(flags)):
                if flags[block] and hits < count:
                    for i in range(block * BLOCK, block * BLOCK + BLOCK):
                        if distances[i] < limit and hits < count:
                            found[cloud, centre, hits] = i
                            hits += 1
            for slot in range(hits, count if hits else 0):
                found[cloud, centre, slot] = found[cloud, centre, 0]
    return found


@_kernel
def three_nearest(queries: Any, points: Any) -> Any:
    """(N, Q, 3), (N, P, 3) to indices (N, Q, 3) int64 and weights (N, Q, 3) float32."""
    clouds = len(points)
    indices = np.empty((clouds, queries.shape[1], 3), np.int64)
    weights = np.empty((clouds, queries.shape[1], 3), np.float32)
    for cloud in numba.prange(clouds):
        planes = _planes(points[cloud])
        distances = np.empty(planes.shape[1], np.float32)
        nearest = np.empty(3, np.float32)
        which = np.empty(3, np.int64)
        for query in range(queries.shape[1]):
            px, py, pz = queries[cloud, query, 0], queries[cloud, query, 1], queries[cloud, query, 2]
            _distances(planes, px, py, pz, distances)
            nearest[:] = np.inf
            which[:] = 0
            limit = np.float32(np.inf)
            for block in range(len(distances) // BLOCK):
                here = np.int32(0)
                for i in range(block * BLOCK, block * BLOCK + BLOCK):
                    here |= np.int32(distances[i] < limit)
                if here:
                    for i in range(block * BLOCK, block * BLOCK + BLOCK):
                        if distances[i] < nearest[2]:
                            slot = 2
                            while slot > 0 and distances[i] < nearest[slot - 1]:
                                nearest[slot], which[slot] = nearest[slot - 1], which[slot - 1]
                                slot -= 1
                            nearest[slot], which[slot] = distances[i], i
                    limit = nearest[2]
            total = 0.0
            for k in range(3):
                total += 1 / min(max(float(nearest[k]), 1e-10), 1e10)
            for k in range(3):
                indices[cloud, query, k] = which[k]
                weights[cloud, query, k] = 1 / min(max(float(nearest[k]), 1e-10), 1e10) / total
    return indices, weights


@_kernel
def grid_coordinates(points: Any, resolution: int) -> Any:
    """(N, P, 3) to (N, P, 3) float32 in grid units; see `point_operations.voxelise`."""
    clouds, size, _ = points.shape
    out = np.empty((clouds, size, 3), np.float32)
    scale, top = np.float32(resolution), np.float32(resolution - 1)
    for cloud in numba.prange(clouds):
        largest = np.float32(0)
        for axis in range(3):
            total = 0.0
            for i in range(size):
                total += points[cloud, i, axis]
            for i in range(size):
                out[cloud, i, axis] = points[cloud, i, axis] - np.float32(total / size)
        for i in range(size):
            x, y, z = out[cloud, i]
            largest = max(largest, np.sqrt(x * x + y * y + z * z))
        width = np.float32(2) * largest if largest > 0 else np.float32(1)
        for i in range(size):
            for axis in range(3):
                unit = out[cloud, i, axis] / width + np.float32(0.5)
                out[cloud, i, axis] = min(max(unit * scale, np.float32(0)), top)
    return out


@_kernel
def gather(features: Any, indices: Any, weights: Any) -> Any:
    """(N, C, P) features, (N, Q, K) indices and weights to (N, C, Q) weighted sums."""
    clouds, channels, _ = features.shape
    queries, terms = indices.shape[1:]
    out = np.empty((clouds, channels, queries), np.float32)
    for row in numba.prange(clouds * channels):
        cloud, channel = row // channels, row % channels
        for query in range(queries):
            total = np.float32(0)
            for k in range(terms):
                total += weights[cloud, query, k] * features[cloud, channel, indices[cloud, query, k]]
            out[cloud, channel, query] = total
    return out


@_kernel
def scatter(features: Any, indices: Any, weights: Any, size: int) -> Any:
    """The adjoint of `gather`: (N, C, Q) features to (N, C, size) sums, in the order of the queries."""
    clouds, channels, queries = features.shape
    terms = indices.shape[2]
    out = np.zeros((clouds, channels, size), np.float32)
    for row in numba.prange(clouds * channels):
        cloud, channel = row // channels, row % channels
        for query in range(queries):
            for k in range(terms):
                out[cloud, channel, indices[cloud, query, k]] += (
                    weights[cloud, query, k] * features[cloud, channel, query]
                )
    return out


@_kernel
def group_maximum(rows: Any, ends: Any) -> Any:
    """Maxima (M, C) of the groups of rows (R, C) that end before `ends` (M,), and the rows (M, C) they stand in."""
    groups, channels = len(ends), rows.shape[1]
    highest = np.empty((groups, channels), np.float32)
    where = np.empty((groups, channels), np.int64)
    for group in numba.prange(groups):
        first = ends[group - 1] if group else 0
        highest[group] = rows[first]
        where[group] = first
        for row in range(first + 1, ends[group]):
            for channel in range(channels):
                value = rows[row, channel]
                higher = value > highest[group, channel]
                highest[group, channel] = value if higher else highest[group, channel]
                where[group, channel] = row if higher else where[group, channel]
    return highest, where
