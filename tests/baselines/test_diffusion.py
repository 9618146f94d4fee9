import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hdbench_baselines.diffusion import DiffusionRecipe, GaussianDiffusion, cosine_betas, warm_betas
from hdbench_baselines.dpc.method import DPC
from hdbench_baselines.hyperdiffusion.method import HyperDiffusion
from hdbench_baselines.pvd.method import PVD
from hdbench_baselines.voxel.method import VoxelDiffusion

from hdbench.errors import HdbenchError

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "hyperdiffusion" / "diffusion_toy.npz"
needs_golden = pytest.mark.skipif(not GOLDEN.exists(), reason="the golden data are not beside this checkout")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]) if stored[name].ndim else stored[name] for name in stored.files}


@pytest.fixture
def diffusion():
    return DiffusionRecipe().build()


def toy(x, steps):
    return 0.7 * x / (1 + x.abs()) + 0.1 * torch.cos(steps.float() / 50)[:, None]


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=0, atol=tolerance)


@needs_golden
def test_tables_are_the_originals(golden, diffusion):
    tables = {
        "betas": diffusion.betas,
        "alphas_cumprod": diffusion.alphas_cumprod,
        "alphas_cumprod_prev": diffusion.alphas_cumprod_previous,
        "posterior_variance": diffusion.posterior_variance,
        "posterior_mean_coef1": diffusion.posterior_mean_coefficients[0],
        "posterior_mean_coef2": diffusion.posterior_mean_coefficients[1],
    }
    for name, table in tables.items():
        np.testing.assert_allclose(table, golden[name].numpy(), rtol=1e-12, err_msg=name)


@needs_golden
def test_single_steps_are_the_originals(golden, diffusion):
    x0, noise, steps, fresh = (golden[name] for name in ("x0", "noise", "t", "step_noise"))
    x = golden["q_sample"]
    close(diffusion.diffuse(x0, steps, noise), x, 2e-5)
    for clip, suffix in ((None, "False"), (1.0, "True")):
        seen = diffusion.predict_x0(toy, x, steps, clip=clip)
        close(seen, golden[f"p_mean_variance_clip{suffix}_pred_xstart"], 2e-5)
        close(diffusion.posterior_mean(seen, x, steps), golden[f"p_mean_variance_clip{suffix}_mean"], 2e-5)
    variance = torch.from_numpy(diffusion.step_variance)[steps][:, None].float().expand_as(x)
    close(variance, golden["p_mean_variance_clipTrue_variance"], 2e-5)
    seen, clamped = diffusion.predict_x0(toy, x, steps), diffusion.predict_x0(toy, x, steps, clip=1.0)
    close(diffusion.ddpm_step(clamped, x, steps, fresh), golden["p_sample_default"], 2e-5)
    close(diffusion.ddpm_step(seen, x, steps, fresh), golden["p_sample_noclip"], 2e-5)
    close(diffusion.ddim_step(seen, x, steps), golden["ddim_sample_default"], 2e-5)
    close(diffusion.ddim_step(clamped, x, steps), golden["ddim_sample_clip"], 2e-5)
    close(diffusion.ddim_step(seen, x, steps, fresh, eta=0.5), golden["ddim_sample_eta0.5"], 2e-5)
    close(diffusion.losses(toy, x0, steps, noise), golden["training_loss_toy"], 2e-5)


@needs_golden
def test_loops_are_the_originals(golden, diffusion):
    noises = iter(golden["ddpm_loop_step_noises"])
    ddpm = list(diffusion.trajectory(toy, golden["ddpm_loop_xT"], sampler="ddpm", noise=lambda: next(noises)))
    close(torch.stack(ddpm[49::50]), golden["ddpm_loop_traj_every50"], 1e-3)
    ddim = list(diffusion.trajectory(toy, golden["ddim_loop_xT"], sampler="ddim"))
    close(torch.stack(ddim[49::50]), golden["ddim_loop_traj_every50"], 1e-3)
    close(ddim[-1], golden["ddim_loop_final"], 1e-3)
    close(ddim[-1].double(), golden["ddim_loop_final_float64_reimpl"], 1e-3)


