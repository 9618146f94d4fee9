"""The presets `paper` on a GPU: training steps, samples, meshes and memory, as a user would have them.

HyperDiffusion's fields are fitted by our optimiser, in the paper's architecture and from as many points: the original's
takes thirty times as many steps and tells nothing of the denoiser.
"""

import tempfile
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.fitting import tensor_cores
from hdbench_baselines.hyperdiffusion.method import HyperDiffusion
from torch.utils.benchmark import Timer

from hdbench.datasets.base import Limited
from hdbench.datasets.procedural.dataset import Procedural
from hdbench.method import Context, get_method
from hdbench.progress import Progress
from hdbench.store import Store

SHAPES = 256
WARM_UP = 20
"""Steps left out: the first choose kernels and take memory."""
STEPS = {"hyperdiffusion": 300, "voxel": 200, "dpc": 200, "pvd": 200}
SAMPLES = {"hyperdiffusion": 8, "voxel": 16, "dpc": 16, "pvd": 16}
CHANGES = {
    "hyperdiffusion": {
        "fields": {"optimizer": "muon", "learning_rate": 0.03, "steps": 2500, "anchor_steps": 2500, "minimum_iou": 0.0}
    },
    "pvd": {"sampling": {"block": 16}},
}
WORKERS = 8
MEMORY = 32 * 2**30

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_properties(0).total_memory < MEMORY,
    reason="no GPU of 32 GiB here",
)


class Stopwatch(Progress):
    """Knows when each task began and when each of its steps ended."""

    def __init__(self):
        self.times = {}

    @contextmanager
    def task(self, description, total, *, done=0):
        times = self.times.setdefault(description, [])
        times.append(time.perf_counter())
        yield Ticks(times)


class Ticks:
    def __init__(self, times):
        self.times = times

    def advance(self, steps=1, note=""):
        self.times.append(time.perf_counter())


def measured(name, folder):
    """What a short training and a few samples take; returns the figures, the model and the samples."""
    method, dataset, watch = get_method(name), Limited(Procedural("airplane"), SHAPES), Stopwatch()
    changes = CHANGES.get(name, {}) | {"training": {"steps": STEPS[name], "epochs": None}}
    recipe = method.load_recipe("paper", (dataset.kind, dataset.category), changes=changes)
    workspace = folder / "workspace"
    workspace.mkdir()
    context = Context("cuda", watch, workspace, WORKERS, 0, Store(folder / "store"))
    torch.cuda.reset_peak_memory_stats()
    model = method()
    model.fit(dataset, recipe, context)
    figures = {"peak_gib": torch.cuda.max_memory_allocated() / 2**30}
    samples = list(model.sample(range(SAMPLES[name]), 1, context))
    for what, times in watch.times.items():
        figures[f"seconds_{what.replace(' ', '_')}"] = times[-1] - times[0]
        if what.startswith("training "):
            figures["steps_per_second"] = 1 / float(np.median(np.diff(times[WARM_UP:])))
    if name == "hyperdiffusion":
        figures["iou_median"] = model.report.fields["iou_median"]
    return figures, model, samples


@pytest.mark.benchmark(group="presets of the papers on a GPU")
@pytest.mark.parametrize("name", ["dpc", "voxel", "pvd", "hyperdiffusion"])
def test_papers_preset(benchmark, name):
    with tempfile.TemporaryDirectory() as folder:  # gone at once: checkpoints take up to 17 GB
        figures, model, samples = benchmark.pedantic(measured, args=(name, Path(folder)), rounds=1)
    benchmark.extra_info.update({what: float(f"{value:.4g}") for what, value in figures.items()})
    benchmark.extra_info["machine"] = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    losses = [value for _, value in model.loss_curve()]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert len(samples) == SAMPLES[name]


@pytest.mark.benchmark(group="a training step of HyperDiffusion's paper")
def test_compiled_training_step(benchmark):
    """Compiled and in bfloat16, against float32; what else there is beside it."""
    model = HyperDiffusion()
    model.recipe = HyperDiffusion.load_recipe("paper", ("mesh", "airplane"))
    model._build("cuda")
    network, count = model.denoiser, model.recipe.fields.layout.count
    weights, steps = torch.randn(32, count, device="cuda"), torch.randint(500, (32,), device="cuda")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def step(call, *, halved):
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=halved):
            loss = (call(weights, steps).float() - weights).square().mean()
        network.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    others = {}
    ways = [("float32", nullcontext(), False), ("tf32", tensor_cores(), False), ("bfloat16", nullcontext(), True)]
    for way, products, halved in ways:
        with products:
            others[way] = Timer("step()", globals={"step": partial(step, network, halved=halved)}).timeit(6).median
    compiled = torch.compile(network)
    benchmark.pedantic(step, args=(compiled,), kwargs={"halved": True}, rounds=6, warmup_rounds=2)
    benchmark.extra_info.update({f"seconds_{way}": float(f"{value:.3g}") for way, value in others.items()})
    assert others["float32"] / benchmark.stats.stats.min >= 1.5
