import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from hdbench.benchmark import Plan, Run
from hdbench.datasets.base import SPLITS, split_of
from hdbench.datasets.objaverse import Objaverse
from hdbench.datasets.registry import open_dataset
from hdbench.errors import HdbenchError
from hdbench.progress import Progress
from hdbench.reporting.facts import appendices
from hdbench.shapes import Mesh
from hdbench.store import Store

UIDS = [f"{index:032x}" for index in range(20)]


def scene(number: int) -> trimesh.Scene:
    """An open box, and two balls under nodes that move and scale them: parts that are not watertight."""
    made = trimesh.Scene()
    box = trimesh.creation.box(extents=(1 + number / 9, 1, 1))
    box.update_faces(np.arange(12) > 1)
    made.add_geometry(box, node_name="box")
    ball = trimesh.creation.icosphere(subdivisions=1)
    made.add_geometry(ball, node_name="a", parent_node_name="box", transform=np.diag([0.5, 0.5, 0.5, 1]))
    made.add_geometry(ball, node_name="b", transform=trimesh.transformations.translation_matrix((3, 0, 0)))
    return made


def annotation(uid: str, licence: str | None = "by") -> dict[str, object]:
    number = int(uid, 16)
    user = {"username": f"maker{number}", "displayName": f"Maker {number}"}
    address = f"https://sketchfab.com/3d-models/{uid}"
    return {"uid": uid, "name": f"Thing {number}", "user": user, "license": licence, "viewerUrl": address, "faces": 3}


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


@pytest.fixture
def release(tmp_path) -> Path:
    """As the objaverse package leaves it: objects and annotations by hundred, categories beside."""
    root = tmp_path / "hf-objaverse-v1"
    for number, uid in enumerate(UIDS):
        place = root / "glbs" / f"000-{number % 2:03d}" / f"{uid}.glb"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(scene(number).export(file_type="glb"))
    for part in range(2):
        records = {uid: annotation(uid) for uid in UIDS[part::2]}
        write_json(root / "metadata" / f"000-{part:03d}.json.gz", records)
    (root / "metadata" / "000-099.json.gz").write_bytes(b"of objects that are not here, and never opened")
    write_json(root / "lvis-annotations.json.gz", {"mug": UIDS, "chair": ["f" * 32], "lamp": UIDS[:3]})
    return root


@pytest.fixture
def plain(tmp_path) -> Path:
    """Anyone's folder: objects in sub-folders with their buffers, annotations as one file."""
    root = tmp_path / "plain"
    for number, uid in enumerate(UIDS[:10]):
        (root / uid).mkdir(parents=True)
        for name, content in scene(number).export(file_type="gltf").items():
            (root / uid / name.replace("model.gltf", "scene.gltf")).write_bytes(content)
    write_json(root / "annotations.json", {uid: annotation(uid, "CC-BY-4.0") for uid in UIDS[:10]})
    rows = [f"{uid},{'test' if number % 5 == 0 else 'train'}" for number, uid in enumerate(UIDS[:10])]
    (root / "manifest.csv").write_text("\n".join(["id,split", *rows]))
    return root


def names_of(dataset: Objaverse) -> list[str]:
    return [name for split in SPLITS for name in dataset.ids(split)]


