import json
import math

import numpy as np
import pytest
import torch
from golden import GOLDEN, needs_golden, weights_by_recipe
from hdbench_baselines.diffusion import DiffusionRecipe
from hdbench_baselines.dpc.method import DPC
from hdbench_baselines.dpc.network import (
    ConcatSquash,
    DPCNetwork,
    LatentFlow,
    PointNetEncoder,
    PointwiseNet,
    VarianceSchedule,
)
from safetensors.torch import load_file

CASES = ("flow_small", "flow_real", "gaussian_real")


def network(**changes):
    paper = dict(DPC.load_recipe("paper").network)
    return DPCNetwork(diffusion().build(), **{**paper, **changes})


def diffusion(**changes):
    return DPC.load_recipe("paper").diffusion.model_copy(update=changes)


def original_weights(case, model):
    manifest = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))
    arguments = next(entry["args"] for entry in manifest["files"] if entry["file"] == f"dpc/{case}_io.npz")
    state = model.state_dict()
    assert arguments["recipe_ranges"].keys() == state.keys()
    for key, bounds in arguments["recipe_ranges"].items():
        if bounds is not None:
            state[key] = weights_by_recipe(arguments["recipe_seed"], key, tuple(state[key].shape), *bounds)
    return state


@pytest.fixture(scope="module", params=CASES)
def original(request):
    """A network with the original's weights, and what the original computed with them."""
    if not GOLDEN.exists():
        pytest.skip("the golden data are not beside this checkout")
    if request.param == "flow_small":
        model = network(latent=24, flow_depth=4, flow_width=40)
        stored = load_file(GOLDEN / "dpc" / "flow_small_state_dict.safetensors")
        model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in stored.items()})
    else:
        model = network(flow_depth=14 if request.param == "flow_real" else 0)
        model.load_state_dict(original_weights(request.param, model))
    with np.load(GOLDEN / "dpc" / f"{request.param}_io.npz", allow_pickle=False) as stored:
        return model, {name: torch.from_numpy(stored[name]) for name in stored.files}


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@needs_golden
@pytest.mark.parametrize(("name", "depth"), [("dpc_flow", 14), ("dpc_gaussian", 0)])
def test_tensors_have_the_originals_names_and_shapes(name, depth):
    keys = json.loads((GOLDEN / "checkpoint_keys.json").read_text(encoding="utf-8"))[name]["entries"]
    ours = {key: list(tensor.shape) for key, tensor in network(flow_depth=depth).state_dict().items()}
    assert ours == {key: shape for key, shape, _ in keys}


def test_the_papers_size():
    model = network()
    parts = (model, model.encoder, model.flow, model.diffusion)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert counts == [3_879_832, 579_712, 2_304_512, 995_608]


def test_encoder_is_the_originals(original):
    model, golden = original
    with torch.no_grad():
        for mode, tolerance in (("eval", 1e-4), ("train", 5e-4)):
            before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            mean, log_variance = model.train(mode == "train").encoder(golden["x"])
            model.load_state_dict(before)  # running statistics
            close(mean, golden[f"enc_mean_{mode}"], tolerance)
            close(log_variance, golden[f"enc_logvar_{mode}"], tolerance)


def test_flow_is_the_originals(original):
    model, golden = original
    if "flow_forward" not in golden:
        assert torch.equal(model.flow.inverse(golden["w"]), golden["w"])
        return
    with torch.no_grad():
        normal, log_determinant = model.flow(golden["w"])
        close(normal, golden["flow_forward"], 1e-4)
        close(-log_determinant[:, None], golden["flow_forward_neg_logdet"], 1e-4)
        close(model.flow.inverse(golden["w"]), golden["flow_reverse"], 1e-4)


def test_schedule_and_denoiser_are_the_originals(original):
    model, golden = original
    for name, table in model.diffusion.var_sched.named_buffers():
        torch.testing.assert_close(table, golden[name], rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        output = model.denoise(golden["net_x"], golden["net_t"] - 1, golden["net_context"])
    close(output, golden["net_out"], 1e-4)


@pytest.mark.parametrize("flexibility", [0, 1])
def test_sampling_is_the_originals(original, flexibility):
    model, golden = original
    noise = iter([*golden["sample_noise"][1:], torch.zeros(())])
    process = diffusion(flexibility=float(flexibility)).build()
    with torch.no_grad():
        latents = model.flow.inverse(golden["w"])
        *_, sample = process.trajectory(
            lambda x, steps: model.denoise(x, steps, latents),
            golden["sample_noise"][0],
            sampler="ddpm",
            noise=lambda: next(noise),
        )
    close(sample, golden[f"sample_flex{flexibility}"], 2e-3)


def test_loss_is_the_originals_with_its_constant(original):
    model, golden = original
    if "flow_forward" not in golden:
        pytest.skip("the Gaussian variant takes another loss, and is only sampled here")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        mean, log_variance = model.encoder(golden["x"])
        latents = mean + (0.5 * log_variance).exp() * golden["loss_noise_z"]
        errors = (
            diffusion()
            .build()
            .losses(
                lambda x, steps: model.denoise(x, steps, latents),
                golden["x"],
                golden["loss_t"] - 1,
                golden["loss_noise_x"],
            )
        )
        offset = 0.5 * model.latent * (model.latent - 1) * math.log(2 * math.pi)  # see DPCNetwork.divergence
        loss = errors.mean() + 1e-3 * (model.divergence(latents, log_variance).mean() + offset)
    model.load_state_dict(before)
    torch.testing.assert_close(loss, golden["loss_train"], rtol=1e-4, atol=0)


def test_divergence_is_that_of_normal_distributions():
    """Without a flow, over many draws: the closed form of KL(N(m, v) || N(0, 1))."""
    model = network(latent=4, flow_depth=0)
    mean, log_variance = torch.tensor([[0.5, -1.0, 0.0, 2.0]]), torch.tensor([[-1.0, 0.5, 0.0, -2.0]])
    expected = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum()
    draws = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0))
    latents = mean + (0.5 * log_variance).exp() * draws
    found = model.divergence(latents, log_variance.expand_as(latents)).mean()
    assert found == pytest.approx(float(expected), abs=0.02)  # the deviation of the mean is 0.005


