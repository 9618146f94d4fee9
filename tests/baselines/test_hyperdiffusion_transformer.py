import json

import numpy as np
import pytest
import torch
from golden import GOLDEN, needs_golden, weights_by_recipe
from hdbench_baselines.diffusion import DiffusionRecipe
from hdbench_baselines.hyperdiffusion.fields import FieldLayout
from hdbench_baselines.hyperdiffusion.transformer import Transformer
from safetensors.torch import load_file

FOLDER = GOLDEN / "hyperdiffusion"
SIZES_3D = FieldLayout((128, 128, 128), 4).sizes
SIZES_4D = FieldLayout((128, 128, 128), 4, dimensions=4).sizes


def arrays(name):
    with np.load(FOLDER / name, allow_pickle=False) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


@pytest.fixture(scope="module")
def small():
    """transformer_a, from a state dict with the keys of the original's Lightning checkpoint."""
    state = load_file(FOLDER / "transformer_a_lightning_state_dict.safetensors")
    model = Transformer(SIZES_3D, width=8, depth=2, heads=4)
    own = {k.removeprefix("model."): v.float() for k, v in state.items() if k.startswith("model.")}
    model.load_state_dict(own)
    return model.eval()


@needs_golden
def test_small_transformer_is_the_originals(small):
    io = arrays("transformer_a_io.npz")
    with torch.inference_mode():
        torch.testing.assert_close(small.scalar_embedder(io["t"]), io["timestep_embedding"], rtol=0, atol=1e-6)
        torch.testing.assert_close(small(io["x"], io["t"]), io["out"], rtol=0, atol=5e-5)


@needs_golden
def test_wide_transformer_is_the_originals():
    manifest = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["files"]
    entries = manifest if isinstance(manifest, list) else list(manifest.values())
    args = next(entry for entry in entries if entry["file"].endswith("transformer_b_io.npz"))["args"]
    io = arrays("transformer_b_io.npz")
    model = Transformer(SIZES_4D, width=args["n_embd"], depth=args["n_layer"], heads=args["n_head"])
    state = model.state_dict()
    for key, interval in args["recipe_ranges"].items():
        name = key.removeprefix("model.")
        if interval is not None:
            state[name] = weights_by_recipe(args["recipe_seed"], name, tuple(state[name].shape), *interval)
    state["scalar_embedder.frequencies"] = io["frequencies"]
    model.load_state_dict(state)
    with torch.inference_mode():
        torch.testing.assert_close(model(io["x"], io["t"]), io["out"], rtol=0, atol=5e-5)


@needs_golden
def test_diffusion_with_the_transformer_is_the_originals(small):
    io = arrays("diffusion_transformer_a.npz")
    diffusion = DiffusionRecipe().build()
    with torch.inference_mode():
        losses = diffusion.losses(small, io["x0"], io["t"], io["noise"])
        torch.testing.assert_close(losses, io["training_loss"], rtol=1e-4, atol=0)
        trajectory = list(diffusion.trajectory(small, io["xT"], sampler="ddim"))
    torch.testing.assert_close(trajectory[0], io["ddim_first_step"], rtol=0, atol=1e-4)
    torch.testing.assert_close(trajectory[-1], io["ddim_final"], rtol=0, atol=2e-3)


@needs_golden
@pytest.mark.parametrize(
    ("name", "width", "sizes"),
    [
        ("hyperdiffusion_plane_chair", 2880, SIZES_3D),
        ("hyperdiffusion_car", 1920, SIZES_3D),
        ("hyperdiffusion_4d_animals", 1440, SIZES_4D),
    ],
)
def test_keys_and_shapes_are_those_of_the_released_checkpoints(name, width, sizes):
    entries = json.loads((GOLDEN / "checkpoint_keys.json").read_text(encoding="utf-8"))[name]["entries"]
    released = {key.removeprefix("model."): tuple(shape) for key, shape, _ in entries if key.startswith("model.")}
    with torch.device("meta"):
        model = Transformer(sizes, width=width, depth=12, heads=16)
    assert {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()} == released


def test_initial_parameters_hang_on_the_seed_alone():
    def build(seed):
        model = Transformer((6, 2), width=8, depth=1, heads=2)
        model.initialize(seed)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(build(1), build(1))
    assert not torch.equal(build(1), build(2))


def test_positions_can_be_switched_off():
    on, off = (Transformer((6, 2), width=8, depth=1, heads=2, positions=switch) for switch in (True, False))
    assert on.decoder.pos_emb.requires_grad
    assert not off.decoder.pos_emb.requires_grad
    assert not off.decoder.pos_emb.any()


def test_the_time_embedding_is_never_rounded():
    """In mixed precision the products of frequencies and steps stay float32: their rounding is what was learnt."""
    model = Transformer((6, 2), width=8, depth=1, heads=2)
    steps = torch.tensor([0, 123, 499])
    with torch.inference_mode():
        exact = model.scalar_embedder(steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(torch.zeros(3, 8), steps).dtype == torch.bfloat16
            assert torch.equal(model.scalar_embedder(steps), exact)
