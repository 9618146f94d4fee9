import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import GOLDEN, needs_golden, weights_by_recipe
from hdbench_baselines.diffusion import DiffusionRecipe
from hdbench_baselines.pvd.layers import Attention, ChannelGate
from hdbench_baselines.pvd.pvcnn import PVCNN2, SHARES, Size, hierarchy, multiplications, time_features
from safetensors.torch import load_file

from hdbench.geometry import point_operations

SMALL = Size(width=0.25, resolutions=(8, 4, 2), radii=(0.2, 0.4, 0.8, 1.6), neighbours=8, dropout=0.0)
WIDER = replace(SMALL, last_skip=True, octaves=2, point_width=0.5)
ALONE_FIRST = replace(SMALL, spectrum=16, pointwise=24)
each_size = pytest.mark.parametrize(
    "size", [SMALL, WIDER, ALONE_FIRST], ids=["as published", "wider", "each point alone first"]
)


def recorded(name):
    with np.load(GOLDEN / "pvd" / f"{name}.npz", allow_pickle=False) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


def entry(file):
    entries = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["files"]
    return next(item for item in entries if item["file"] == file)


def network_of(state):
    network = PVCNN2(Size(width=0.25 if state["classifier.2.weight"].shape[1] == 32 else 1.0)).eval()
    network.load_state_dict(state)
    return network


@pytest.fixture(scope="module")
def quarter():
    """The network of a quarter of the width, with the recorded weights."""
    tensors = load_file(GOLDEN / "pvd" / "pvcnn2_w025_state_dict.safetensors")
    return network_of({name.removeprefix("model.module."): tensor.float() for name, tensor in tensors.items()})


@pytest.fixture(scope="module")
def small():
    network = PVCNN2(SMALL).eval()
    network.initialize(0)
    return network


def test_parameters_are_the_papers():
    with torch.device("meta"):
        network = PVCNN2(Size())
    assert sum(parameter.numel() for parameter in network.parameters()) == 27_649_987
    assert len(network.state_dict()) == 298


@needs_golden
def test_names_and_shapes_are_those_of_released_checkpoints():
    entries = json.loads((GOLDEN / "checkpoint_keys.json").read_text(encoding="utf-8"))["pvd"]["entries"]
    with torch.device("meta"):
        state = PVCNN2(Size()).state_dict()
    ours = [(f"model.module.{name}", list(value.shape)) for name, value in state.items()]
    assert ours == [
        (name, shape) for name, shape, _ in (item.values() if isinstance(item, dict) else item for item in entries)
    ]


@needs_golden
class TestGolden:
    """Outputs of the original network; tolerances are the recording's (summation order in the voxels)."""

    def test_quarter_width(self, quarter):
        data = recorded("pvcnn2_w025_io")
        torch.testing.assert_close(time_features(data["t"]), data["timestep_embedding_raw"], atol=2e-5, rtol=0)
        with torch.inference_mode():
            embedded = quarter.embedf(time_features(data["t"]))
            torch.testing.assert_close(embedded, data["timestep_embedding"], atol=2e-5, rtol=0)
            out = quarter(data["x"], data["t"])
            torch.testing.assert_close(out, data["out"], atol=2e-4 * float(data["out"].abs().max()), rtol=0)
            process = DiffusionRecipe(
                timesteps=1000, beta_end=0.02, prediction="epsilon", variance="fixed_small"
            ).build()
            x0 = process.predict_x0(lambda x, steps: out, data["x"], data["t"])
            step = process.ddpm_step(x0, data["x"], data["t"], data["p_sample_noise"])
            torch.testing.assert_close(step, data["p_sample"], atol=2e-4, rtol=1e-4)

    def test_gradients_at_quarter_width(self, quarter):
        data = recorded("pvcnn2_w025_io")
        process = DiffusionRecipe(timesteps=1000, beta_end=0.02, prediction="epsilon").build()
        losses = process.losses(quarter, data["x"], data["loss_t"], data["loss_noise"].float())
        torch.testing.assert_close(losses, data["p_losses"], rtol=1e-3, atol=0)
        quarter.zero_grad()
        losses.mean().backward()
        norms = {name: float(parameter.grad.norm()) for name, parameter in quarter.named_parameters()}
        quarter.zero_grad()
        order = entry("pvd/pvcnn2_w025_io.npz")["grad_norm_order"]
        ours = np.array([norms[name.removeprefix("model.module.")] for name in order])
        # Biases before a normalisation have no gradient but rounding.
        np.testing.assert_allclose(ours, data["grad_norms"].numpy(), rtol=2e-2, atol=1e-6)

    def test_full_width(self):
        data, facts = recorded("pvcnn2_w1_io"), entry("pvd/pvcnn2_w1_io.npz")["args"]
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in PVCNN2(Size()).state_dict().items()}
        ranges = {key.removeprefix("model.module."): bounds for key, bounds in facts["recipe_ranges"].items()}
        state = {
            name: weights_by_recipe(facts["recipe_seed"], name, tuple(shape), *ranges[name])
            for name, shape in shapes.items()
        }
        with torch.inference_mode():
            out = network_of(state)(data["x"], data["t"])
        torch.testing.assert_close(out, data["out"], atol=2e-4 * float(data["out"].abs().max()), rtol=0)