@pytest.mark.parametrize(("depth", "stretch"), [(2, False), (3, False), (2, True), (0, True)])
def test_flow_is_a_bijection_with_its_determinant(depth, stretch):
    torch.manual_seed(0)
    flow = LatentFlow(6, depth, 16, stretch=stretch).double()
    if stretch:
        torch.nn.init.normal_(flow.stretch)
    latent = torch.randn(1, 6, dtype=torch.float64)
    normal, log_determinant = flow(latent)
    torch.testing.assert_close(flow.inverse(normal), latent, rtol=0, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], latent[0])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_determinant[0])
    assert depth == 0 or not torch.allclose(jacobian, torch.diag(jacobian.diagonal()))


def test_odd_latents_are_refused():
    with pytest.raises(ValueError, match="25"):
        LatentFlow(25, 2, 8)


def test_encoder_heeds_no_order_of_points():
    encoder = PointNetEncoder(8, (16, 32), (16,)).eval()
    points = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(1))
    mean, _ = encoder(points)
    torch.testing.assert_close(encoder(points[:, torch.randperm(50)])[0], mean)
    assert not torch.allclose(encoder(points[:, :10])[0], mean)


def test_concat_squash_against_its_formula():
    layer = ConcatSquash(3, 5, 4)
    x, context = torch.randn(2, 7, 3), torch.randn(2, 1, 4)
    gate = torch.sigmoid(context @ layer._hyper_gate.weight.T + layer._hyper_gate.bias)
    expected = (x @ layer._layer.weight.T + layer._layer.bias) * gate + context @ layer._hyper_bias.weight.T
    torch.testing.assert_close(layer(x, context), expected)


def test_octaves_are_sines_and_cosines_of_the_coordinates():
    net = PointwiseNet(4, (8, 8), residual=True, octaves=3)
    x = torch.randn(2, 5, 3)
    columns = [x] + [
        f(x[..., axis, None] * k / 2) for f in (torch.sin, torch.cos) for axis in range(3) for k in (1, 2, 4)
    ]
    torch.testing.assert_close(net._encoded(x), torch.cat(columns, 2))
    assert net(x, torch.tensor([0.1, 0.2]), torch.randn(2, 4)).shape == x.shape


def test_muon_moves_the_inner_matrices_of_the_denoiser():
    model = network()
    parameters = dict(model.named_parameters())
    shapes = [tuple(parameters[name].shape) for name in model.matrices]
    assert shapes == [(256, 128), (512, 256), (256, 512), (128, 256)]


def test_points_are_denoised_each_for_itself():
    model = network(latent=8, flow_depth=0, decoder_widths=(16, 16), encoder_widths=(8,), head_widths=())
    x, steps, latents = torch.randn(2, 9, 3), torch.tensor([0, 99]), torch.randn(2, 8)
    whole = model.denoise(x, steps, latents)
    torch.testing.assert_close(model.denoise(x[:, 4:5], steps, latents), whole[:, 4:5])
    assert not torch.allclose(model.denoise(x, steps.flip(0), latents), whole)


def test_schedule_starts_with_the_data():
    tables = VarianceSchedule(DiffusionRecipe(timesteps=10).build())
    assert [float(table[0]) for table in tables.buffers()] == [0, 1, 1, 0, 0]
    assert all(len(table) == 11 for table in tables.buffers())


def test_fresh_parameters_hang_on_the_seed_alone():
    first, second, other = (network(latent=8, flow_depth=2, flow_width=8) for _ in range(3))
    first.initialize(1)
    second.initialize(1)
    other.initialize(2)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    weight = first.diffusion.net.layers[1]._layer.weight.detach()
    assert not torch.equal(weight, other.diffusion.net.layers[1]._layer.weight)
    assert float(weight.abs().max()) <= 128**-0.5
    assert float(weight.std()) == pytest.approx((128 * 3) ** -0.5, rel=0.02)