def test_warm_schedule_is_pvds():
    betas = warm_betas(1000, 1e-5, 0.008, warm_share=0.1)
    assert betas[0] == 1e-5
    assert (betas[100:] == 0.008).all()
    np.testing.assert_allclose(np.cumprod(1 - betas)[-1], 4.85e-4, rtol=5e-3)  # FACTS (d.2)


def test_cosine_schedule_ends_in_noise_and_starts_in_data():
    signal = np.cumprod(1 - cosine_betas(1000))
    assert signal[0] > 0.999
    assert signal[-1] < 1e-6
    assert (np.diff(signal) < 0).all()


@pytest.mark.parametrize("prediction", ["x0", "epsilon", "velocity"])
@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_perfect_denoiser_leads_to_the_data(prediction, variance, sampler, order, steps):
    """With data of one point the best denoiser is known, and any sampler must end at that point."""
    point = torch.tensor([0.3, -1.2, 2.0])
    diffusion = DiffusionRecipe(timesteps=40, schedule="cosine", prediction=prediction, variance=variance).build()
    signal = torch.from_numpy(diffusion.alphas_cumprod)

    def perfect(x, told):
        share = signal[told][:, None]
        noise = (x - share.sqrt() * point) / (1 - share).sqrt()
        velocity = share.sqrt() * noise - (1 - share).sqrt() * point
        return {"x0": point.expand_as(x), "epsilon": noise.float(), "velocity": velocity.float()}[prediction]

    generator = torch.Generator().manual_seed(0)
    noise = lambda: torch.randn(5, 3, generator=generator)  # noqa: E731
    *_, sample = diffusion.respaced(steps).trajectory(perfect, noise(), sampler=sampler, noise=noise, order=order)
    close(sample, point.expand(5, 3), 1e-4)


@pytest.mark.parametrize("prediction", ["x0", "epsilon", "velocity"])
def test_loss_is_nil_for_what_was_mixed(prediction):
    diffusion = DiffusionRecipe(timesteps=40, prediction=prediction).build()
    x0, noise = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(2))
    steps = torch.tensor([0, 3, 17, 25, 38, 39])
    signal = torch.from_numpy(diffusion.alphas_cumprod).float()[steps][:, None, None]
    told = {"x0": x0, "epsilon": noise, "velocity": signal.sqrt() * noise - (1 - signal).sqrt() * x0}[prediction]
    close(diffusion.losses(lambda x, steps: told, x0, steps, noise), torch.zeros(6), 1e-6)


def test_ddpm_keeps_the_variance_of_gaussian_data():
    """For data N(0, s^2) the best denoiser is linear; ancestral sampling must give the data's deviation back."""
    deviation, count = 0.5, 20_000
    diffusion = DiffusionRecipe(timesteps=200, beta_end=0.05, variance="fixed_small").build()
    signal = torch.from_numpy(diffusion.alphas_cumprod).float()

    def best(x, told):
        share = signal[told][:, None]
        return share.sqrt() * deviation**2 / (share * deviation**2 + 1 - share) * x

    generator = torch.Generator().manual_seed(1)
    noise = lambda: torch.randn(count, 1, generator=generator)  # noqa: E731
    *_, sample = diffusion.trajectory(best, noise(), sampler="ddpm", noise=noise)
    assert float(sample.std()) == pytest.approx(deviation, rel=0.03)  # standard error 0.5 %


def test_the_second_order_leaves_a_tenth_of_the_error():
    """For data N(0, s^2) the best denoiser and where its deterministic sampler ends in the limit are known."""
    diffusion = DiffusionRecipe(timesteps=1000, schedule="cosine").build()
    signal, spaced = diffusion.alphas_cumprod, diffusion.respaced(40)

    def variance(step):
        return signal[step] * 0.25 + 1 - signal[step]

    def best(x, told):
        share = torch.from_numpy(signal)[told][:, None]
        return share.sqrt() * 0.25 / (share * 0.25 + 1 - share) * x

    def error(order):
        start = torch.ones(1, 1, dtype=torch.float64)
        *_, end, _ = spaced.trajectory(best, start, sampler="ddim", order=order)  # the last one yielded is noiseless
        return abs(end.item() - math.sqrt(variance(0) / variance(-1)))

    assert error(2) < error(1) / 10