@needs_golden
@pytest.mark.parametrize(
    ("name", "schedule", "start", "end"),
    [("diffusion_linear", "linear", 1e-4, 0.02), ("diffusion_warm0.1_airplane", "warm0.1", 1e-5, 8e-3)],
)
def test_diffusion_is_the_originals(name, schedule, start, end):
    data = recorded(name)
    process = DiffusionRecipe(
        timesteps=1000, schedule=schedule, beta_start=start, beta_end=end, prediction="epsilon", variance="fixed_small"
    ).build()

    def toy(x, steps):
        return 0.9 * x / (1 + 0.1 * x.abs()) + 0.05 * torch.cos(steps.float() / 100)[:, None, None]

    np.testing.assert_allclose(process.betas, data["betas"], rtol=1e-12)
    np.testing.assert_allclose(process.alphas_cumprod, data["alphas_cumprod"], rtol=1e-5)
    np.testing.assert_allclose(process.posterior_variance[1:], data["posterior_variance"][1:], rtol=2e-3)
    x0, noise, steps = data["x0"], data["noise"], data["t"]
    torch.testing.assert_close(process.diffuse(x0, steps, noise), data["q_sample"], atol=1e-5, rtol=0)
    torch.testing.assert_close(process.losses(toy, x0, steps, noise), data["p_losses"], atol=1e-5, rtol=1e-5)
    for clip, suffix in ((None, "False"), (0.5, "True")):
        seen = process.predict_x0(toy, data["q_sample"], steps, clip=clip)
        torch.testing.assert_close(seen, data[f"p_sample_clip{suffix}_xstart"], atol=1e-5, rtol=1e-5)
        step = process.ddpm_step(seen, data["q_sample"], steps, data["p_sample_noise"])
        expected = data[f"p_sample_clip{suffix}"]
        # The original takes 1 - alphas_cumprod in float32, where near the data little of it is left.
        lost = 2**-24 / (1 - torch.from_numpy(process.alphas_cumprod)[steps])[:, None, None]
        assert bool(((step - expected).abs() <= 1e-5 + lost * (1 + expected.abs())).all())
    start, *fresh = data["loop_noises"]
    stream = iter(fresh)
    *_, final = process.trajectory(toy, start, sampler="ddpm", noise=lambda: next(stream))
    torch.testing.assert_close(final, data["loop_final"], atol=2e-3, rtol=0)


def test_attention_is_softmax_of_unscaled_products():
    torch.manual_seed(0)
    attention = Attention(16, dimensions=1).eval()
    features = torch.randn(2, 16, 5)
    with torch.inference_mode():
        q, k, v = (layer(features) for layer in (attention.q, attention.k, attention.v))
        mixed = torch.einsum("bcj,bij->bci", v, torch.einsum("bci,bcj->bij", q, k).softmax(2))
        expected = torch.nn.functional.silu(attention.norm(features + attention.out(mixed)))
        torch.testing.assert_close(attention(features), expected)


def test_gate_weighs_channels_by_their_means():
    gate = ChannelGate(8)
    grid = torch.rand(2, 8, 3, 3, 3)
    factors = gate(grid) / grid
    torch.testing.assert_close(factors, factors[..., :1, :1, :1].expand_as(factors))
    torch.testing.assert_close(factors[..., 0, 0, 0], gate.fc(grid.mean((2, 3, 4))))


