import importlib.util
from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench.datasets.base import SPLITS, split_of
from hdbench.datasets.deformingthings4d import DeformingThings4D, animal_of, species_of
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError
from hdbench.shapes import Mesh, Sequence
from hdbench.store import Store

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "shapes"
needs_shapes = pytest.mark.skipif(not SHARED.is_dir(), reason="the shape pack is not beside the repository")
BALL = trimesh.creation.icosphere(subdivisions=1)


def write_clip(root: Path, name: str, *, frames: int = 20, faces: np.ndarray = BALL.faces) -> Path:
    """A ball that walks and grows, differently for each name."""
    walk = np.linspace(0, 2 + len(name), frames)
    vertices = np.stack([BALL.vertices * (1 + step / 9) + (step, 0, 0) for step in walk]).astype("<f4")
    counts = np.array([frames, len(BALL.vertices), len(faces)], "<i4")
    path = root / name / f"{name}.anime"
    path.parent.mkdir(parents=True)
    parts = (counts, vertices[0], np.asarray(faces, "<i4"), vertices[1:] - vertices[0])
    path.write_bytes(b"".join(part.tobytes() for part in parts))
    return path


@pytest.fixture
def release(tmp_path) -> Path:
    for animal in ("fox0", "fox1", "fox2", "fox10", "fox22", "bear0", "bear1", "bear2"):  # some fall to each split
        for action in ("Run", "Sleep0", "Turn_left"):
            write_clip(tmp_path / "release" / "animals", f"{animal}XA_{action}")
    for number in range(5, 13):
        write_clip(tmp_path / "release" / "humanoids", f"mutant{number}_walk")
    return tmp_path / "release"


def names_of(dataset: DeformingThings4D) -> list[str]:
    return [name for split in SPLITS for name in dataset.ids(split)]


class TestSplits:
    def test_no_animal_stands_on_both_sides(self, release):
        dataset = DeformingThings4D(release, "animal")
        animals = [{animal_of(name) for name in dataset.ids(split)} for split in SPLITS]
        assert sum(map(len, animals)) == 8
        assert len(names_of(dataset)) == 24
        assert all(split_of(animal) == split for split, found in zip(SPLITS, animals, strict=True) for animal in found)

    def test_by_manifest(self, release):
        clips = ["fox0XA_Run,train", "bear1XA_Run,test", "fox2XA_Run,val"]
        (release / "animals" / "manifest.csv").write_text("\n".join(["id,split", *clips]))
        dataset = DeformingThings4D(release, "animal")
        assert [dataset.ids(split) for split in SPLITS] == [("fox0XA_Run",), ("fox2XA_Run",), ("bear1XA_Run",)]
        assert "manifest.csv" in dataset.skipped["fox0XA_Sleep0"]

    @pytest.mark.parametrize(
        ("clip", "animal", "species"),
        [
            ("foxXAT_Rotate180R", "foxXAT", "fox"),
            ("bear3EP_Attack_2", "bear3EP", "bear"),
            ("quat_pack_wolf__run", "quat_pack_wolf", "quat"),
            ("B12_jump", "B12", "B12"),
        ],
    )
    def test_names(self, clip, animal, species):
        assert (animal_of(clip), species_of(clip)) == (animal, species)


class TestClips:
    def test_are_placed_as_in_hyperdiffusion(self, release):
        dataset = DeformingThings4D(release, "animal")
        clip = dataset.shape("fox0XA_Run")
        assert isinstance(clip, Sequence)
        vertices = np.stack([frame.vertices for frame in clip.frames])
        walk = np.linspace(0, 2 + len("fox0XA_Run"), 20)[np.linspace(0, 20, 16, dtype=int, endpoint=False)]
        expected = BALL.vertices * (1 + walk[:, None, None] / 9)
        expected = (expected - expected.mean(axis=1, keepdims=True)) * 0.475 / abs(expected).max()
        assert vertices.shape == (16, len(BALL.vertices), 3)
        assert np.allclose(vertices, expected, atol=1e-6)
        assert np.isclose(abs(vertices).max(), 0.475)
        assert np.array_equal(clip.frames[3].faces, BALL.faces)

    def test_enclose_something(self, release):
        dataset = DeformingThings4D(release, "animal")
        centre = np.zeros((1, 3), np.float32)
        assert dataset.kind == "sequence"
        assert dataset.occupancy("fox0XA_Run", centre, frame=15).all()
        assert not dataset.occupancy("fox0XA_Run", centre + np.float32(0.46), frame=0).any()

    def test_the_store_keeps_them(self, release, tmp_path):
        store = Store(tmp_path / "store")
        plain, kept = DeformingThings4D(release, "animal"), DeformingThings4D(release, "animal", store=store, workers=1)
        assert kept.fingerprint() == plain.fingerprint()
        for name in ("fox0XA_Run", "bear1XA_Sleep0"):
            for one, other in zip(plain.shape(name).frames, kept.shape(name).frames, strict=True):
                assert isinstance(one, Mesh)
                assert np.array_equal(one.vertices, other.vertices)
                assert np.array_equal(one.faces, other.faces)