class TestObjects:
    def test_are_whole_scenes_in_a_unit_box(self, release):
        mesh = Objaverse(release, "mug").shape(UIDS[4])
        assert isinstance(mesh, Mesh)
        assert len(mesh.faces) == 10 + 2 * 80
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        assert np.allclose(low, -high, atol=1e-6)
        assert np.isclose((high - low).max(), 1)
        assert len(np.unique(mesh.vertices[:, 0] > 0.2)) == 2

    def test_have_an_inside_though_not_watertight(self, release):
        dataset = Objaverse(release, "mug")
        right_ball = np.array([[0.25, 0, 0], [0.499, 0.2, 0.2]], np.float32)
        assert dataset.occupancy(UIDS[0], right_ball).tolist() == [True, False]

    def test_splits(self, release, plain):
        dataset = Objaverse(release, "mug")
        assert sorted(names_of(dataset)) == UIDS
        assert all(split_of(name) == split for split in SPLITS for name in dataset.ids(split))
        assert Objaverse(plain, "anything").ids("test") == (UIDS[0], UIDS[5])

    def test_as_text_with_buffers(self, plain, release):
        text, packed = Objaverse(plain, "anything"), Objaverse(release, "mug")
        assert np.allclose(text.shape(UIDS[3]).vertices, packed.shape(UIDS[3]).vertices, atol=1e-6)

    def test_content_counts(self, plain):
        before = Objaverse(plain, "anything").fingerprint()
        buffer = next((plain / UIDS[3]).glob("*.bin"))
        content = bytearray(buffer.read_bytes())
        content[-1] ^= 1
        buffer.write_bytes(content)
        assert Objaverse(plain, "anything").fingerprint() != before

    def test_the_store_keeps_them(self, plain, tmp_path):
        kept = Objaverse(plain, "anything", store=Store(tmp_path / "store"), workers=1)
        assert kept.fingerprint() == Objaverse(plain, "anything").fingerprint()
        assert kept.credits[UIDS[2]] in str(kept.fingerprint())


class TestLicences:
    def test_are_kept_per_object(self, release):
        write_json(release / "metadata" / "000-000.json.gz", {uid: annotation(uid, "by-nc-sa") for uid in UIDS[::2]})
        dataset = Objaverse(release, "mug")
        assert dataset.licences[UIDS[0]] == "CC-BY-NC-SA-4.0"
        assert dataset.licences[UIDS[1]] == "CC-BY-4.0"
        address = f"https://sketchfab.com/3d-models/{UIDS[1]}"
        assert dataset.credits[UIDS[1]] == f"'Thing 1', by Maker 1, CC-BY-4.0, {address}"

    def test_objects_without_one_are_left_out(self, release):
        records = {uid: annotation(uid, None if uid == UIDS[2] else "by") for uid in UIDS[2::2]}
        write_json(release / "metadata" / "000-000.json.gz", records)
        dataset = Objaverse(release, "mug")
        assert dataset.skipped == dict.fromkeys((UIDS[0], UIDS[2]), "no licence in the annotations")
        with pytest.raises(HdbenchError, match="2 of 20 shapes"):
            Objaverse(release, "mug", strict=True)

    def test_stand_in_the_results_and_the_report(self, release, tmp_path, monkeypatch):
        monkeypatch.setattr("hdbench.reporting.report.write_report", lambda folder, progress: [])  # pictures take long
        plan = Plan(category="mug", dataset=str(release), methods=("held-out",), count=2)
        store = Store(tmp_path / "store")
        results = Run(plan, store=store, folder=tmp_path / "run", progress=Progress()).execute()
        assert set(results.dataset.credits) >= set(results.dataset.reference_ids)
        assert "by Maker 3, CC-BY-4.0" in (tmp_path / "run" / "results.json").read_text()
        name = results.dataset.reference_ids[0]
        assert any(f"{name}: {results.dataset.credits[name]}" in text for _, text in appendices(results))

    def test_change_the_fingerprint(self, plain):
        before = Objaverse(plain, "anything").fingerprint()
        write_json(plain / "annotations.json", {uid: annotation(uid, "cc0") for uid in UIDS[:10]})
        assert Objaverse(plain, "anything").fingerprint() != before

    def test_forged_credits_stay_in_one_line(self, plain):
        records = {uid: annotation(uid) | {"name": "a\nb\r\n<script>", "user": "someone"} for uid in UIDS[:10]}
        write_json(plain / "annotations.json", records)
        credit = Objaverse(plain, "anything").credits[UIDS[0]]
        assert "\n" not in credit
        assert "by someone" in credit