@pytest.mark.parametrize("points", [384, 500])
def test_any_number_of_points_will_do(small, points):
    x = torch.randn(2, 3, points, generator=torch.Generator().manual_seed(1))
    out = small(x, torch.tensor([3, 900]))
    assert out.shape == x.shape
    assert bool(out.isfinite().all())
    assert [level.points.shape[1] for level in hierarchy(x.mT, radii=SMALL.radii, neighbours=8)] == [
        points // share for share in SHARES
    ]


def test_last_level_may_see_where_points_are(small):
    """Points that share their neighbours and voxels differ in nothing else."""
    network = PVCNN2(replace(SMALL, last_skip=True)).eval()
    network.initialize(0)
    first = network.fp_layers[3][0].mlp.layers[0]
    assert first.in_channels == small.fp_layers[3][0].mlp.layers[0].in_channels + 3
    x = torch.randn(1, 3, 384, generator=torch.Generator().manual_seed(7), requires_grad=True)
    for model, told in ((small, False), (network, True)):
        (gradient,) = torch.autograd.grad(model(x, torch.tensor([5]))[..., 200].sum(), x)
        before = gradient[..., 200].abs().sum()
        with torch.no_grad():
            blind = {name: value.clone() for name, value in model.state_dict().items()}
            blind["fp_layers.3.0.mlp.layers.0.weight"][:, 96:] = 0
        model.load_state_dict(blind)
        (gradient,) = torch.autograd.grad(model(x, torch.tensor([5]))[..., 200].sum(), x)
        assert bool(gradient[..., 200].abs().sum() != before) == told


def test_clouds_of_a_batch_do_not_meet(small):
    x = torch.randn(3, 3, 384, generator=torch.Generator().manual_seed(2))
    steps = torch.tensor([0, 40, 999])
    with torch.inference_mode():
        together = small(x, steps)
        for index in range(3):
            alone = small(x[index : index + 1], steps[index : index + 1])
            torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [SMALL, ALONE_FIRST], ids=["as published", "each point alone first"])
