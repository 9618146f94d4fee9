"""A step forward and back of each rival's training, one thread, against memory given back and kernels by matrices."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

STEP = """
import json, time
import numba, numpy as np, torch
from hdbench.memory import keep_freed_memory
from hdbench_baselines.convolution import Conv3d
from hdbench_baselines.dpc.clouds import TrainingClouds
from hdbench_baselines.dpc.method import DPC, DPCNetwork, Objective
from hdbench_baselines.pvd.method import PVD, PVCNN2
from hdbench_baselines.voxel.denoiser import GridDenoiser
from hdbench_baselines.voxel.gaussian import Gaussian
from hdbench_baselines.voxel.method import VoxelDiffusion, unet
from hdbench_baselines.voxel.window import Window

{preparation}
torch.set_num_threads(1)
numba.set_num_threads(1)
rng = torch.Generator().manual_seed(0)

def denoising(recipe, denoiser, *shape):
    diffusion, count = recipe.diffusion.build(), recipe.training.batch_size
    x0, noise = torch.randn(2, count, *shape, generator=rng)
    steps = torch.randint(len(diffusion), (count,), generator=rng)
    return lambda: diffusion.losses(denoiser, x0, steps, noise).mean()

def dpc():
    recipe = DPC.load_recipe("default")
    network = DPCNetwork(recipe.diffusion.build(), **dict(recipe.network))
    count = recipe.training.batch_size
    pools = np.random.default_rng(0).standard_normal((count, recipe.clouds.pool, 3), np.float32)
    objective, rows = Objective(network, recipe, TrainingClouds(pools, None, {{}}), "cpu"), torch.arange(count)
    return network, lambda: objective(rows, rng)

def pvd():
    recipe = PVD.load_recipe("default", ("car",))
    network = PVCNN2(recipe.network.size)
    return network, denoising(recipe, network, 3, recipe.data.points)

def voxel():
    recipe = VoxelDiffusion.load_recipe("default", ("mesh",))
    edges = Window.whole(recipe.grid.resolution).edges
    shape, network = (1, *edges), unet(recipe, None, edges)
    gaussian = Gaussian.of(torch.randn(recipe.network.components, *shape, generator=rng), recipe.network.components)
    return network, denoising(recipe, GridDenoiser(network, gaussian, recipe.diffusion.build()).twice, *shape)

network, loss = {method}()
network.initialize(0)

def step():
    network.zero_grad()
    loss().backward()

for _ in range(3):
    step()
seconds = []
for _ in range({steps}):
    start = time.process_time()
    step()
    seconds.append(time.process_time() - start)
print(json.dumps(sorted(seconds)[len(seconds) // 2]))
"""
STEPS = {"dpc": 40, "pvd": 6, "voxel": 6}
GAINS = {"dpc": 1.05, "pvd": 1.1, "voxel": 1.0}
"""Measured: 1.11, 1.2 and 1.03; the system's share hangs on what else the machine does."""
GAIN_BY_PLANES = 1.03
"""Measured: 1.07 of PVD and 1.10 of voxel diffusion."""
KEPT = "keep_freed_memory()"
"""As a run has it."""
BY_MATRICES = "Conv3d._is_learnt_by_planes = lambda *_: False"
"""As torch has gradients of the weights of 3D convolutions."""


def cpu_seconds_of_a_step(method, *preparations):
    """Median, in a process of its own: what has been set about memory cannot be unset."""
    code = STEP.format(method=method, preparation="; ".join(preparations), steps=STEPS[method])
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def gain_over(benchmark, method, *preparations):
    """How many times less CPU a step takes as a run has it than after the `preparations`."""
    with_them, as_run = [], []

    def once():
        with_them.append(cpu_seconds_of_a_step(method, *preparations))
        as_run.append(cpu_seconds_of_a_step(method, KEPT))

    benchmark.pedantic(once, rounds=3)
    benchmark.extra_info["cpu_seconds_of_a_step"] = np.median(as_run)
    return np.median(with_them) / np.median(as_run)


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
@pytest.mark.parametrize("method", STEPS)
def test_keeping_freed_memory(benchmark, method):
    gain = gain_over(benchmark, method)
    benchmark.extra_info["times_less_cpu_than_given_back"] = gain
    assert gain >= GAINS[method]


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX2", reason="is meant for AVX2 without AVX-512")
@pytest.mark.parametrize("method", ["pvd", "voxel"])
def test_learning_kernels_plane_by_plane(benchmark, method):
    gain = gain_over(benchmark, method, KEPT, BY_MATRICES)
    benchmark.extra_info["times_less_cpu_than_by_matrices"] = gain
    assert gain >= GAIN_BY_PLANES
