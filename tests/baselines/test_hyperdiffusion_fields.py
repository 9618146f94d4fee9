from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.fields import FieldLayout, encode, frozen_at, lattice_field, logits
from safetensors.torch import load_file

from hdbench.geometry.isosurface import lattice_axes

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "golden" / "hyperdiffusion"
needs_golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="the golden data are not beside this checkout")
LAYOUT = FieldLayout((12, 10), 3)


def random_vector(layout=LAYOUT):
    return layout.initial(np.random.default_rng(0)) * 3


def naive(layout, vector, points):
    """The field as torch modules."""
    widths, modules = (layout.features, *layout.hidden, 1), []
    for inputs, outputs in pairwise(widths):
        modules += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*modules[:-1])
    torch.nn.utils.vector_to_parameters(vector, network.parameters())
    return network(encode(points, layout.octaves)).squeeze(1).detach()


@needs_golden
@pytest.mark.parametrize(("name", "dimensions"), [("mlp3d", 3), ("mlp4d", 4)])
def test_fields_are_the_originals(name, dimensions):
    layout = FieldLayout((128, 128, 128), 4, dimensions=dimensions)
    with np.load(FOLDER / f"{name}_io.npz", allow_pickle=False) as stored:
        io = {key: torch.from_numpy(stored[key]) for key in ("flat", "coords", "logits", "embedding_first8")}
    vector = layout.flatten(load_file(FOLDER / f"{name}_state_dict.safetensors")).float()
    assert torch.equal(vector, io["flat"])
    assert layout.count == {3: 36_737, 4: 37_889}[dimensions]
    torch.testing.assert_close(encode(io["coords"][:8], 4), io["embedding_first8"], rtol=0, atol=2e-6)
    torch.testing.assert_close(logits(layout, vector, io["coords"]), io["logits"][:, 0], rtol=0, atol=2e-5)


def test_logits_are_those_of_the_plain_network():
    points = torch.rand(9001, 3, generator=torch.Generator().manual_seed(1)) - 0.5  # more than two chunks
    torch.testing.assert_close(
        logits(LAYOUT, random_vector(), points), naive(LAYOUT, random_vector(), points), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("resolution", [2, 17])
def test_lattice_field_agrees_with_point_by_point_evaluation(resolution):
    axes = lattice_axes(resolution, ((-0.5, -0.4, -0.3), (0.5, 0.6, 0.7)))
    points = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3))
    values = lattice_field(LAYOUT, random_vector().numpy())(*axes)
    assert values.shape == (resolution,) * 3
    expected = naive(LAYOUT, random_vector(), points).view(values.shape)
    torch.testing.assert_close(torch.from_numpy(values), expected, rtol=0, atol=1e-5)


def test_vector_and_tensors_are_one():
    vector = random_vector()
    tensors = LAYOUT.unpack(vector)
    assert [tuple(t.shape) for t in tensors] == [(12, 21), (12,), (10, 12), (10,), (1, 10), (1,)]
    state = {f"layers.{k // 2}.{'bias' if k % 2 else 'weight'}": tensor for k, tensor in enumerate(tensors)}
    assert torch.equal(LAYOUT.flatten(state), vector)


def test_initial_weights_stay_within_their_bounds():
    for tensor, inputs in zip(
        LAYOUT.unpack(LAYOUT.initial(np.random.default_rng(2))), (21, 21, 12, 12, 10, 10), strict=True
    ):
        assert tensor.abs().max() <= 1 / np.sqrt(inputs)
        assert len(tensor.flatten()) == 1 or tensor.std() > 0.4 / np.sqrt(inputs)


def test_a_field_frozen_in_time_is_the_field_at_that_time():
    layout = FieldLayout((12, 10), 3, dimensions=4)
    vector = random_vector(layout)
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    for time in (0.0, -0.3, 7.0):
        frozen, still = frozen_at(layout, vector.numpy(), time)
        assert frozen == FieldLayout((12, 10), 3)
        in_time = torch.cat([points, torch.full((500, 1), time)], 1)
        torch.testing.assert_close(
            logits(frozen, torch.from_numpy(still), points), naive(layout, vector, in_time), rtol=0, atol=1e-5
        )