@pytest.mark.parametrize("device", ["cpu", "none"])
def test_half_precision_comes_close(size, monkeypatch, device):
    """As on GPUs, where a recipe wants it; index operations keep to float32 on either of their ways."""
    monkeypatch.setattr(point_operations, "KERNEL_DEVICE", device)
    small = PVCNN2(size).eval()
    small.initialize(0)
    x = torch.randn(2, 3, 384, generator=torch.Generator().manual_seed(6))
    steps = torch.tensor([10, 600])
    expected = small(x, steps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = small(x, steps)
        out.float().square().mean().backward()  # raises where precisions do not meet
    assert float((out - expected).detach().abs().mean()) < 0.05 * float(expected.detach().abs().mean())


@each_size
def test_every_parameter_learns(size):
    network = PVCNN2(size).eval()
    network.initialize(0)
    x = torch.randn(2, 3, 384, generator=torch.Generator().manual_seed(5))
    network(x, torch.tensor([10, 600])).square().mean().backward()
    still = [name for name, parameter in network.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert [name for name in still if ".fc." not in name] == []  # of this width's few units in gates, some are dead


def test_octaves_are_sines_and_cosines_beside_the_coordinates():
    network = PVCNN2(WIDER)
    points = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(7))
    angles = [points[:, axis] * frequency for axis in range(3) for frequency in (0.5, 1.0)]
    expected = [*points.unbind(1), *map(torch.sin, angles), *map(torch.cos, angles)]
    torch.testing.assert_close(network.encode(points), torch.stack(expected, 1))
    assert "frequencies" not in network.state_dict()  # as in released checkpoints


def test_point_width_widens_what_sees_the_whole_cloud_and_no_convolution_of_voxels():
    shapes, wider = (
        {name: value.shape for name, value in PVCNN2(size).state_dict().items()} for size in (SMALL, WIDER)
    )
    changed = {name.split(".")[0] + "." + name.split(".")[1] for name in shapes if shapes[name][0] != wider[name][0]}
    assert changed == {"sa_layers.0", "fp_layers.3", "classifier.0"}
    assert all(shapes[name][0] == wider[name][0] for name in shapes if "voxel_layers" in name)


def test_means_of_waves_tell_a_shape_that_no_point_tells():
    network = PVCNN2(replace(SMALL, spectrum=16))
    network.initialize(0)
    rng = torch.Generator().manual_seed(8)
    noise = torch.randn(64, 3, 2048, generator=rng)
    assert 0.2 < network.means(noise).square().mean() < 0.5  # of a wave half its square, less where it is long
    line = torch.linspace(-1, 1, 2048)[None, None] * torch.tensor([1.0, 0, 0])[:, None]
    buried = 0.3 * line + (1 - 0.3**2) ** 0.5 * noise
    apart = (network.means(buried).mean(0) - network.means(noise).mean(0)).abs().max()
    assert apart > 1
    order = torch.randperm(2048, generator=rng)
    torch.testing.assert_close(network.means(noise[:, :, order]), network.means(noise), atol=1e-3, rtol=0)


def test_means_of_waves_are_told_to_the_network():
    network = PVCNN2(replace(SMALL, spectrum=16)).eval()
    network.initialize(0)
    cloud, steps = torch.randn(1, 3, 384, generator=torch.Generator().manual_seed(9)), torch.tensor([50])
    before = network(cloud, steps)
    network.waves.mul_(0.5)
    assert not torch.allclose(network(cloud, steps), before)
    assert torch.equal(network.waves, network.state_dict()["waves"])


def test_muon_moves_convolutions_and_what_tells_of_the_cloud():
    network = PVCNN2(ALONE_FIRST)
    named = network.matrices()
    others = {name for name, value in network.named_parameters() if value.ndim > 1} - set(named)
    told = {name for name in named if name.startswith(("spectrum", "pointwise"))}
    assert len(told) == 3 + 4 + 4
    assert {name for name in others if ".fc." not in name and not name.startswith("sa_layers.0.0.")} == {
        *("classifier.2.weight", "embedf.0.weight", "embedf.2.weight"),
        *("pointwise.enter.weight", "pointwise.leave.weight"),
    }


def test_the_pointwise_prediction_is_corrected_and_sees_of_other_points_the_spectrum_alone():
    network = PVCNN2(ALONE_FIRST).eval()
    network.initialize(0)
    cloud, steps = torch.randn(1, 3, 384, generator=torch.Generator().manual_seed(9)), torch.tensor([50])
    corrected = network(cloud, steps)
    for parameter in network.classifier[2].parameters():
        parameter.data.zero_()
    expected = network(cloud, steps)
    assert not torch.allclose(corrected, expected)

    network.waves.zero_()  # all clouds look alike
    changed = cloud.clone()
    changed[:, :, 100:] += 1
    torch.testing.assert_close(network(changed, steps)[:, :, :100], network(cloud, steps)[:, :, :100])
    assert not torch.allclose(network(cloud, steps), expected)


def test_initial_parameters_hang_on_the_seed_alone():
    first, second, other = PVCNN2(SMALL), PVCNN2(SMALL), PVCNN2(SMALL)
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        network.initialize(seed)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    weight = "fp_layers.0.1.voxel_layers.0.weight"
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])
    reach = (64 * 27) ** -0.5  # torch's default for layers, one over the root of the inputs
    assert 0.99 * reach < float(first.state_dict()[weight].abs().max()) <= reach


@each_size
def test_multiplications_are_those_of_convolutions_and_hidden_layers(size):
    counted = []

    def count(module, inputs, output):
        counted.append(module.weight.numel() * output[0, 0].numel())

    def count_points(module, inputs, output):
        counted.append(module.weight.numel() * output[0, :, 0].numel())

    network = PVCNN2(size).eval()
    for name, module in network.named_modules():
        if hasattr(module, "kernel_size") and not name.startswith(("classifier", "global_att")):
            module.register_forward_hook(count)
        if name.startswith("pointwise.layers."):
            module.register_forward_hook(count_points)
    with torch.inference_mode():
        network(torch.randn(1, 3, 512), torch.tensor([0]))
    attended = 2 * 16 * size.resolutions[1] ** 6
    assert multiplications(size, 512) == sum(counted) + attended
