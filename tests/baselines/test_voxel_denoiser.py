import pytest
import torch
from hdbench_baselines.diffusion import DiffusionRecipe
from hdbench_baselines.voxel.denoiser import SHOWN_FRAMES, FrameDenoiser, GridDenoiser
from hdbench_baselines.voxel.gaussian import Gaussian
from hdbench_baselines.voxel.network import UNet
from hdbench_baselines.voxel.recipe import NetworkRecipe

DIFFUSION = DiffusionRecipe(timesteps=20, beta_end=0.3).build()
SIZE = NetworkRecipe(width=4, groups=2, multipliers=(1,), blocks=1, attention=(), components=2, self_conditioning=True)
SIGNAL = torch.from_numpy(DIFFUSION.alphas_cumprod).float()


class Halved(torch.nn.Module):
    """Stands for a network: half of one of the estimates it is shown, the last. It remembers what it was given."""

    estimate_count = 2

    def __init__(self, halved=1):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))
        self.halved = halved
        self.noisy, self.steps, self.labels, self.seen = [], [], [], []

    def forward(self, x, steps, labels, shown):
        for given, kept in ((x, self.noisy), (steps, self.steps), (labels, self.labels), (shown, self.seen)):
            kept.append(given)
        return self.factor * shown[:, self.halved : self.halved + 1]


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
    data = spread * torch.randn(1000, 1, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    data -= data.mean(0)
    network = UNet(SIZE, edges=(2, 2, 2))
    network.initialize(0)  # predicts nothing
    denoiser = GridDenoiser(network, Gaussian.of(data, 2), DIFFUSION)
    for step in (0, 7, 19):
        steps = torch.full((len(data),), step)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(step))
        losses = denoiser.losses(data, steps, noise, twice=False)
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


@pytest.mark.parametrize("twice", [True, False])
def test_the_loss_is_that_of_the_last_look(gaussian, twice):
    denoiser, labels = GridDenoiser(Halved(), gaussian, DIFFUSION), torch.tensor([2, 0, 1])
    (x0, steps), (noise, _) = noisy(1), noisy(2)
    x = DIFFUSION.diffuse(x0, steps, noise)
    errors = ((denoiser.twice if twice else denoiser)(x, steps) - x0).square().flatten(1).mean(1)
    losses = denoiser.losses(x0, steps, noise, labels, twice=twice)
    torch.testing.assert_close(losses, errors / gaussian.error(SIGNAL[steps]).square())
    assert denoiser.network.labels[-1] is labels


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
    assert not denoise.losses(torch.zeros_like(x), steps, x, twice=False).any()


def sequences(*, count=3, seed=2):
    return torch.randn(count, 4, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def sequence_gaussian():
    data = sequences(count=9, seed=1)
    return Gaussian.of(data - data.mean(0), 2)


def frame_network(*, self_conditioning=True):
    """One of sequences of four frames, that predicts nothing yet."""
    size = SIZE.model_copy(update={"self_conditioning": self_conditioning, "point_width": 8})
    network = UNet(size, edges=(4, 4, 4), shown=SHOWN_FRAMES, labels=4)
    network.initialize(0)
    return network


def with_neighbours(grids):
    """Frame by frame (B T, 3, R, R, R), without the help of any indexing in hdbench."""
    return torch.stack([grid[[max(t - 1, 0), t, min(t + 1, 3)]] for grid in grids for t in range(4)])


def test_frames_begin_with_what_the_gaussian_of_whole_sequences_expects(sequence_gaussian):
    denoiser, steps = FrameDenoiser(frame_network(), sequence_gaussian, DIFFUSION), torch.tensor([0, 7, 19])
    expected = sequence_gaussian(sequences(), SIGNAL[steps])
    torch.testing.assert_close(denoiser(sequences(), steps), expected)


def test_a_frame_is_shown_with_its_neighbours_and_at_the_ends_with_itself(sequence_gaussian):
    network, steps = Halved(halved=4), torch.tensor([0, 7, 19])
    denoise = FrameDenoiser(network, sequence_gaussian, DIFFUSION).remembering()
    first = denoise(sequences(), steps)
    x = sequences(seed=3)
    second = denoise(x, steps)
    expected = sequence_gaussian(x, SIGNAL[steps])
    estimates = torch.cat([with_neighbours(expected), with_neighbours(first)], 1) / deviation(sequence_gaussian)
    assert torch.equal(network.noisy[1], with_neighbours(x))
    assert network.steps[1].tolist() == [0] * 4 + [7] * 4 + [19] * 4
    assert network.labels[1].tolist() == [0, 1, 2, 3] * 3
    torch.testing.assert_close(network.seen[1], estimates)
    errors = sequence_gaussian.error(SIGNAL[steps])[:, None, None, None, None]
    torch.testing.assert_close(second, expected + errors * 0.5 * first / deviation(sequence_gaussian))


@pytest.mark.parametrize("self_conditioning", [True, False])
@pytest.mark.parametrize("twice", [True, False])
def test_frames_are_learnt_as_they_are_drawn(sequence_gaussian, twice, self_conditioning):
    """The loss of one frame is the error of that frame where the whole sequence is predicted, after as many looks."""
    network = frame_network(self_conditioning=self_conditioning)
    for end in (network.out[-1], network.cells.last):
        torch.nn.init.normal_(end.weight, std=0.1, generator=torch.Generator().manual_seed(5))
    denoiser, steps = FrameDenoiser(network, sequence_gaussian, DIFFUSION), torch.tensor([0, 7, 19])
    x0, noise, frames = sequences(seed=3), sequences(seed=4), torch.tensor([3, 0, 1])
    x = DIFFUSION.diffuse(x0, steps, noise)
    predicted = denoiser(x, steps)
    if twice:
        predicted = denoiser(x, steps, predicted)
    errors = (predicted - x0).square().flatten(2).mean(2) / sequence_gaussian.error(SIGNAL[steps]).square()[:, None]
    torch.testing.assert_close(denoiser.losses(x0, steps, noise, frames, twice=twice), errors[range(3), frames])
    torch.testing.assert_close(denoiser.losses(x0, steps, noise, twice=twice), errors.mean(1))


def test_frames_are_learnt_from_the_second_look(sequence_gaussian):
    network, steps = Halved(halved=4), torch.tensor([0, 7, 19])
    denoiser = FrameDenoiser(network, sequence_gaussian, DIFFUSION)
    x0, noise, frames = sequences(seed=3), sequences(seed=4), torch.tensor([3, 0, 1])
    denoiser.losses(x0, steps, noise, frames, twice=True).sum().backward()
    assert len(network.seen[0]) == 3 * SHOWN_FRAMES  # the frame and its neighbours, no others
    halved = network.seen[1][:, 4:5]
    scale = sequence_gaussian.error(SIGNAL[steps])[:, None, None, None, None]
    expected = sequence_gaussian(DIFFUSION.diffuse(x0, steps, noise), SIGNAL[steps])[range(3), frames][:, None]
    wrong = expected + scale * 0.5 * halved - x0[range(3), frames][:, None]
    by_factor = (2 * wrong * scale * halved).flatten(1).mean(1) / scale.flatten() ** 2
    torch.testing.assert_close(network.factor.grad, by_factor.sum())  # no more than one look's
