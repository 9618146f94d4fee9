"""Every method on a GPU: no tensor is left behind on the CPU, and none comes from there unasked."""

import pytest
import torch
from pretended_gpu import GPU, pretended_gpu

from hdbench.conformance import ToySolids
from hdbench.datasets.base import LearningView
from hdbench.method import Context, get_method
from hdbench.progress import Progress
from hdbench.recipe import merged
from hdbench.shapes import defect

FEW_STEPS = {"training": {"steps": 5, "warmup_steps": 1}, "sampling": {"steps": 4}}
"""Each operation costs many times what it does without the pretence."""


def context(folder, device):
    folder.mkdir(exist_ok=True)
    return Context(str(device), Progress(), folder, 1, seed=0)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # torch warns of the device's name
@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    [
        ("hyperdiffusion", "mesh", {}),
        ("hyperdiffusion", "sequence", {}),
        ("voxel", "mesh", {}),
        ("voxel", "sequence", {}),
        ("voxel", "sequence", {"network": {"frames": "channels"}}),
        ("voxel", "sequence", {"network": {"frames": "items"}}),
        ("dpc", "points", {}),
        ("pvd", "points", {}),
    ],
)
def test_a_method_fits_and_samples_on_a_gpu(name, kind, changes, tmp_path):
    method = get_method(name)
    recipe = method.load_recipe("smoke", (kind,), changes=merged(FEW_STEPS, changes))
    with pretended_gpu() as gpu:
        model = method()
        model.fit(LearningView(ToySolids(kind)), recipe, context(tmp_path / "fit", GPU))
        fitted = gpu.operations
        model.save(tmp_path / "model")
        loaded = method.load(tmp_path / "model", context(tmp_path / "load", GPU))
        before = gpu.operations
        samples = list(loaded.sample(range(2), 0, context(tmp_path / "sample", GPU)))
        assert fitted > 1000
        assert gpu.operations > before + 100
    assert [defect(sample) for sample in samples] == [None, None]
    elsewhere = method.load(tmp_path / "model", context(tmp_path / "cpu", "cpu"))
    (sample,) = elsewhere.sample([0], 0, context(tmp_path / "cpu", "cpu"))
    assert defect(sample) is None


def test_a_pretended_gpu_computes_and_refuses_what_lies_elsewhere():
    with pretended_gpu():
        layer = torch.nn.Linear(2, 1).to(GPU)
        seen = torch.ones(3, 2, device=GPU)
        layer(seen).sum().backward()
        assert layer.weight.grad.device == GPU
        assert layer.weight.grad.cpu().tolist() == [[3.0, 3.0]]
        assert seen.cpu().device.type == "cpu"
        with pytest.raises(RuntimeError, match="same device"):
            layer(torch.ones(3, 2))
        with pytest.raises(RuntimeError, match="same device"):
            seen + torch.ones(3, 2)
        with pytest.raises(RuntimeError, match="same device"):
            seen[torch.tensor([0])] = torch.ones(1, 2)
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, device=GPU, generator=torch.Generator())
