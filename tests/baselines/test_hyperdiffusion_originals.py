"""The original authors' files become models and fields of ours, and what does not fit is refused in one line."""

import json
import pathlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.fields import FieldLayout
from hdbench_baselines.hyperdiffusion.library import load_library
from hdbench_baselines.hyperdiffusion.method import HyperDiffusion
from hdbench_baselines.hyperdiffusion.originals import layout_of, read_denoiser, read_fields
from hdbench_baselines.hyperdiffusion.transformer import Transformer
from safetensors.torch import load_file

from hdbench.cli import _main
from hdbench.conformance import ToySolids
from hdbench.datasets.base import LearningView
from hdbench.errors import HdbenchError
from hdbench.method import Context
from hdbench.progress import Progress
from hdbench.recipe import parse_changes
from hdbench.shape_files import ShapeSet
from hdbench.shapes import Mesh
from hdbench.shapes import Sequence as Clip
from hdbench.store import Store

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "hyperdiffusion"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="the golden data are not beside this checkout")
PROJECTIONS = "model.decoder.output_parameter_projections"
TINY = FieldLayout((6, 5), 1)
TINY_4D = FieldLayout((6, 5), 1, dimensions=4)


def context(folder):
    folder.mkdir(exist_ok=True, parents=True)
    return Context("cpu", Progress(), folder, 1, seed=0)


def lightning(state, **others):
    """What PyTorch-Lightning 1.5.10 saves beside the weights of the original's module."""
    return {
        "epoch": 5999,
        "global_step": 516_000,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": state,
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val/1-NN-CD-acc'}": {
                "best_model_score": torch.tensor(0.69),
                "best_model_path": "lightning_checkpoints/best.ckpt",
                "dirpath": pathlib.PosixPath("lightning_checkpoints"),
            }
        },
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 2e-4}]}],
        "lr_schedulers": [{"step_size": 200, "gamma": 0.9, "_last_lr": [8.5e-6]}],
        **others,
    }


def tiny_state(layout=TINY, width=8, depth=2):
    model = Transformer(layout.sizes, width=width, depth=depth, heads=2)
    model.initialize(3)
    betas = torch.linspace(1e-4, 2e-2, 500, dtype=torch.float64)
    buffers = dict.fromkeys(("betas", "alphas", "alpha_hats", "alpha_hats_prev"), betas)
    return {**buffers, **{f"model.{name}": tensor for name, tensor in model.state_dict().items()}}


def import_file(path, folder, **changes):
    assignments = [
        f"denoiser.heads={changes.pop('heads', 2)}",
        *(f"{k.replace('__', '.')}={v}" for k, v in changes.items()),
    ]
    what = HyperDiffusion.import_original(
        path, folder, context(folder / "workspace"), changes=parse_changes(assignments)
    )
    return what, HyperDiffusion.load(folder, context(folder / "workspace"))


@pytest.fixture
def checkpoint(tmp_path):
    """Write a small checkpoint whose state dict `edit` has changed."""

    def write(edit=lambda state: None, **options):
        state = tiny_state(**options)
        edit(state)
        torch.save(lightning(state), tmp_path / "last.ckpt")
        return tmp_path / "last.ckpt"

    return write


@needs_golden
def test_golden_checkpoint_denoises_as_the_original(tmp_path):
    """From a Lightning checkpoint through the importer and our folder to the original's outputs."""
    state = load_file(FOLDER / "transformer_a_lightning_state_dict.safetensors")
    torch.save(
        lightning({name: t.float() if name.startswith("model.") else t for name, t in state.items()}),
        tmp_path / "a.ckpt",
    )
    what, model = import_file(tmp_path / "a.ckpt", tmp_path / "model", heads=4)
    assert "3 dimensions" in what
    assert (model.recipe.denoiser.width, model.recipe.denoiser.depth) == (8, 2)
    assert model.recipe.fields.layout == FieldLayout((128, 128, 128), 4)
    assert (model.recipe.sampling.steps, model.recipe.sampling.resolution, model.recipe.sampling.level) == (
        500,
        356,
        1.386,
    )
    with np.load(FOLDER / "transformer_a_io.npz", allow_pickle=False) as stored:
        io = {key: torch.from_numpy(stored[key]) for key in ("x", "t", "out", "timestep_embedding")}
    with torch.inference_mode():
        torch.testing.assert_close(model.denoiser(io["x"], io["t"]), io["out"], rtol=0, atol=5e-5)
        embedded = model.denoiser.scalar_embedder(io["t"])
    torch.testing.assert_close(embedded, io["timestep_embedding"], rtol=0, atol=1e-6)
    with np.load(FOLDER / "diffusion_transformer_a.npz", allow_pickle=False) as stored:
        start, expected = (torch.from_numpy(stored[key]) for key in ("xT", "ddim_first_step"))
    with torch.inference_mode():
        first = next(model.recipe.diffusion.build().trajectory(model.denoiser, start, sampler="ddim"))
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-4)  # all 500 in test_hyperdiffusion_transformer


