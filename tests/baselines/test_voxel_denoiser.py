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
    """Stands for a network: half of the last estimate it is shown. It remembers what it was given."""

    estimate_count = 2

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))
        self.seen, self.labels = [], []

    def forward(self, x, steps, labels, shown):
        self.seen.append(shown)
        self.labels.append(labels)
        return self.factor * shown[:, 1:]


def deviation(gaussian):
    return gaussian.error(torch.zeros(1))


def noisy(seed=0):
    return torch.randn(3, 1, 4, 4, 4, generator=torch.Generator().manual_seed(seed)), torch.tensor([0, 7, 19])


@pytest.fixture
def gaussian():
    grids = torch.randn(9, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    return Gaussian.of(grids - grids.mean(0), 2)


@pytest.mark.parametrize("self_conditioning", [True, False])
@pytest.mark.parametrize("point_width", [0, 8])
def test_begins_with_what_the_gaussian_expects(gaussian, self_conditioning, point_width):
    size = SIZE.model_copy(update={"self_conditioning": self_conditioning, "point_width": point_width})
    network = UNet(size, edges=(4, 4, 4))
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
    spread = torch.logspace(0, -2, 8).reshape(1, 2, 2, 2)  # two components and an uneven rest
    data = spread * torch.randn(4000, 1, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    data -= data.mean(0)
    network = UNet(SIZE, edges=(2, 2, 2))
    network.initialize(0)  # predicts nothing
    denoiser = GridDenoiser(network, Gaussian.of(data, 2), DIFFUSION)
    for step in (0, 7, 19):
        steps = torch.full((len(data),), step)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(step))
        losses = denoiser.relative(DIFFUSION.losses(denoiser, data, steps, noise), steps)
        torch.testing.assert_close(losses.mean(), torch.tensor(1.0), atol=0.05, rtol=0)


def test_the_network_is_told_labels_at_every_look(gaussian):
    network = Halved()
    denoiser, labels = GridDenoiser(network, gaussian, DIFFUSION), torch.tensor([2, 0, 1])
    told = denoiser.telling(labels)
    told(*noisy())
    told.twice(*noisy())
    told.remembering()(*noisy())
    assert all(seen is labels for seen in network.labels)
    denoiser(*noisy())
    assert network.labels[4:] == [None]


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
    network = UNet(SIZE.model_copy(update={"components": 0, "self_conditioning": False}), edges=(4, 4, 4))
    network.initialize(3)
    torch.nn.init.normal_(network.out[-1].weight, generator=torch.Generator().manual_seed(3))
    x, steps = noisy()
    assert torch.equal(GridDenoiser(network, None, DIFFUSION)(x, steps), network(x, steps))


def test_grids_that_are_all_alike_are_learnt_too():
    network = UNet(SIZE, edges=(4, 4, 4))
    network.initialize(0)
    denoise = GridDenoiser(network, Gaussian.of(torch.zeros(3, 1, 4, 4, 4), 2), DIFFUSION)
    assert not denoise(*noisy()).any()
    assert not denoise.twice(*noisy()).isnan().any()
    x, steps = noisy()
    assert not denoise.relative(DIFFUSION.losses(denoise, torch.zeros_like(x), steps, x), steps).any()