class TestLayout:
    @pytest.mark.parametrize("lacking", ["folder", "objects", "annotations", "category", "licences"])
    def test_what_is_missing_and_where_to_get_it(self, release, lacking, tmp_path):
        path, category = release, "mug"
        if lacking == "folder":
            path = tmp_path / "missing"
        if lacking == "objects":
            path = tmp_path / "empty"
            path.mkdir()
        if lacking == "annotations":
            for file in (release / "metadata").iterdir():
                file.unlink()
        if lacking == "category":
            category = "chair"
        if lacking == "licences":
            for part in range(2):
                write_json(release / "metadata" / f"000-{part:03d}.json.gz", {})
        with pytest.raises(HdbenchError, match="pip install objaverse"):
            Objaverse(path, category)

    def test_by_name_and_by_layout(self, release, plain, monkeypatch):
        for text in (f"objaverse:{release}", str(release), str(release.parent)):
            assert open_dataset(text, "mug").name == "objaverse"
        assert open_dataset(f"objaverse:{plain}", "anything").name == "objaverse"
        monkeypatch.setenv("HDBENCH_DATA", str(release.parent))
        assert sorted(names_of(open_dataset("objaverse", "mug"))) == UIDS

    def test_unknown_category(self, release):
        with pytest.raises(HdbenchError, match=r"'mgu'.*Did you mean 'mug'"):
            Objaverse(release, "mgu")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"{", "cannot be read"),
            (b"[]", "no JSON object"),
            (b"[" * 100_000, "cannot be read"),
            (json.dumps({UIDS[0]: {"license": 3}}).encode(), f"'{UIDS[0]}': license"),
            (json.dumps({UIDS[0]: []}).encode(), f"'{UIDS[0]}'"),
            (b"\xff\xfe", "cannot be read"),
        ],
    )
    def test_broken_annotations(self, plain, content, words):
        (plain / "annotations.json").write_bytes(content)
        with pytest.raises(HdbenchError, match=r"annotations\.json") as caught:
            Objaverse(plain, "anything")
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_packed_annotations_do_not_explode(self, plain, monkeypatch):
        monkeypatch.setattr("hdbench.datasets.objaverse.LARGEST_JSON", 1 << 20)
        (plain / "annotations.json").unlink()
        (plain / "annotations.json.gz").write_bytes(gzip.compress(b" " * (2 << 20)))
        with pytest.raises(HdbenchError, match="more than 1048576 bytes"):
            Objaverse(plain, "anything")

    def test_two_of_one_name(self, release):
        (release / "glbs" / "000-001" / f"{UIDS[0]}.glb").write_bytes(b"")
        with pytest.raises(HdbenchError, match="both called"):
            Objaverse(release, "mug")

    def test_broken_objects_are_named_and_skipped(self, release):
        broken = release / "glbs" / "000-001" / f"{UIDS[1]}.glb"
        broken.write_bytes(broken.read_bytes()[:-9])
        (release / "glbs" / "000-001" / f"{UIDS[3]}.glb").write_bytes(
            trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]]).export(file_type="glb")
        )
        dataset = Objaverse(release, "mug")
        assert set(dataset.skipped) == {UIDS[1], UIDS[3]}
        assert f"{UIDS[1]}.glb" in dataset.skipped[UIDS[1]]
        assert "1 faces" in dataset.skipped[UIDS[3]]

    def test_verification(self, release):
        broken = release / "glbs" / "000-001" / f"{UIDS[1]}.glb"
        broken.write_bytes(broken.read_bytes()[:-9])
        write_json(release / "metadata" / "000-000.json.gz", {uid: annotation(uid, "cc0") for uid in UIDS[2::2]})
        findings = [(finding.status, finding.text) for finding in Objaverse.inspect(release)]
        assert ("ok", "20 objects") in findings
        assert ("ok", "CC0-1.0: 9 objects") in findings
        assert ("ok", "CC-BY-4.0: 10 objects") in findings
        assert ("ok", "mug: 20 of 20 objects") in findings
        wrong = [text for status, text in findings if status == "wrong"]
        assert len(wrong) == 2
        assert f"{UIDS[1]}.glb" in wrong[0]
        assert wrong[1] == "1 objects without a licence in the annotations"
