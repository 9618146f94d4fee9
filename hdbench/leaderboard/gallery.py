"""The first samples of an entry as pictures, and as points for the browser to turn: what was scored, nothing else."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdbench.errors import HdbenchError
from hdbench.leaderboard.archives import SamplePoints
from hdbench.leaderboard.entry import GALLERY_FILE
from hdbench.shapes import Float32, PointCloud, Sequence
from hdbench.store import write_atomic

TILES, CLIPS = 8, 4
"""Shapes shown of an entry; of one of sequences."""
POINTS, CLIP_POINTS = 1024, 384
"""Points per shape, or per frame of a sequence, that the browser turns."""
STRIP = 8
"""Frames of the picture of a sequence."""
SIZE = 160
"""Pixels along each side."""

_STEPS = 32767
"""Coordinates in [-1, 1] are stored as 16-bit integers."""


@dataclass(frozen=True)
class Tile:
    """One sample to be shown."""

    name: str
    picture: str
    """File in the entry's folder."""
    frames: int
    """Of a sequence; 1 for a shape that stands still."""
    points: str
    """(frames, P, 3) int16, little-endian, in base64."""


def write_gallery(folder: Path, samples: SamplePoints, *, is_real: bool) -> None:
    """Draw the first valid samples into an entry's folder; real shapes have another colour than generated ones."""
    from hdbench.geometry.rendering import GENERATED, REAL, encode_webp, render, render_strip

    color = REAL if is_real else GENERATED
    is_clip = samples.points.ndim == 4
    tiles = []
    for place, index in enumerate(np.flatnonzero(samples.valid)[: CLIPS if is_clip else TILES]):
        points = samples.points[index]
        if is_clip:
            clip = Sequence(tuple(map(PointCloud, points)))
            picture = render_strip(clip, count=min(STRIP, len(points)), size=SIZE, color=color)
        else:
            picture = render(PointCloud(points), size=SIZE, color=color)
        name = f"gallery-{place}.webp"
        write_atomic(folder / name, encode_webp(picture))
        frames = len(points) if is_clip else 1
        tiles.append({"name": samples.ids[index], "picture": name, "frames": frames, "points": packed_points(points)})
    write_atomic(folder / GALLERY_FILE, json.dumps(tiles, indent=1))


def read_gallery(folder: Path) -> list[Tile]:
    """What `write_gallery` wrote; raises HdbenchError where it is something else."""
    try:
        tiles = [Tile(**entry) for entry in json.loads((folder / GALLERY_FILE).read_text(encoding="utf-8"))]
        for place, tile in enumerate(tiles):
            if tile.picture != f"gallery-{place}.webp" or not isinstance(tile.frames, int):
                raise ValueError(f"it names {tile.picture!r}")
    except (OSError, ValueError, TypeError) as error:
        raise HdbenchError(f"{folder / GALLERY_FILE} cannot be used ({error}); add the entry again.") from error
    return tiles


def packed_points(points: Float32) -> str:
    """Points (P, 3) or (T, P, 3) thinned and scaled into the unit ball, as text for the page."""
    frames = points if points.ndim == 3 else points[None]
    frames = frames[:, :: max(1, -(-frames.shape[1] // (CLIP_POINTS if points.ndim == 3 else POINTS)))]
    frames = frames - (frames.min(axis=(0, 1)) + frames.max(axis=(0, 1))) / 2
    frames = frames / max(float(np.linalg.norm(frames, axis=-1).max()), 1e-12)
    return base64.b64encode(np.round(frames * _STEPS).astype("<i2").tobytes()).decode()
