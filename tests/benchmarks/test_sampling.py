"""Denoising HyperDiffusion's weight vectors: CPU time per sample by batch size and steps, and the distance to the
matrix-product limit, on one thread. The peer is the plain way: one sample at a time, all 500 steps."""

import time

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.method import HyperDiffusion
from hdbench_baselines.hyperdiffusion.transformer import Transformer
from torch.utils.flop_counter import FlopCounterMode

BATCHES = (1, 8, 32, 128)
STEPS = (10, 50, 500)
SLICE = 10
"""Steps that are timed; all steps of a sampler cost the same."""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def recipe():
    return HyperDiffusion.load_recipe("default", ("mesh", "airplane"))


@pytest.fixture(scope="module")
def denoiser(recipe):
    size = recipe.denoiser
    model = Transformer(
        recipe.fields.layout.sizes,
        width=size.width,
        depth=size.depth,
        heads=size.heads,
        time_exponents=size.time_exponents,
    )
    model.initialize(0)
    return model.eval()


def cpu_seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def step_seconds(recipe, denoiser, batch):
    """CPU time of one step of the sampler with `batch` samples."""
    diffusion = recipe.diffusion.build().respaced(SLICE)
    start = torch.randn(batch, sum(denoiser.token_sizes), generator=torch.Generator().manual_seed(0))

    def sample():
        with torch.inference_mode():
            *_, last = diffusion.trajectory(denoiser, start, sampler="ddim")
        return last

    return min(cpu_seconds(sample) for _ in range(3)) / SLICE


def step_operations(denoiser):
    """Floating-point operations of the matrix products of one step and sample."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        denoiser(torch.zeros(1, sum(denoiser.token_sizes)), torch.zeros(1, dtype=torch.int64))
    return counter.get_total_flops()


def matrix_product_limit(size=1024):
    """Floating-point operations per CPU second of one large matrix product."""
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    return 2 * size**3 / min(cpu_seconds(lambda: a @ a) for _ in range(10))


def test_sampling(benchmark, recipe, denoiser):
    operations = step_operations(denoiser)
    per_step, reached = {}, {}
    for batch in BATCHES:  # the limit beside each, so that both see the same machine
        limit = matrix_product_limit()
        per_step[batch] = step_seconds(recipe, denoiser, batch) / batch
        reached[batch] = operations / per_step[batch] / limit
    plain = 500 * per_step[1]
    benchmark.extra_info["gflop_per_step"] = operations / 1e9
    benchmark.extra_info["ms_per_sample"] = {
        f"batch {batch}, {steps} steps": round(1e3 * steps * seconds, 2)
        for batch, seconds in per_step.items()
        for steps in STEPS
    }
    benchmark.extra_info["share_of_matrix_product_limit"] = {b: round(share, 3) for b, share in reached.items()}
    ours = recipe.sampling.steps * per_step[recipe.sampling.block]
    benchmark.extra_info["times_less_cpu_than_the_plain_way"] = round(plain / ours, 1)
    start = torch.from_numpy(np.zeros((recipe.sampling.block, sum(denoiser.token_sizes)), np.float32))
    with torch.inference_mode():
        benchmark(lambda: denoiser(start, torch.zeros(len(start), dtype=torch.int64)))
    assert plain / ours >= 20
    assert reached[recipe.sampling.block] >= 0.25