class TestLayout:
    def test_categories(self, release):
        assert len(names_of(DeformingThings4D(release, "humanoid"))) == 8
        assert len(names_of(DeformingThings4D(release, "fox"))) == 15
        assert len(names_of(DeformingThings4D(release / "animals", "animal"))) == 24
        assert len(names_of(DeformingThings4D(release / "animals", "fox"))) == 15
        assert len(names_of(DeformingThings4D(release, "mutant"))) == 8

    @pytest.mark.parametrize("below", ["", "animals"])
    def test_by_name_and_by_layout(self, release, below, monkeypatch):
        for text in (f"deformingthings4d:{release / below}", str(release / below)):
            dataset = open_dataset(text, "animal")
            assert isinstance(dataset, DeformingThings4D)
            assert dataset.name == "deformingthings4d"
        release.rename(release.with_name("DeformingThings4D"))
        monkeypatch.setenv("HDBENCH_DATA", str(release.parent))
        assert len(names_of(open_dataset("deformingthings4d", "animal"))) == 24
        assert len(names_of(open_dataset(str(release.parent), "fox"))) == 15

    def test_unknown_category(self, release):
        with pytest.raises(HdbenchError, match=r"'fix'.*Did you mean 'fox'.*animal, bear, fox, humanoid, mutant"):
            DeformingThings4D(release, "fix")

    def test_what_is_missing_and_where_to_get_it(self, tmp_path, release):
        (tmp_path / "empty").mkdir()
        (tmp_path / "loose").mkdir()
        (tmp_path / "loose" / "a.anime").write_bytes(b"")
        for path, category in (
            (tmp_path / "missing", "animal"),
            (tmp_path / "empty", "animal"),
            (tmp_path / "loose", "animal"),
            (release / "animals", "humanoid"),
        ):
            with pytest.raises(HdbenchError, match=r"get DeformingThings4D from the form at github\.com/rabbityl"):
                DeformingThings4D(path, category)

    def test_broken_clips_are_named_and_skipped(self, release):
        (release / "animals" / "fox9XA_Run").mkdir()
        short = release / "animals" / "fox0XA_Run" / "fox0XA_Run.anime"
        short.write_bytes(short.read_bytes()[:-12])
        write_clip(release / "animals", "fox9XA_Still", frames=1)
        write_clip(release / "animals", "fox9XA_Flat", faces=BALL.faces[:1])
        dataset = DeformingThings4D(release, "animal")
        assert set(dataset.skipped) == {"fox9XA_Run", "fox0XA_Run", "fox9XA_Still", "fox9XA_Flat"}
        assert "is missing" in dataset.skipped["fox9XA_Run"]
        assert "fox0XA_Run.anime" in dataset.skipped["fox0XA_Run"]
        assert "1 faces" in dataset.skipped["fox9XA_Flat"]
        assert not {*dataset.skipped} & {*names_of(dataset)}
        with pytest.raises(HdbenchError, match="4 of 27 shapes"):
            DeformingThings4D(release, "animal", strict=True)

    def test_verification(self, release):
        short = release / "humanoids" / "mutant5_walk" / "mutant5_walk.anime"
        short.write_bytes(short.read_bytes()[:-12])
        (release / "animals" / "fox9XA_Run").mkdir()
        findings = [(finding.status, finding.text) for finding in DeformingThings4D.inspect(release)]
        assert ("wrong", "animal clips: 25, but 1772 were published") in findings
        assert ("note", "9 animals move in them") in findings
        wrong = [text for status, text in findings if status == "wrong"]
        assert len(wrong) == 4
        assert any("mutant5_walk.anime" in text and "download it again" in text for text in wrong)
        assert any("fox9XA_Run.anime" in text for text in wrong)
        with pytest.raises(HdbenchError, match="holds no animals/"):
            next(DeformingThings4D.inspect(release.parent))

    def test_fingerprint_changes_with_the_content(self, release):
        before = DeformingThings4D(release, "fox").fingerprint()
        write_clip(release / "animals", "fox9XA_Eat")
        assert DeformingThings4D(release, "fox").fingerprint() != before


@needs_shapes
def test_real_clips(tmp_path):
    spec = importlib.util.spec_from_file_location("pack_io", SHARED / "pack_io.py")
    pack_io = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack_io)
    written = {}
    records = [record for record in pack_io.manifest(SHARED) if record["file"] == "animal_permissive.npz"]
    pack = np.load(SHARED / "animal_permissive.npz")
    for record in records[:: len(records) // 40][:40]:
        vertices, faces = pack[f"{record['id']}/v"], pack[f"{record['id']}/f"]
        animal, _, action = record["id"].partition("__")
        name = f"{animal.replace('_', '-')}_{action}"
        (tmp_path / "animals" / name).mkdir(parents=True)
        pack_io.write_anime(tmp_path / "animals" / name / f"{name}.anime", vertices, faces)
        written[name] = np.float32(vertices)
    dataset = DeformingThings4D(tmp_path, "animal", store=Store(tmp_path / "store"), workers=1)
    assert len(names_of(dataset)) + len(dataset.skipped) == 40
    assert len(dataset.skipped) <= 2
    for name in names_of(dataset)[::9]:
        frames = dataset.shape(name).frames
        faces = frames[0].faces
        spans = [np.ptp(frame.vertices, axis=0) for frame in frames]
        original = [np.ptp(frame, axis=0) for frame in written[name]]
        ratios = np.divide(spans, original)
        assert len(frames) == 16
        assert np.allclose(ratios, ratios[0, 0], rtol=1e-3)  # one scale for all frames and axes
        assert all(frame.faces is faces or np.array_equal(frame.faces, faces) for frame in frames)
