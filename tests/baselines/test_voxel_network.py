import json

import numpy as np
import pytest
import torch
from golden import GOLDEN, needs_golden, weights_by_recipe
from hdbench_baselines.muon import Muon
from hdbench_baselines.voxel.network import UNet, fold, sinusoids, unfold
from hdbench_baselines.voxel.recipe import NetworkRecipe, VoxelRecipe
from pydantic import ValidationError

TINY_3D = NetworkRecipe(multipliers=(1, 2), blocks=1, attention=(2,), heads=2)
TINY_4D = NetworkRecipe(
    multipliers=(1, 2, 2),
    blocks=1,
    attention=(2, 4),
    head_channels=16,
    scale_and_shift=True,
    residual_resampling=True,
)


def trace(model, grids):
    """What each stage leaves of `grids`, as (channels, x, y, z)."""
    shapes = []
    stages = [*model.input_blocks, model.middle_block, *model.output_blocks]
    hooks = [stage.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:]))) for stage in stages]
    model(grids, torch.zeros(len(grids), dtype=torch.int64, device=grids.device))
    for hook in hooks:
        hook.remove()
    return shapes


@needs_golden
@pytest.mark.parametrize(("name", "size", "channels"), [("vox3d_tiny", TINY_3D, 1), ("vox4d_tiny", TINY_4D, 16)])
def test_network_is_the_originals(name, size, channels):
    entries = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["files"]
    args = next(entry for entry in entries if entry["file"] == f"voxel/{name}_io.npz")["args"]
    model = UNet(size, edges=(8, 8, 8), channels=channels)
    own = model.state_dict()
    assert list(own) == list(args["recipe_ranges"])
    for key, interval in args["recipe_ranges"].items():
        own[key] = weights_by_recipe(args["recipe_seed"], key, tuple(own[key].shape), *interval)
    model.load_state_dict(own)
    with np.load(GOLDEN / "voxel" / f"{name}_io.npz", allow_pickle=False) as io:
        x, steps, out = (torch.from_numpy(io[key]) for key in ("x", "t", "out"))
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(x, steps), out, rtol=0, atol=2e-4)


def test_the_papers_network_has_its_parameters():
    with torch.device("meta"):
        model, frames_as_channels = (
            UNet(NetworkRecipe(), edges=(24, 24, 24)),
            UNet(NetworkRecipe(), edges=(24, 24, 24), channels=16),
        )
    assert sum(p.numel() for p in model.parameters()) == 10_420_289
    assert len(model.state_dict()) == 276
    assert sum(p.numel() for p in frames_as_channels.parameters()) == 10_446_224


def test_the_papers_network_never_halves_the_first_axis():
    with torch.device("meta"):
        shapes = trace(UNet(NetworkRecipe(), edges=(24, 24, 24)), torch.empty(1, 1, 24, 24, 24))
    down = [(32, 24, 24, 24)] * 3 + [(32, 24, 12, 12)] + [(64, 24, 12, 12)] * 2 + [(64, 24, 6, 6)]
    down += [(128, 24, 6, 6)] * 2
    up = [(128, 24, 6, 6)] * 2 + [(128, 24, 12, 12)] + [(64, 24, 12, 12)] * 2 + [(64, 24, 24, 24)]
    up += [(32, 24, 24, 24)] * 3
    assert shapes == [*down, (128, 24, 6, 6), *up]


