"""The presets `paper` on a GPU: training steps, samples, meshes and memory, as a user would have them.

HyperDiffusion's fields are fitted by our optimiser, in the paper's architecture and from as many points: the original's
takes thirty times as many steps and tells nothing of the denoiser.
"""

import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.method import HyperDiffusion
from hdbench_baselines.hyperdiffusion.transformer import Transformer

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


def measured(name, changes, folder, *, device, preset="paper", shapes=SHAPES):
    """What a short training with `changes` of the recipe and a few samples take; returns the figures and the shapes."""
    method, dataset, watch = get_method(name), Limited(Procedural("airplane"), shapes), Stopwatch()
    recipe = method.load_recipe(preset, (dataset.kind, dataset.category), changes=changes)
    workspace = folder / "workspace"
    workspace.mkdir()
    context = Context(device, watch, workspace, WORKERS, 0, Store(folder / "store"))
    model = method()
    model.fit(dataset, recipe, context)
    figures = {"peak_gib_training": peak_gib()}
    times = next(times for what, times in watch.times.items() if what.startswith("training "))
    figures["steps_per_second"] = 1 / float(np.median(np.diff(times[WARM_UP:])))
    start = time.perf_counter()
    drawn = list(model.sample(range(SAMPLES[name]), 1, context))
    figures["seconds_per_sample"] = (time.perf_counter() - start) / len(drawn)
    figures["peak_gib_sampling"] = peak_gib()
    figures |= {f"seconds_{what.replace(' ', '_')}": times[-1] - times[0] for what, times in watch.times.items()}
    if name == "hyperdiffusion":
        figures["iou_median"] = model.report.fields["iou_median"]
    return figures, model, drawn


def peak_gib():
    """The most memory of the GPU since this was last asked."""
    if not torch.cuda.is_available():
        return float("nan")
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.benchmark(group="presets of the papers on a GPU")
@pytest.mark.parametrize("name", ["dpc", "voxel", "pvd", "hyperdiffusion"])
def test_papers_preset(benchmark, tmp_path, name):
    length = {"training": {"steps": STEPS[name], "epochs": None}}
    changes = CHANGES.get(name, {}) | length
    figures, model, drawn = benchmark.pedantic(
        measured, args=(name, changes, tmp_path), kwargs={"device": "cuda"}, rounds=1
    )
    benchmark.extra_info.update({what: float(f"{value:.4g}") for what, value in figures.items()})
    losses = [value for _, value in model.loss_curve()]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert len(drawn) == SAMPLES[name]


@pytest.fixture(scope="module")
def papers_denoiser():
    """HyperDiffusion's, of 1.4 G parameters, with its optimiser and a batch."""
    recipe = HyperDiffusion.load_recipe("paper", ("mesh", "airplane"))
    with torch.device("cuda"):
        size = recipe.denoiser
        network = Transformer(recipe.fields.layout.sizes, width=size.width, depth=size.depth, heads=size.heads).cuda()
        batch = torch.randn(32, recipe.fields.layout.count), torch.randint(500, (32,))
    return network, torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True), batch


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.benchmark(group="a training step of HyperDiffusion's paper")
@pytest.mark.parametrize("how", ["float32", "tf32", "bfloat16", "bfloat16, compiled"])
def test_precision(benchmark, papers_denoiser, how):
    network, optimizer, (weights, steps) = papers_denoiser
    call = torch.compile(network) if "compiled" in how else network
    halved = how.startswith("bfloat16")

    def step():
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=halved):
            loss = (call(weights, steps).float() - weights).square().mean()
        network.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    torch.set_float32_matmul_precision("high" if how == "tf32" else "highest")
    try:
        loss = benchmark.pedantic(step, rounds=6, warmup_rounds=2)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert np.isfinite(loss)
