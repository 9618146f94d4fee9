"""What PVD's points learn from: means over all of a shape's points that may lie behind a noisy one."""

from functools import partial

import pytest
import torch
from hdbench_baselines.diffusion import DiffusionRecipe, GaussianDiffusion
from hdbench_baselines.pvd.method import kernel_threads
from hdbench_baselines.pvd.targets import expected_points
from torch import Tensor

from hdbench.geometry import point_operations


@pytest.fixture(params=["kernel", "attention"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How means are taken: as on a CPU, or as on other devices."""
    if request.param == "attention":
        monkeypatch.setattr(point_operations, "KERNEL_DEVICE", "none")
    return request.param


@pytest.fixture
def pools() -> Tensor:
    """Two shapes of 500 points, one of them far from the origin."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2, 500, 3), generator=generator) + torch.tensor([0.0, 3.0])[:, None, None]


def brute(noisy: Tensor, signal: Tensor, pools: Tensor) -> Tensor:
    """The same by Bayes' rule, in float64."""
    noisy, signal, pools = noisy.double(), signal.double(), pools.double()
    squared = (noisy.mT[:, :, None] - signal[..., None].sqrt() * pools[:, None]).square().sum(3)
    return (torch.softmax(-squared / (2 * (1 - signal)), dim=2) @ pools).mT


@pytest.mark.parametrize("step", [0, 5, 100, 400, 999])
def test_expected_points_are_what_bayes_rule_gives(way: str, pools: Tensor, step: int) -> None:
    process = DiffusionRecipe(timesteps=1000, schedule="cosine").build()
    steps = torch.tensor([step, 500])
    x0 = pools[:, :300].mT
    noisy = process.diffuse(x0, steps, torch.randn(x0.shape, generator=torch.Generator().manual_seed(1)))
    signal = torch.from_numpy(process.alphas_cumprod).float()[steps][:, None, None]
    found = expected_points(noisy, signal, pools)
    # Exponents of attention are differences of numbers of some 1e5 at step 0, those of the kernel are small.
    error = {"kernel": 1e-5, "attention": 2e-3 if step == 0 else 1e-4}[way]
    torch.testing.assert_close(found, brute(noisy, signal, pools).float(), atol=error, rtol=0)


@pytest.mark.parametrize("signal", [0.1, 0.9, 0.9999])
@pytest.mark.parametrize("size", [1, 15, 16, 17])
def test_every_point_of_a_pool_counts_once(pools: Tensor, size: int, signal: float) -> None:
    noisy, signals = pools[:, :40].mT, torch.tensor(signal).expand(2, 1, 1)
    found = expected_points(noisy, signals, pools[:, :size])
    torch.testing.assert_close(found, brute(noisy, signals, pools[:, :size]).float(), atol=1e-3, rtol=0)


def test_neither_batch_nor_threads_change_a_bit(pools: Tensor) -> None:
    noisy, signal = pools[:, :300].mT, torch.tensor([0.4, 0.8])[:, None, None]
    together = expected_points(noisy, signal, pools)
    with kernel_threads(1):
        alone = [expected_points(noisy[k : k + 1, :, 7:], signal[k : k + 1], pools[k : k + 1]) for k in range(2)]
    assert torch.equal(torch.cat(alone), together[..., 7:])


@pytest.mark.usefixtures("way")
def test_half_precision_keeps_to_float32(pools: Tensor) -> None:
    x0, signal = pools[:, :300].mT, torch.tensor([0.99, 0.5])[:, None, None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = expected_points(x0.bfloat16(), signal, pools)
    assert torch.equal(half, expected_points(x0.bfloat16().float(), signal, pools))


@pytest.mark.usefixtures("way")
def test_little_noise_leaves_the_point_and_much_leaves_the_mean(pools: Tensor) -> None:
    x0 = pools[:, :300].mT
    for signal in (1 - 1e-6, 1.0):
        near = expected_points(x0, torch.tensor(signal).expand(2, 1, 1), pools)
        torch.testing.assert_close(near, x0, atol=1e-3, rtol=0)
    for signal in (1e-8, 1e-38, 0.0):
        far = expected_points(x0, torch.tensor(signal).expand(2, 1, 1), pools)
        torch.testing.assert_close(far, pools.mean(1)[..., None].expand_as(far), atol=1e-2, rtol=0)


@pytest.mark.parametrize("prediction", ["x0", "epsilon", "velocity"])
def test_expected_targets_have_the_drawn_ones_gradient_and_less_noise(pools: Tensor, prediction: str) -> None:
    """Gradients of a network's only parameter over 400 draws: equal means within their error, a smaller deviation."""
    process = DiffusionRecipe(timesteps=100, schedule="cosine", prediction=prediction).build()
    generator = torch.Generator().manual_seed(2)
    pool = pools[:1]
    steps = torch.tensor([40])

    def gradients(process: GaussianDiffusion, *, expected: bool) -> Tensor:
        found = []
        for _ in range(400):
            x0 = pool[:, torch.randint(500, (20,), generator=generator)].mT
            noise = torch.randn(x0.shape, generator=generator)
            factor = torch.tensor(0.7, requires_grad=True)
            losses = process.losses(
                lambda x, _, factor=factor: factor * x,
                x0,
                steps,
                noise,
                expected=partial(expected_points, pools=pool) if expected else None,
            )
            found.append(torch.autograd.grad(losses.sum(), factor)[0])
        return torch.stack(found)

    drawn, means = gradients(process, expected=False), gradients(process, expected=True)
    error = (drawn.var() / 400 + means.var() / 400).sqrt()
    assert abs(drawn.mean() - means.mean()) < 3 * error
    assert means.std() < 0.9 * drawn.std()
