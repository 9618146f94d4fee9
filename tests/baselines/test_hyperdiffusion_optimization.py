import math

import numpy as np
import torch
from hdbench_baselines.hyperdiffusion.fields import FieldLayout, encode
from hdbench_baselines.hyperdiffusion.optimization import ADAM_SHARE, AdamPlateau, FieldNetworks, MuonCosine
from hdbench_baselines.muon import Muon

LAYOUT = FieldLayout((9, 7, 5), 2)


def stack(count):
    rng = np.random.default_rng(1)
    return torch.stack([LAYOUT.initial(rng) for _ in range(count)]) * 2


def test_gradients_are_autograds():
    generator = torch.Generator().manual_seed(0)
    features = encode(torch.rand(3, 1300, 3, generator=generator), 2)  # more than two chunks
    targets = (torch.rand(3, 1300, generator=generator) > 0.5).float()
    networks = FieldNetworks(LAYOUT, stack(3))
    for _ in range(2):  # a second call must not add to the first
        losses = networks.gradient(features, targets)
    for vector, slope, loss, inputs, wanted in zip(stack(3), networks.slope, losses, features, targets, strict=True):
        leaf = vector.clone().requires_grad_()
        tensors, hidden = LAYOUT.unpack(leaf), inputs
        for weight, bias in zip(tensors[0:-2:2], tensors[1:-2:2], strict=True):
            hidden = torch.relu(hidden @ weight.T + bias)
        expected = torch.nn.functional.binary_cross_entropy_with_logits(hidden @ tensors[-2][0] + tensors[-1], wanted)
        expected.backward()
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-5, atol=0)
        torch.testing.assert_close(slope, leaf.grad, rtol=1e-4, atol=1e-7)


def test_adam_with_patience_is_torchs_adam_field_by_field():
    """Rates are cut and fits end field by field; a field whose patience is over stays where it is."""
    starts, batch = stack(2), 8
    networks = FieldNetworks(LAYOUT, starts)
    optimizer = AdamPlateau(networks, 0.01, batch=batch, steps_per_epoch=1)
    parameters = [start.clone().requires_grad_() for start in starts]
    peers = [torch.optim.Adam([p], lr=0.01, eps=1e-8 / batch) for p in parameters]
    schedules = [torch.optim.lr_scheduler.ReduceLROnPlateau(p, factor=0.8, patience=10, threshold=0) for p in peers]
    generator = torch.Generator().manual_seed(0)
    falling = True
    for step in range(70):
        slopes = torch.randn(starts.shape, generator=generator)
        networks.slope.copy_(slopes)
        losses = torch.tensor([1.0, 1.0 / (step + 1)])  # the first never gets better, the second always
        assert falling == optimizer.step(losses)
        for k, (parameter, peer, schedule) in enumerate(zip(parameters, peers, schedules, strict=True)):
            if k == 0 and step > 50:  # 50 epochs after its best, which was the first
                continue
            parameter.grad = slopes[k].clone()
            peer.step()
            schedule.step(losses[k])
    torch.testing.assert_close(networks.vectors, torch.stack([p.detach() for p in parameters]), rtol=1e-4, atol=1e-6)
    assert peers[0].param_groups[0]["lr"] < 0.01


def test_muon_moves_matrices_and_torchs_adam_the_rest():
    starts, steps, warmup = stack(2), 60, 20
    networks = FieldNetworks(LAYOUT, starts)
    optimizer = MuonCosine(networks, 0.02, steps)
    peers = []
    for start in starts:
        tensors = [tensor.clone().requires_grad_() for tensor in LAYOUT.unpack(start)]
        matrices = tensors[:-2:2]  # the last weight has one row
        rest = [tensor for tensor in tensors if all(tensor is not matrix for matrix in matrices)]
        peers.append((tensors, Muon(matrices, lr=0.02), torch.optim.Adam(rest)))
    generator = torch.Generator().manual_seed(0)
    for step in range(1, steps + 1):
        slopes = torch.randn(starts.shape, generator=generator)
        networks.slope.copy_(slopes)
        assert optimizer.step(torch.zeros(2))
        rate = step / warmup if step < warmup else 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))
        for slope, (tensors, muon, adam) in zip(slopes, peers, strict=True):
            for tensor, gradient in zip(tensors, LAYOUT.unpack(slope), strict=True):
                tensor.grad = gradient.clone()
            muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = 0.02 * rate, 0.02 * rate * ADAM_SHARE
            muon.step()
            adam.step()
    expected = torch.stack([torch.cat([tensor.detach().reshape(-1) for tensor in tensors]) for tensors, *_ in peers])
    torch.testing.assert_close(networks.vectors, expected, rtol=1e-4, atol=1e-5)
    assert (networks.vectors != starts).all()
