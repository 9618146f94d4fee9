import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hdbench.geometry import rendering
from hdbench.shapes import Mesh, PointCloud, Sequence

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = [t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))]


def box(x: float, y: float, z: float) -> Mesh:
    return Mesh(CORNERS * np.array([x, y, z], np.float32), np.array(TRIANGLES))


def cloud(count: int = 500, seed: int = 0) -> PointCloud:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return PointCloud(points / np.linalg.norm(points, axis=1, keepdims=True))


def covered(picture: rendering.UInt8) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns with something in them."""
    opaque = picture[..., 3] > 127
    return np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))


@pytest.mark.parametrize("shape", [box(1, 0.4, 2), cloud()], ids=["mesh", "points"])
def test_shape_fills_the_picture_on_a_transparent_ground(shape):
    picture = rendering.render(shape, size=96)
    assert picture.shape == (96, 96, 4)
    assert picture.dtype == np.uint8
    rows, columns = covered(picture)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    assert 0.9 * 96 <= extent <= 96
    for side in (rows, columns):  # centred
        assert abs(side[0] + side[-1] - 95) <= 3
    assert not picture[0, 0].any() or picture[0, 0, 3] == 0


@pytest.mark.parametrize("shape", [box(1, 0.5, 2), cloud()], ids=["mesh", "points"])
def test_position_scale_and_what_was_drawn_before_change_nothing(shape):
    before = rendering.render(shape, size=64)
    rendering.render(box(3, 0.1, 0.2), size=64)
    rendering.render(cloud(40), size=64)
    assert np.array_equal(rendering.render(shape, size=64), before)
    if isinstance(shape, Mesh):
        moved = Mesh(shape.vertices * 8 + 32, shape.faces)  # powers of two: exact
        assert np.array_equal(rendering.render(moved, size=64), before)


def test_front_is_seen_from_the_right_and_above():
    front, back = (CORNERS * size + np.array([0, 0, z]) for size, z in ((0.2, -2), (0.1, 2)))
    both = Mesh(np.concatenate([front, back]), np.concatenate([TRIANGLES, np.add(TRIANGLES, 8)]))
    opaque = rendering.render(both, size=96)[..., 3] > 127
    left, right = opaque[:, :48], opaque[:, 48:]
    assert right.sum() > 2 * left.sum()  # the front comes out larger, right
    assert np.argwhere(right)[:, 0].mean() > np.argwhere(left)[:, 0].mean()  # and lower


def test_faces_wound_the_wrong_way_are_lit_all_the_same():
    inside_out = box(1, 1, 1)
    inside_out = Mesh(inside_out.vertices, inside_out.faces[:, ::-1])
    brightness = [rendering.render(mesh, size=64)[24:40, 24:40, :3].mean() for mesh in (box(1, 1, 1), inside_out)]
    assert brightness[0] == pytest.approx(brightness[1], rel=0.05)
    assert brightness[0] > 60


def test_vertices_without_a_face_do_not_shrink_the_picture():
    mesh = box(1, 0.4, 2)
    stray = Mesh(np.concatenate([mesh.vertices, [[50, 50, 50]]]), mesh.faces)
    assert np.array_equal(rendering.render(stray, size=64), rendering.render(mesh, size=64))


@pytest.mark.parametrize(
    "shape",
    [
        Mesh(np.zeros((0, 3)), np.zeros((0, 3))),
        Mesh(CORNERS, np.zeros((0, 3))),
        PointCloud(np.zeros((0, 3))),
        PointCloud(np.full((9, 3), np.nan)),
        PointCloud(np.ones((9, 3))),
        Sequence(()),
    ],
)
def test_a_shape_that_is_none_gives_the_placeholder(shape):
    picture = rendering.render(shape, size=48)
    assert np.array_equal(picture, rendering.placeholder(48))
    assert 0 < (picture[..., 3] > 0).mean() < 0.5


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_cloud_of_few_points(count):
    assert rendering.render(cloud(count), size=64)[..., 3].any()


def test_sequences_show_the_frame_asked_for():
    frames = (box(1, 1, 1), box(1, 0.2, 1), cloud())
    sequence = Sequence(frames)
    for index in (0, 1, -1):
        assert np.array_equal(
            rendering.render(sequence, size=48, frame=index), rendering.render(frames[index], size=48)
        )


def test_a_strip_shows_frames_from_one_place():
    moving = Sequence(tuple(Mesh(box(0.3, 0.3, 0.3).vertices + np.float32([0, y, 0]), TRIANGLES) for y in (0, 1, 2, 3)))
    strip = rendering.render_strip(moving, count=2, size=64)
    assert strip.shape == (64, 128, 4)
    low, high = (covered(part)[0] for part in (strip[:, :64], strip[:, 64:]))  # frames 0 and 2
    assert low.mean() > high.mean() + 15  # it rises
    assert np.ptp(low) < 32  # and is drawn no larger than the whole clip allows
    assert np.array_equal(rendering.render_strip(Sequence((cloud(), cloud())), count=2, size=48)[:, :48],
                          rendering.render(cloud(), size=48))  # fmt: skip


def test_a_strip_of_what_is_no_clip_gives_placeholders():
    blank = rendering.placeholder(32)
    assert np.array_equal(rendering.render_strip(Sequence(()), count=3, size=32), np.concatenate([blank] * 3, axis=1))


def test_centred_keeps_the_motion_between_frames():
    cube = box(1, 1, 1)
    stray = Mesh(np.concatenate([cube.vertices + np.float32([4, 0, 0]), [[50, 50, 50]]]), cube.faces)
    first, second = rendering.centred(Sequence((cube, stray))).frames
    assert len(second.vertices) == 8
    np.testing.assert_allclose(second.vertices - first.vertices, np.tile([4 / np.sqrt(11), 0, 0], (8, 1)), atol=1e-6)
    both = np.concatenate([first.vertices, second.vertices])
    assert np.linalg.norm(both, axis=1).max() == pytest.approx(1)


def test_color_is_the_material():
    red = rendering.render(box(1, 1, 1), size=64, color=(220, 40, 40))[32, 32]
    assert red[0] > 2 * red[1]


def test_encodings_read_back():
    picture = rendering.render(box(1, 0.4, 2), size=64)
    assert np.array_equal(np.asarray(Image.open(BytesIO(rendering.encode_png(picture)))), picture)
    webp = rendering.encode_webp(picture)
    assert len(webp) < len(rendering.encode_png(picture))
    assert Image.open(BytesIO(webp)).convert("RGBA").size == (64, 64)


def test_nothing_is_said_about_the_missing_display():
    code = (
        "import numpy as np; from hdbench.shapes import PointCloud; from hdbench.geometry import rendering;"
        "print(rendering.render(PointCloud(np.eye(3)), size=32).any())"
    )
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "True"
    assert done.stderr == ""


def test_torch_can_compile_after_a_picture_was_drawn():
    """Software rendering and Triton each bring an LLVM; in the wrong order the process dies."""
    code = (
        "import numpy, torch; from hdbench.geometry.rendering import render; from hdbench.shapes import PointCloud;"
        "render(PointCloud(numpy.eye(3, dtype='f4'))); import torch._dynamo"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
