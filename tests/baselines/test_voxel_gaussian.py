import numpy as np
import pytest
import torch
from hdbench_baselines.voxel.gaussian import Gaussian


def data(count=40, *, seed=0):
    """Numbers (count, 2, 3, 2) about zero, of very different variances along mixed directions."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, 12)) * np.logspace(0, -2, 12) @ np.linalg.qr(rng.standard_normal((12, 12)))[0]
    return torch.from_numpy(mixed - mixed.mean(0)).float().reshape(count, 2, 3, 2)


def covariance(rows, components):
    """What a Gaussian of so many components has: sample variances along them, their rest's mean elsewhere."""
    variances, directions = np.linalg.eigh(rows.T @ rows / len(rows))
    rest = variances[:-components].mean()
    kept = directions[:, -components:]
    return (kept * (variances[-components:] - rest)) @ kept.T + rest * np.eye(len(variances))


@pytest.mark.parametrize("components", [1, 3, 8])
@pytest.mark.parametrize("signal", [0.999, 0.4, 1e-3])
def test_expects_what_the_formula_of_normal_distributions_says(components, signal):
    grids = data()
    gaussian = Gaussian.of(grids, components)
    noisy = torch.randn(5, 2, 3, 2, generator=torch.Generator().manual_seed(1))
    expected = gaussian(noisy, torch.full((5,), signal))
    matrix = covariance(grids.flatten(1).double().numpy(), components)
    gain = signal**0.5 * matrix @ np.linalg.inv(signal * matrix + (1 - signal) * np.eye(12))
    np.testing.assert_allclose(expected.flatten(1), noisy.flatten(1).double().numpy() @ gain.T, rtol=1e-3, atol=1e-5)
    left = matrix - signal**0.5 * gain @ matrix
    np.testing.assert_allclose(gaussian.error(torch.tensor([signal])), np.sqrt(np.trace(left) / 12), rtol=1e-3)


def test_components_are_orthonormal_and_all_variance_is_kept():
    grids = data()
    gaussian = Gaussian.of(grids, 5)
    torch.testing.assert_close(gaussian.components @ gaussian.components.T, torch.eye(5), atol=1e-5, rtol=0)
    assert gaussian.deviations.diff().le(0).all()
    torch.testing.assert_close(gaussian.error(torch.zeros(1))[0], grids.square().mean().sqrt())


def test_each_item_has_a_noise_of_its_own():
    gaussian = Gaussian.of(data(), 4)
    noisy = data(2, seed=5)
    together = gaussian(noisy, torch.tensor([0.9, 0.01]))
    apart = torch.cat([gaussian(noisy[:1], torch.tensor([0.9])), gaussian(noisy[1:], torch.tensor([0.01]))])
    torch.testing.assert_close(together, apart)


def test_has_no_more_components_than_the_data_directions():
    grids = data(4)
    gaussian = Gaussian.of(grids, 9)
    assert len(gaussian.components) == 3  # four shapes less their mean
    assert gaussian.rest < 1e-4
    clean = gaussian(grids, torch.full((4,), 1 - 1e-6))
    torch.testing.assert_close(clean, grids, atol=1e-2, rtol=0)


def test_of_equal_shapes_expects_their_mean():
    gaussian = Gaussian.of(torch.zeros(3, 2, 2, 2), 4)
    assert not gaussian(torch.ones(1, 2, 2, 2), torch.tensor([0.5])).any()
