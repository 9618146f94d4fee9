import pytest
import torch
from hdbench_baselines.muon import Muon, orthogonalized


@pytest.mark.parametrize("shape", [(16, 16), (8, 20), (20, 8)])
def test_orthogonalized_matrices_keep_their_directions_and_even_their_singular_values(shape):
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(2, *shape, generator=generator), full_matrices=False)
    values = torch.logspace(-1.4, 0, min(shape))  # the smallest is 0.02 of the norm
    matrices = left @ torch.diag(values) @ right * torch.tensor([1, 1e3])[:, None, None]
    inner = left.mT @ orthogonalized(matrices) @ right.mT
    diagonal = inner.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.8
    assert diagonal.max() < 1.17
    torch.testing.assert_close(inner, torch.diag_embed(diagonal), rtol=0, atol=1e-3)


def test_first_step_is_the_rate_times_the_orthogonal_factor():
    """Against the factor of the singular value decomposition; a matrix with more outputs goes farther."""
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(shape, generator=generator) for shape in ((6, 6), (3, 12), (12, 3))]
    parameters = [torch.nn.Parameter(torch.zeros_like(matrix)) for matrix in matrices]
    for parameter, matrix in zip(parameters, matrices, strict=True):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        parameter.grad = 3 * (left @ right)
    Muon(parameters, lr=0.1).step()
    for parameter, factor in zip(parameters, (1, 1, 2), strict=True):
        expected = -0.1 * factor * parameter.grad / 3
        torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=0.16 * 0.1 * factor)


def test_momentum_carries_on():
    parameter = torch.nn.Parameter(torch.zeros(4, 4))
    optimizer = Muon([parameter], lr=0.1)
    parameter.grad = torch.eye(4)
    optimizer.step()
    first = parameter.detach().clone()
    parameter.grad = torch.zeros(4, 4)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), 2 * first, rtol=0.2, atol=0)


def test_descends_a_valley():
    """Distance to a target matrix, seen through badly scaled inputs."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 8, generator=generator) * torch.logspace(0, -2, 8)
    target = torch.randn(8, 8, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([weight], lr=0.0)
    losses = []
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        loss = (inputs @ (weight - target).T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]
