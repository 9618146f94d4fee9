import base64
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from hdbench.errors import HdbenchError
from hdbench.leaderboard.archives import SamplePoints
from hdbench.leaderboard.gallery import CLIP_POINTS, CLIPS, POINTS, packed_points, read_gallery, write_gallery


def samples(*shape):
    points = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    valid = np.ones(shape[0], bool)
    valid[0] = False
    points[0] = np.nan
    return SamplePoints(points, valid, tuple(f"s{index}" for index in range(shape[0])))


def test_the_first_valid_samples_are_shown(tmp_path):
    write_gallery(tmp_path, samples(3, 300, 3), is_real=False)
    tiles = read_gallery(tmp_path)
    assert [(tile.name, tile.frames) for tile in tiles] == [("s1", 1), ("s2", 1)]
    picture = Image.open(BytesIO((tmp_path / tiles[1].picture).read_bytes()))
    assert picture.size == (160, 160)
    assert np.asarray(picture.convert("RGBA"))[..., 3].any()


def test_sequences_are_strips_of_frames(tmp_path):
    write_gallery(tmp_path, samples(CLIPS + 2, 3, 500, 3), is_real=True)
    tiles = read_gallery(tmp_path)
    assert [tile.frames for tile in tiles] == [3] * CLIPS
    assert Image.open(tmp_path / tiles[0].picture).size == (3 * 160, 160)
    assert unpacked(tiles[0].points).reshape(3, -1, 3).shape[1] <= CLIP_POINTS


def unpacked(text):
    return np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, 3) / 32767


@pytest.mark.parametrize("count", [1, 50, POINTS, POINTS + 1, 5000])
def test_points_travel_thinned_and_within_the_unit_ball(count):
    points = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32) * 100 + 7
    found = unpacked(packed_points(points))
    assert 0 < len(found) <= POINTS
    assert np.linalg.norm(found, axis=1).max() <= 1 + 1e-4
    if count == 50:
        centred = points - (points.min(0) + points.max(0)) / 2
        np.testing.assert_allclose(found, centred / np.linalg.norm(centred, axis=1).max(), atol=1e-4)


@pytest.mark.parametrize("name", ["../entry.json", "gallery-1.webp", "/etc/passwd"])
def test_other_files_are_never_shown(tmp_path, name):
    (tmp_path / "gallery.json").write_text(json.dumps([{"name": "a", "picture": name, "frames": 1, "points": ""}]))
    with pytest.raises(HdbenchError, match="cannot be used"):
        read_gallery(tmp_path)


@pytest.mark.parametrize("text", ["", "7", "[1]", '[{"picture": "gallery-0.webp"}]'])
def test_what_is_no_gallery_is_refused(tmp_path, text):
    (tmp_path / "gallery.json").write_text(text)
    with pytest.raises(HdbenchError, match="cannot be used"):
        read_gallery(tmp_path)