@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 0.0), ("ddpm", 0.0), ("ddim", 1.0)])
def test_the_second_order_is_dpm_solver(sampler, eta):
    """Lu et al. 2022: DPM-Solver++(2M), and with the posterior's noise SDE-DPM-Solver++(2M), in the paper's terms."""
    spaced = DiffusionRecipe(variance="fixed_small").build().respaced(6)
    seen, noise = torch.randn(2, 6, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    told, fresh = iter(seen), iter(noise)
    start = torch.zeros(1, 1, dtype=torch.float64)
    options = {"sampler": sampler, "eta": eta, "noise": lambda: next(fresh), "order": 2}
    path = list(spaced.trajectory(lambda x, steps: next(told), start, **options))
    alpha, sigma = np.sqrt(spaced.alphas_cumprod), np.sqrt(1 - spaced.alphas_cumprod)
    half_ratio = np.log(alpha / sigma)
    for done, step in ((1, 4), (2, 3), (3, 2)):  # from `step` to `step` - 1
        h, last = half_ratio[step - 1] - half_ratio[step], half_ratio[step] - half_ratio[step + 1]
        ahead = seen[done] + h / last / 2 * (seen[done] - seen[done - 1])
        if sampler == "ddim" and not eta:
            expected = sigma[step - 1] / sigma[step] * path[done - 1] - alpha[step - 1] * math.expm1(-h) * ahead
        else:
            expected = sigma[step - 1] / sigma[step] * math.exp(-h) * path[done - 1]
            expected = expected - alpha[step - 1] * math.expm1(-2 * h) * ahead
            expected = expected + sigma[step - 1] * math.sqrt(-math.expm1(-2 * h)) * noise[done]
        close(path[done], expected, 1e-9)
    close(path[5], seen[5], 1e-9)  # where no noise is left nothing is carried beyond the last prediction


def test_respacing_tells_the_network_the_steps_it_knows(diffusion):
    spaced = diffusion.respaced(10)
    assert len(spaced) == 10
    assert spaced.model_steps[0] == 0
    assert spaced.model_steps[-1] == 499
    np.testing.assert_allclose(spaced.alphas_cumprod, diffusion.alphas_cumprod[spaced.model_steps], rtol=1e-12)
    assert diffusion.respaced(500) is diffusion
    with pytest.raises(ValueError, match="501"):
        diffusion.respaced(501)


def test_samplers_that_add_noise_ask_for_it(diffusion):
    for options in ({"sampler": "ddpm"}, {"sampler": "ddim", "eta": 0.5}):
        with pytest.raises(ValueError, match="noise"):
            next(diffusion.trajectory(toy, torch.zeros(1, 2), **options))


def test_eta_one_is_ddpm_with_the_posteriors_variance():
    diffusion = GaussianDiffusion(np.linspace(1e-4, 2e-2, 50), variance="fixed_small")
    generator = torch.Generator().manual_seed(3)
    x, x0, noise = (torch.randn(8, 4, generator=generator) for _ in range(3))
    steps = torch.arange(2, 50, 6)
    ddim = diffusion.ddim_step(x0, x, steps, noise, eta=1.0)
    close(ddim, diffusion.ddpm_step(x0, x, steps, noise), 1e-4)


@pytest.mark.parametrize("method", [DPC, PVD, HyperDiffusion, VoxelDiffusion])
@pytest.mark.parametrize("preset", ["smoke", "default", "paper"])
def test_no_recipe_samples_in_more_steps_than_there_are(method, preset):
    recipe = method.load_recipe(preset)
    steps = recipe.diffusion.timesteps
    assert method.load_recipe(preset, changes={"sampling": {"steps": steps}}).sampling.steps == steps
    with pytest.raises(HdbenchError, match=f"a diffusion of {steps} steps has no {steps + 1} to sample in"):
        method.load_recipe(preset, changes={"sampling": {"steps": steps + 1}})
