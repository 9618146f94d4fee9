import numpy as np
import torch
from hdbench_baselines.hyperdiffusion.fields import FieldLayout, encode
from hdbench_baselines.hyperdiffusion.optimization import AdamPlateau, FieldNetworks

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
