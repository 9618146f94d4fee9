from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from hdbench.features.pointnet2 import PointNet2, group

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside the repository")


def clouds(seed, count, size, spread=1.0):
    points = np.random.default_rng(seed).normal(size=(count, size, 3)) * [spread, spread / 2, spread / 4]
    return torch.from_numpy(points.astype(np.float32))


def trained_looking(classes=7):
    """A network whose normalisations are not the identity."""
    torch.manual_seed(0)
    network = PointNet2(classes)
    for name, value in network.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.5, 1.5)
        elif "running_mean" in name:
            value.uniform_(-0.2, 0.2)
    return network.eval()


def naive_forward(network, points):
    """The published computation of one cloud: padded balls, every slot computed."""

    def stage(module, x):  # (M, K, inputs)
        for convolution, normalisation in zip(module.mlp_convs, module.mlp_bns, strict=True):
            x = functional.conv2d(x.permute(2, 0, 1)[None], convolution.weight, convolution.bias)
            n = normalisation
            x = functional.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias)
            x = functional.relu(x)[0].permute(1, 2, 0)
        return x.amax(1)

    def neighbours(points, centres, radius, count):
        chosen, distances = [0], torch.full((len(points),), torch.inf)
        for _ in range(centres):
            distances = torch.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(-1))
            chosen.append(int(distances.argmax()))
        chosen = chosen[:centres]
        balls = []
        for centre in points[chosen]:
            hits = torch.nonzero(((points - centre) ** 2).sum(-1) <= radius**2).flatten()[:count]
            balls.append(torch.cat([hits, hits[:1].expand(count - len(hits))]))
        return torch.tensor(chosen), torch.stack(balls)

    first, balls = neighbours(points, 512, 0.2, 32)
    features = stage(network.sa1, points[balls] - points[first][:, None])
    points = points[first]
    second, balls = neighbours(points, 128, 0.4, 64)
    features = stage(network.sa2, torch.cat([points[balls] - points[second][:, None], features[balls]], dim=-1))
    points = points[second]
    feature = stage(network.sa3, torch.cat([points, features], dim=-1)[None])
    hidden = functional.relu(network.bn1(network.fc1(feature)))
    return functional.relu(network.bn2(network.fc2(hidden)))[0]


@pytest.mark.parametrize(("size", "spread"), [(700, 0.3), (600, 2.0), (100, 1.0)])
def test_agrees_with_the_published_computation(size, spread):
    network, points = trained_looking(), clouds(size, 2, size, spread)
    with torch.no_grad():
        # 1e-4: single precision through eleven layers, summed in another order.
        expected = torch.stack([naive_forward(network, cloud) for cloud in points])
        torch.testing.assert_close(network(points).features, expected, atol=1e-4, rtol=1e-4)


def test_groups_hold_each_neighbour_once():
    points = clouds(1, 2, 300)
    groups = group(points, centres=20, radius=0.5, count=8)
    assert groups.sizes.sum() == len(groups.members)
    rows = points.flatten(0, 1)
    for centre, members in zip(groups.centres, groups.members.split(groups.sizes.tolist()), strict=True):
        assert len(members) == len(members.unique()) <= 8
        assert (rows[members] - rows[centre]).norm(dim=1).max() <= 0.5
        assert set((members // 300).tolist()) == {int(centre) // 300}  # no group reaches into another cloud


def test_gradients_reach_every_parameter():
    network = PointNet2(3).train()
    network(clouds(2, 4, 200)).log_probabilities[:, 0].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@needs_golden
class TestGolden:
    @pytest.fixture
    def network(self):
        state = load_file(GOLDEN / "pointnet2" / "pointnet2_ssg_state_dict.safetensors")
        network = PointNet2()
        network.load_state_dict(state)  # its keys are the originals'
        return network.eval()

    @pytest.mark.parametrize("case", ["n1024_unitsphere", "n2048_unitstd"])
    def test_outputs(self, network, case):
        with np.load(GOLDEN / "pointnet2" / "pointnet2_ssg_io.npz", allow_pickle=False) as data:
            recorded = {name: torch.from_numpy(data[f"{case}_{name}"]) for name in ("xyz", "logp", "l3", "feat256")}
        with torch.no_grad():
            output = network(recorded["xyz"])
        for ours, name in zip(output, ("logp", "l3", "feat256"), strict=True):
            torch.testing.assert_close(ours, recorded[name].reshape(ours.shape), atol=2e-4, rtol=1e-4)