def test_all_axes_can_be_halved_and_voxels_folded():
    size = NetworkRecipe(width=8, groups=4, blocks=1, halve_all_axes=True, patch=2, attention=())
    shapes = trace(UNet(size, edges=(16, 16, 16)), torch.zeros(2, 1, 16, 16, 16))
    assert shapes[0] == (8, 8, 8, 8)
    assert shapes[len(shapes) // 2] == (32, 2, 2, 2)
    assert UNet(size, edges=(16, 16, 16))(torch.zeros(2, 1, 16, 16, 16), torch.zeros(2, dtype=torch.int64)).shape == (
        2,
        1,
        16,
        16,
        16,
    )


def test_time_steps_become_cosines_then_sines():
    features = sinusoids(torch.tensor([0, 3]), 8).numpy()
    angles = 3 * 10_000.0 ** -(np.arange(4) / 4)
    np.testing.assert_allclose(features[0], [1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(features[1], [*np.cos(angles), *np.sin(angles)], atol=1e-6)


def test_folding_moves_blocks_of_voxels_into_channels():
    grids = torch.arange(2 * 2 * 4 * 4 * 6, dtype=torch.float32).reshape(2, 2, 4, 4, 6)
    folded = fold(grids, 2)
    assert folded.shape == (2, 16, 2, 2, 3)
    for channel in range(2):
        block = grids[1, channel, 2:4, 0:2, 4:6].flatten()
        assert torch.equal(folded[1, 8 * channel : 8 * channel + 8, 1, 0, 2], block)
    assert torch.equal(unfold(folded, 2), grids)


def test_initial_parameters_hang_on_the_seed_alone_and_predict_nothing():
    def build(seed):
        model = UNet(TINY_3D, edges=(8, 8, 8))
        model.initialize(seed)
        return model

    first, again, other = (torch.cat([p.flatten() for p in build(seed).parameters()]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not build(1)(torch.randn(1, 1, 8, 8, 8), torch.tensor([3])).any()


def test_numbers_of_frames_are_told():
    model = UNet(TINY_3D, edges=(8, 8, 8), labels=3)
    model.initialize(0)
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1, generator=rng)
    x, steps = torch.randn(1, 1, 8, 8, 8, generator=rng).expand(2, -1, -1, -1, -1), torch.tensor([5, 5])
    first, second = model(x, steps, torch.tensor([0, 2]))
    assert not torch.allclose(first, second)


def test_matrices_are_the_weights_between_the_ends():
    model = UNet(TINY_3D, edges=(8, 8, 8), labels=2)
    parameters, names = dict(model.named_parameters()), model.matrices()
    assert {"input_blocks.2.0.op.weight", "middle_block.1.qkv.weight", "output_blocks.1.2.conv.weight"} <= set(names)
    assert all(parameters[name].ndim > 1 for name in names)
    others = {name for name, parameter in parameters.items() if parameter.ndim > 1} - set(names)
    ends = {"input_blocks.0.0.weight", "out.2.weight", "label_emb.weight"}
    assert others == {*ends, "time_embed.0.weight", "time_embed.2.weight"}


def test_muon_moves_convolutions_as_matrices():
    rng = torch.Generator().manual_seed(0)
    slope = torch.randn(4, 3, 2, 2, 2, generator=rng)
    moved = []
    for shape in (slope.shape, (4, 24)):
        weight = torch.nn.Parameter(torch.zeros(shape))
        weight.grad = slope.reshape(shape).clone()
        Muon([weight], lr=0.1).step()
        moved.append(weight.detach().reshape(4, 24))
    assert torch.equal(*moved)
    assert torch.linalg.svdvals(moved[0]).min() > 0.05


def test_positions_tell_cells_apart():
    size = NetworkRecipe(width=8, groups=4, blocks=1, multipliers=(1,), attention=(), patch=2, positions=True)
    model = UNet(size, edges=(8, 8, 8))
    model.initialize(0)
    assert model.positions.shape == (1, 8, 4, 4, 4)
    seen = trace(model, torch.zeros(1, 1, 8, 8, 8))
    assert seen[0] == (8, 4, 4, 4)
    torch.nn.init.ones_(model.out[-1].weight)
    plain = model(torch.zeros(1, 1, 8, 8, 8), torch.tensor([0]))
    model.positions.data[0, :, 1, 1, 1] = 3
    assert not torch.allclose(model(torch.zeros(1, 1, 8, 8, 8), torch.tensor([0])), plain)


def test_a_cells_own_values_reach_its_prediction_past_the_few_channels_of_the_network():
    """Of 512 values folded into a cell of 8 channels, any may decide any other, whatever the U-Net makes of them."""
    size = NetworkRecipe(width=8, groups=4, blocks=1, multipliers=(1,), attention=(), patch=2, point_width=32)
    rng = torch.Generator().manual_seed(0)
    model = UNet(size, edges=(4, 4, 4), channels=64)
    model.initialize(0)
    grids, steps = torch.randn(2, 64, 4, 4, 4, generator=rng), torch.tensor([3, 3])
    assert not model(grids, steps).any()
    torch.nn.init.normal_(model.cells.last.weight, generator=rng)
    before = model(grids, steps)
    moved = grids.clone()
    moved[:, 5] += 1
    assert (model(moved, steps) != before).any((0, 2, 3, 4)).all()
    other = torch.tensor([90, 90])
    assert not torch.allclose(model(grids, other), before)
    assert "cells.hidden.weight" in model.matrices()
    assert not {"cells.first.weight", "cells.last.weight", "cells.told.weight"} & {*model.matrices()}


def test_a_cell_network_sees_what_is_estimated_of_its_cell():
    size = NetworkRecipe(
        width=8, groups=4, blocks=1, multipliers=(1,), attention=(), patch=2, point_width=8, components=2
    )
    rng = torch.Generator().manual_seed(0)
    model = UNet(size, edges=(4, 4, 4))
    model.initialize(0)
    torch.nn.init.normal_(model.cells.last.weight, generator=rng)
    noisy, estimate = torch.randn(2, 1, 1, 4, 4, 4, generator=rng)
    before = model(noisy, torch.tensor([3]), estimates=estimate)
    assert (model(noisy, torch.tensor([3]), estimates=-estimate) != before).all()


def test_a_cell_network_sees_its_cell_alone():
    size = NetworkRecipe(width=8, groups=4, blocks=1, multipliers=(1,), attention=(), patch=2, point_width=32)
    model = UNet(size, edges=(4, 4, 4), channels=2).cells
    model.norm = torch.nn.Identity()
    seen, embedding = torch.randn(1, 24, 2, 2, 2), torch.randn(1, 32)
    moved = seen.clone()
    moved[0, :, 1, 0, 1] += 1
    changed = (model(moved, embedding) != model(seen, embedding)).any(1)[0]
    assert changed.nonzero().tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"grid": {"resolution": 22}}, "no multiple of 4"),
        ({"network": {"width": 48}}, "groups 32"),
        ({"network": {"heads": 3}}, "heads 3"),
        ({"network": {"self_conditioning": True}}, "needs network.components"),
        ({"network": {"frames": "neighbours"}}, "they hold frames together"),
        ({"network": {"components": 3}}, "needs grid.center"),
        (
            {"grid": {"center": True}, "network": {"components": 3}, "diffusion": {"prediction": "epsilon"}},
            'prediction = "x0"',
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(tables, words):
    with pytest.raises(ValidationError, match=words):
        VoxelRecipe.model_validate(tables)