@needs_golden
@pytest.mark.parametrize(("name", "dimensions"), [("mlp3d", 3), ("mlp4d", 4)])
def test_golden_fields_are_imported_as_they_are(tmp_path, name, dimensions):
    state = {key: tensor.float() for key, tensor in load_file(FOLDER / f"{name}_state_dict.safetensors").items()}
    (tmp_path / "fields").mkdir()
    for shape in ("a14b26", "bear_run"):
        torch.save(state, tmp_path / "fields" / f"occ_{shape}_jitter_0_model_final.pth")
    (tmp_path / "fields" / "log.txt").write_text("not a field")
    fields, layout = read_fields(tmp_path / "fields")
    assert [field.name for field in fields] == ["a14b26", "bear_run"]
    assert layout == FieldLayout((128, 128, 128), 4, dimensions)
    assert {field.frames for field in fields} == {16 if dimensions == 4 else 1}
    with np.load(FOLDER / f"{name}_io.npz", allow_pickle=False) as stored:
        assert np.array_equal(fields[0].vector, stored["flat"])


@pytest.mark.parametrize(
    ("layout", "kind", "resolution"), [(TINY, "mesh", 356), (TINY_4D, "sequence", 128)], ids=["3d", "4d"]
)
def test_sizes_are_read_off_the_tensors(tmp_path, checkpoint, layout, kind, resolution):
    what, model = import_file(checkpoint(layout=layout, width=12, depth=3), tmp_path / "model")
    assert model.recipe.fields.layout == layout
    assert (model.recipe.denoiser.width, model.recipe.denoiser.depth) == (12, 3)
    assert model.sample_kind == kind
    assert model.recipe.sampling.resolution == resolution
    assert model.recipe.training.learning_rate == (2e-4 if kind == "mesh" else 5e-5)
    assert f"{layout.dimensions} dimensions" in what
    assert (model.mean == 0).all()
    assert model.deviation == 1


def test_frequencies_are_the_files(tmp_path, checkpoint):
    frequencies = torch.rand(128)
    path = checkpoint(lambda state: state.update({"model.scalar_embedder.frequencies": frequencies}))
    _, model = import_file(path, tmp_path / "model")
    assert torch.equal(model.denoiser.scalar_embedder.frequencies, frequencies)


def test_an_imported_model_saves_the_same_bytes_again(tmp_path, checkpoint):
    _, model = import_file(checkpoint(), tmp_path / "model")
    model.save(tmp_path / "again")
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(("layout", "kind"), [(TINY, Mesh), (TINY_4D, Clip)], ids=["3d", "4d"])
def test_an_imported_model_makes_shapes(tmp_path, checkpoint, layout, kind):
    changes = {"sampling__steps": 3, "sampling__resolution": 8, "sampling__level": 0.0}
    _, model = import_file(checkpoint(layout=layout), tmp_path / "model", **changes)
    shapes = list(model.sample([0, 1], 3, context(tmp_path / "workspace")))
    assert all(isinstance(shape, kind) for shape in shapes)
    if kind is Clip:
        assert [len(shape.frames) for shape in shapes] == [16, 16]


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(HdbenchError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda s: s.pop("model.decoder.ln_f.bias"), "'decoder.ln_f.bias' is missing"),
        (lambda s: s.update({"model.decoder.ln_f.bias": torch.zeros(9)}), "shape (9,), expected (8,)"),
        (lambda s: s.update({"model.extra": torch.zeros(9)}), "'extra' has no place"),
        (lambda s: s.update({"encoder.weight": torch.zeros(9)}), "'encoder.weight' is of another model"),
        (lambda s: s.update({f"{PROJECTIONS}.3.0.weight": torch.zeros(7, 8)}), "no coordinate network"),
        (lambda s: s.update(note="text"), "is no state dict"),
        (lambda s: s.update(betas=s["betas"] / 2), "500 betas from 5e-05 to 0.01, not the recipe's"),
        (lambda s: s.update(betas=s["betas"][:100]), "100 betas"),
        (lambda s: s.update(betas=torch.zeros(0)), "its betas have shape (0,)"),
        (lambda s: s.update(betas=torch.ones(())), "its betas have shape ()"),
        (lambda s: s["model.decoder.ln_f.bias"].fill_(torch.nan), "'decoder.ln_f.bias' holds numbers that are not"),
        (lambda s: s.clear(), "it is empty"),
    ],
)  # fmt: skip
def test_denoisers_that_do_not_fit_are_refused(tmp_path, checkpoint, edit, words):
    path = checkpoint(edit)
    message = refusal(import_file, path, tmp_path / "model")
    assert words in message
    assert str(path) in message


