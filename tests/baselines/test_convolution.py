from copy import deepcopy

import pytest
import torch
from hdbench_baselines.convolution import Conv3d, _LearntByPlanes, weight_gradient
from torch.nn.functional import conv3d


@pytest.fixture(params=["AVX2", "AVX512"])
def capability(request, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    return request.param


on_avx2 = pytest.mark.parametrize("capability", ["AVX2"], indirect=True)


def kind_of_gradient(convolved):
    return type(convolved.grad_fn).__name__


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def learnt(layer, grids):
    """What a layer makes of grids, and the gradients of its input and its parameters."""
    grids = grids.detach().clone().requires_grad_()
    convolved = layer(grids)
    (convolved * random(*convolved.shape, seed=1)).sum().backward()
    return [convolved.detach(), grids.grad, *(parameter.grad for parameter in layer.parameters())]


def deviations(values, exact):
    """Root of the mean squared error, in deviations of what is exact."""
    return ((values - exact).square().mean() / exact.square().mean()).sqrt().item()


@pytest.mark.parametrize("edges", [(6, 6, 6), (5, 2, 7), (1, 4, 3), (1, 1, 1)])
@pytest.mark.parametrize("channels", [(8, 16), (3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_is_torchs(capability, edges, channels, bias):
    layer = Conv3d(*channels, 3, padding=1, bias=bias)
    torchs = torch.nn.Conv3d(*channels, 3, padding=1, bias=bias)
    torchs.load_state_dict(layer.state_dict())
    precise, grids = deepcopy(torchs).double(), random(2, channels[0], *edges)
    ours, theirs, exact = learnt(layer, grids), learnt(torchs, grids), learnt(precise, grids.double())
    by_planes = kind_of_gradient(layer(grids)) == "_LearntByPlanesBackward"
    assert by_planes == (capability == "AVX2")
    equal = 2 if by_planes else len(ours)
    assert all(map(torch.equal, ours[:equal], theirs[:equal]))
    assert all(deviations(own, best) < 1e-5 for own, best in zip(ours, exact, strict=True))


def test_grids_may_lie_in_any_order(capability):
    layer, grids = Conv3d(8, 16, 3, padding=1), random(2, 8, 5, 4, 6)
    for own, other in zip(
        learnt(layer, grids.to(memory_format=torch.channels_last_3d)), learnt(layer, grids), strict=True
    ):
        assert deviations(own, other) < 1e-5


def test_one_grid_without_a_batch_is_torchs_own(capability):
    layer, grid = Conv3d(2, 3, 3, padding=1), random(2, 4, 4, 4)
    layer(grid).sum().backward()
    assert layer.weight.grad.shape == layer.weight.shape


def test_gradients_are_those_of_small_steps():
    inputs = [
        random(*shape, dtype=torch.float64).requires_grad_() for shape in ((2, 2, 3, 3, 2), (3, 2, 3, 3, 3), (3,))
    ]
    assert torch.autograd.gradcheck(_LearntByPlanes.apply, inputs)


def test_nothing_is_computed_that_is_not_asked_for():
    weight = random(4, 2, 3, 3, 3).requires_grad_()
    grids = random(2, 2, 3, 3, 3)
    _LearntByPlanes.apply(grids, weight, None).sum().backward()
    assert grids.grad is None
    assert torch.equal(weight.grad, weight_gradient(grids, torch.ones(2, 4, 3, 3, 3)))


@pytest.mark.parametrize(
    "other",
    [{"stride": 2}, {"dilation": 2}, {"padding": 0}, {"groups": 2}, {"kernel_size": 1}, {"padding_mode": "circular"}],
)
@on_avx2
def test_other_convolutions_are_torchs_own(capability, other):
    layer = Conv3d(4, 4, **{"kernel_size": 3, "padding": 1} | other)
    assert kind_of_gradient(layer(random(1, 4, 5, 5, 5))) == "ConvolutionBackward0"


@on_avx2
def test_mixed_precision_is_torchs_own(capability):
    layer = Conv3d(8, 8, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        convolved = layer(random(2, 8, 4, 4, 4))
    assert convolved.dtype == torch.bfloat16
    convolved.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


@on_avx2
def test_no_gradient_is_prepared_where_none_is_taken(capability):
    layer, grids = Conv3d(2, 2, 3, padding=1), random(1, 2, 3, 3, 3)
    with torch.no_grad():
        assert not layer(grids).requires_grad
    layer.requires_grad_(False)
    assert kind_of_gradient(layer(grids.requires_grad_())) == "ConvolutionBackward0"
    assert torch.equal(layer(grids), conv3d(grids, layer.weight, layer.bias, padding=1))
