import numpy as np
import pytest
import trimesh

from hdbench.datasets.anime import read_anime, read_header
from hdbench.errors import HdbenchError

BOX = trimesh.creation.box()


def clip(frames: int) -> np.ndarray:
    """A box that grows: vertices (F, V, 3)."""
    return np.stack([BOX.vertices * (1 + frame) for frame in range(frames)]).astype(np.float32)


def content(
    vertices: np.ndarray, faces: np.ndarray = BOX.faces, *, header: tuple[int, int, int] | None = None
) -> bytes:
    counts = np.array(header or (len(vertices), vertices.shape[1], len(faces)), "<i4")
    offsets = (vertices[1:] - vertices[:1]).astype("<f4")
    return counts.tobytes() + vertices[0].astype("<f4").tobytes() + faces.astype("<i4").tobytes() + offsets.tobytes()


@pytest.mark.parametrize(("frames", "count"), [(16, 16), (37, 16), (5, 16), (2, 2), (100, 3)])
def test_frames_stand_evenly_in_time(tmp_path, frames, count):
    path = tmp_path / "a.anime"
    path.write_bytes(content(clip(frames)))
    read = read_anime(path, count)
    chosen = np.linspace(0, frames, count, dtype=int, endpoint=False)
    assert len(read.frames) == count
    for frame, index in zip(read.frames, chosen, strict=True):
        assert np.allclose(frame.vertices, BOX.vertices * (1 + index))
        assert np.array_equal(frame.faces, BOX.faces)


def test_header(tmp_path):
    (tmp_path / "a.anime").write_bytes(content(clip(3)))
    assert read_header(tmp_path / "a.anime") == (3, 8, 12)


def test_vertices_without_faces_are_dropped(tmp_path):
    stray = np.concatenate([np.full((4, 1, 3), 99, np.float32), clip(4)], axis=1)
    (tmp_path / "a.anime").write_bytes(content(stray, BOX.faces + 1))
    assert read_anime(tmp_path / "a.anime", 4).frames[3].vertices.max() == 2


NOT_FINITE = clip(3)
NOT_FINITE[2, 5, 1] = np.nan
HUGE = clip(3)
HUGE[1] *= 1e30
FLAT = clip(3)
FLAT[1] = 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends after 0 bytes"),
        (b"\x01\x00", "ends after 2 bytes"),
        (content(clip(3))[:-4], "download it again"),
        (content(clip(3)) + b"\0", "download it again"),
        (content(clip(3), header=(3, 2**31 - 1, 2**31 - 1)), "2147483647 vertices"),
        (content(clip(3), header=(2**31 - 1, 2**31 - 1, 12)), "2147483647 frames"),
        (content(clip(3), header=(-3, 8, 12)), "-3 frames"),
        (content(clip(3), header=(0, 0, 0)), "0 frames"),
        (content(clip(1)), "single frame"),
        (content(clip(3), BOX.faces + 1), "missing vertices"),
        (content(NOT_FINITE), "not finite"),
        (content(HUGE), "scale them below"),
        (content(FLAT), "frame 1: all points in one place"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, data, words):
    (tmp_path / "bad.anime").write_bytes(data)
    with pytest.raises(HdbenchError, match=r"bad\.anime") as caught:
        read_anime(tmp_path / "bad.anime", 3)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(HdbenchError, match="No such file"):
        read_anime(tmp_path / "a.anime", 16)