def test_other_torch_files_are_refused(tmp_path):
    torch.save({"model_state_dict": {}}, tmp_path / "other.pth")
    assert "no 'state_dict'" in refusal(read_denoiser, tmp_path / "other.pth")


def test_heads_must_share_the_width(tmp_path, checkpoint):
    message = refusal(import_file, checkpoint(), tmp_path / "model", heads=16)
    assert "a width of 8 cannot be shared by 16 heads; set denoiser.heads" in message


def test_what_the_file_decides_cannot_be_set(tmp_path, checkpoint):
    assert "leave them out" in refusal(import_file, checkpoint(), tmp_path / "model", denoiser__width=4)


def tiny_fields(folder, layout=TINY, names=("b", "a", "c")):
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        tensors = layout.unpack(layout.initial(np.random.default_rng(index)))
        state = {f"layers.{k // 2}.{'bias' if k % 2 else 'weight'}": t.clone() for k, t in enumerate(tensors)}
        torch.save(state, folder / f"occ_{name}_jitter_0_model_final.pth")
    return folder


def test_a_folder_of_fields_becomes_a_library(tmp_path):
    HyperDiffusion.import_original(
        tiny_fields(tmp_path / "fields"), tmp_path / "library", context(tmp_path / "w"), changes={}
    )
    collection = load_library(tmp_path / "library", TINY).fields
    assert collection.vectors.shape == (3, TINY.count)
    assert list(collection.ious) == ["a", "b", "c"]
    assert collection.frames == 1
    assert np.array_equal(collection.vectors[1], TINY.initial(np.random.default_rng(0)).numpy())
    message = refusal(load_library, tmp_path / "library", TINY_4D)
    assert "3-6-5-1 networks with 1 octaves" in message
    assert "--preset" in message


def test_fits_of_one_shape_are_kept_apart(tmp_path):
    folder = tiny_fields(tmp_path / "fields", names=("a", "b"))
    (folder / "occ_b_jitter_0_model_final.pth").rename(folder / "occ_a_jitter_1_model_final.pth")
    assert [field.name for field in read_fields(folder)[0]] == ["a", "a_jitter_1"]


def test_libraries_of_fields_fitted_on_a_gpu_are_read(tmp_path):
    """They stand in another folder: see `collection.fit_in_batches`."""
    library = tmp_path / "library"
    HyperDiffusion.import_original(tiny_fields(tmp_path / "fields"), library, context(tmp_path / "w"), changes={})
    (library / "fields").rename(library / "batches")
    assert len(load_library(library, TINY).fields.vectors) == 3


def test_libraries_that_are_not_what_they_say_are_refused(tmp_path):
    library = tmp_path / "library"
    HyperDiffusion.import_original(tiny_fields(tmp_path / "fields"), library, context(tmp_path / "w"), changes={})
    facts = json.loads((library / "fields.json").read_text())
    facts["layout"]["octaves"] = 2
    (library / "fields.json").write_text(json.dumps(facts))
    assert "are not the 3-6-5-1 networks with 2 octaves" in refusal(load_library, library, FieldLayout((6, 5), 2))


def test_fields_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "occ_<shape>_jitter_0_model_final.pth" in refusal(read_fields, tmp_path / "empty")
    mixed = tiny_fields(tmp_path / "mixed", names=("a",))
    tiny_fields(mixed, layout=FieldLayout((6, 4), 1), names=("b",))
    message = refusal(read_fields, mixed)
    assert "occ_b_jitter" in message
    assert "shape (4, 6), expected (5, 6)" in message
    torch.save({"layers.0.weight": torch.ones(2, 2)}, tmp_path / "empty" / "occ_x_jitter_0_model_final.pth")
    message = refusal(read_fields, tmp_path / "empty")
    assert "occ_x_jitter" in message
    assert "no coordinate network" in message


