import pytest
import torch
from hdbench_baselines.diffusion import DiffusionRecipe
from hdbench_baselines.voxel.denoiser import GridDenoiser
from hdbench_baselines.voxel.gaussian import Gaussian
from hdbench_baselines.voxel.network import UNet
from hdbench_baselines.voxel.recipe import NetworkRecipe

DIFFUSION = DiffusionRecipe(timesteps=20, beta_end=0.3).build()
SIZE = NetworkRecipe(width=4, groups=2, multipliers=(1,), blocks=1, attention=(), components=2, self_conditioning=True)
SIGNAL = torch.from_numpy(DIFFUSION.alphas_cumprod).float()


class Halved(torch.nn.Module):
    """Stands for a network: half of the last estimate it is shown. It remembers all of them."""

    estimates = 2

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))
        self.seen = []

    def forward(self, x, steps, labels, shown):
        self.seen.append(shown)
        return self.factor * shown[:, 1:]


def deviation(gaussian):
    return gaussian.error(torch.zeros(1))


def noisy(seed=0):
    return torch.randn(3, 1, 4, 4, 4, generator=torch.Generator().manual_seed(seed)), torch.tensor([0, 7, 19])


@pytest.fixture
def gaussian():
    grids = torch.randn(9, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    return Gaussian.of(grids - grids.mean(0), 2)


def test_begins_with_what_the_gaussian_expects(gaussian):
    network = UNet(SIZE, resolution=4)
    network.initialize(0)
    x, steps = noisy()
    expected = gaussian(x, SIGNAL[steps])
    assert torch.equal(GridDenoiser(network, gaussian, DIFFUSION)(x, steps), expected)
    torch.nn.init.ones_(network.out[-1].bias)
    corrected = GridDenoiser(network, gaussian, DIFFUSION)(x, steps)
    torch.testing.assert_close(
        corrected - expected, gaussian.error(SIGNAL[steps])[:, None, None, None, None].expand_as(x)
    )


def test_losses_are_one_in_any_noise_where_the_gaussian_is_all_there_is_to_know():
    data = 0.5 * torch.randn(4000, 1, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    network = UNet(SIZE, resolution=2)
    network.initialize(0)  # predicts nothing
    denoiser = GridDenoiser(network, Gaussian.of(data - data.mean(0), 2), DIFFUSION)
    for step in (0, 7, 19):
        steps = torch.full((len(data),), step)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(step))
        losses = denoiser.losses(DIFFUSION.losses(denoiser, data - data.mean(0), steps, noise), steps)
        torch.testing.assert_close(losses.mean(), torch.tensor(1.0), atol=0.05, rtol=0)


def test_is_shown_what_the_gaussian_expects_and_what_it_predicted_last(gaussian):
    network = Halved()
    denoise = GridDenoiser(network, gaussian, DIFFUSION).remembering()
    first = denoise(*noisy())
    x, steps = noisy(2)
    denoise(x, steps)
    shown = torch.cat([gaussian(x, SIGNAL[steps]), first], 1)
    torch.testing.assert_close(network.seen[1], shown / deviation(gaussian))
    again = GridDenoiser(network, gaussian, DIFFUSION).remembering()
    assert torch.equal(again(*noisy()), first)  # each trajectory remembers its own


def test_looks_twice_and_learns_from_the_second(gaussian):
    network = Halved()
    denoiser = GridDenoiser(network, gaussian, DIFFUSION)
    x, steps = noisy()
    second = denoiser.twice(x, steps)
    first = denoiser(x, steps)
    torch.testing.assert_close(network.seen[1][:, 1:], first / deviation(gaussian))
    torch.testing.assert_close(second, denoiser(x, steps, first))
    second.sum().backward()
    errors = gaussian.error(SIGNAL[steps])[:, None, None, None, None]
    torch.testing.assert_close(network.factor.grad, (errors * network.seen[1][:, 1:]).sum())  # no more than one look's


def test_without_a_gaussian_the_network_says_all():
    network = UNet(SIZE.model_copy(update={"components": 0, "self_conditioning": False}), resolution=4)
    network.initialize(3)
    torch.nn.init.normal_(network.out[-1].weight, generator=torch.Generator().manual_seed(3))
    x, steps = noisy()
    assert torch.equal(GridDenoiser(network, None, DIFFUSION)(x, steps), network(x, steps))


def test_grids_that_are_all_alike_are_learnt_too():
    network = UNet(SIZE, resolution=4)
    network.initialize(0)
    denoise = GridDenoiser(network, Gaussian.of(torch.zeros(3, 1, 4, 4, 4), 2), DIFFUSION)
    assert not denoise(*noisy()).any()
    assert not denoise.twice(*noisy()).isnan().any()