def test_fields_that_are_not_finite_are_left_out(tmp_path):
    folder = tiny_fields(tmp_path / "fields")
    bad = TINY.unpack(torch.full((TINY.count,), float("nan")))
    state = {f"layers.{k // 2}.{'bias' if k % 2 else 'weight'}": t.clone() for k, t in enumerate(bad)}
    torch.save(state, folder / "occ_a_jitter_0_model_final.pth")
    HyperDiffusion.import_original(folder, tmp_path / "library", context(tmp_path / "w"), changes={})
    collection = load_library(tmp_path / "library", TINY).fields
    assert collection.left_out == {"a": "its weights are not finite"}
    assert len(collection.vectors) == 2


@pytest.mark.parametrize("damage", ["missing", "text", "weights"])
def test_damaged_libraries_are_refused(tmp_path, damage):
    HyperDiffusion.import_original(
        tiny_fields(tmp_path / "fields"), tmp_path / "library", context(tmp_path / "w"), changes={}
    )
    name = "fields/000000.safetensors" if damage == "weights" else "fields.json"
    if damage == "missing":
        (tmp_path / "library" / name).unlink()
    else:
        (tmp_path / "library" / name).write_bytes(b"{")
    assert "zoo import" in refusal(load_library, tmp_path / "library", TINY)


def test_layouts_are_known_by_their_sizes():
    for layout in (TINY, TINY_4D, FieldLayout((128, 128, 128), 4), FieldLayout((24,), 0, dimensions=4)):
        assert layout_of(layout.sizes, "file") == layout
    for sizes in ([], [3], [10, 2, 2, 1], [7, 1, 1, 1], [0, 0, 0, 1]):
        assert "file" in refusal(layout_of, sizes, "file")


def test_from_original_fields_to_samples_on_the_command_line(tmp_path, monkeypatch, capsys):
    """zoo import of fields, fit from them, sample."""
    monkeypatch.setenv("HDBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    tiny_fields(tmp_path / "fields")

    def call(*arguments):
        assert _main(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert "3 fields" in call("zoo", "import", "hyperdiffusion", "fields", "--out", "library")
    sets = ("fields.hidden=[6, 5]", "fields.octaves=1", "training.steps=4", "sampling.resolution=8")
    options = [option for assignment in sets for option in ("--set", assignment)]
    call("fit", "hyperdiffusion", "--category", "airplane", "--preset", "smoke", "--quiet", *options, "--limit", "2",
         "--from-fields", "library", "--out", "model")  # fmt: skip
    call("sample", "model", "--count", "2", "--out", "samples", "--quiet")
    assert len(ShapeSet.open(tmp_path / "samples")) == 2
    report = json.loads((tmp_path / "model" / "model.json").read_text())["report"]
    assert report["fields"] == {"count": 3, "iou_median": None, "iou_lowest": None}


class TestKeptFields:
    """Fits that differ in the denoiser alone fit the fields once."""

    @pytest.fixture
    def fit(self, tmp_path):
        (tmp_path / "workspace").mkdir()
        said = []

        class Heard(Progress):
            def say(self, message):
                said.append(message)

        def fit(*changes, store=True, fields=None):
            recipe = HyperDiffusion.load_recipe("smoke", changes=parse_changes(["training.steps=4", *changes]))
            kept = Store(tmp_path / "store") if store else None
            workspace = tmp_path / "workspace" / str(len(list((tmp_path / "workspace").iterdir())))
            workspace.mkdir()
            model, where = HyperDiffusion(), Context("cpu", Heard(), workspace, 1, 0, kept)
            if fields:
                model.fit_from_fields(fields, recipe, where)
            else:
                model.fit(LearningView(ToySolids()), recipe, where)
            return model, said[-1] if said else ""

        return fit

    def test_are_found_again_by_another_denoiser(self, fit):
        first, said = fit()
        assert said.startswith("Fitted fields: ")
        second, said = fit("denoiser.positions=false")
        assert said.startswith("Found the fields: ")
        assert first.reused_seconds == 0
        assert second.reused_seconds > 0
        assert torch.equal(first.mean, second.mean)
        _, said = fit("fields.octaves=2")
        assert said.startswith("Fitted fields: ")

    def test_change_nothing(self, fit):
        with_store, without = fit()[0], fit(store=False)[0]
        assert with_store.report == without.report
        for name, tensor in with_store.denoiser.state_dict().items():
            assert torch.equal(tensor, without.denoiser.state_dict()[name])

    def test_can_be_named(self, fit):
        first, said = fit()
        second, _ = fit(fields=Path(said.removeprefix("Fitted fields: ")))
        assert second.report == first.report
