"""A forward pass of PVD's network, one thread: where its time goes, and its index operations against plain torch."""

import time
from collections import defaultdict

import numpy as np
import pytest
import torch
from hdbench_baselines.pvd.method import PVD
from hdbench_baselines.pvd.pvcnn import PVCNN2, Size, hierarchy
from hdbench_baselines.pvd.targets import expected_points

from hdbench.geometry import point_operations
from hdbench.geometry.point_operations import average_into_voxels, devoxelise, voxelise

CLOUDS, POINTS = 4, 2048
PARTS = {
    "convolutions in voxels": ("aten::mkldnn_convolution",),
    "convolutions of points": ("aten::_slow_conv2d_forward", "aten::addmm"),
    "normalisation, activation": ("aten::native_group_norm", "aten::silu", "aten::sigmoid"),
    "attention": ("aten::_scaled_dot_product_flash_attention_for_cpu",),
    "voxels and neighbours": ("_Gather", "_Scatter", "hierarchy", "voxelise", "aten::gather"),
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clouds():
    """Thin surfaces of unit deviation, half way to noise: (4, 3, 2048)."""
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0, 2 * np.pi, (2, CLOUDS, POINTS))
    points = np.stack([1.7 * np.cos(u) * np.cos(v), 0.4 * np.sin(v), 1.7 * np.sin(u) * np.cos(v)], axis=1)
    noisy = points + rng.normal(0, 0.3, points.shape)
    return torch.from_numpy((noisy / noisy.std((1, 2), keepdims=True)).astype(np.float32))


def shares_of(forward):
    """Seconds of processor time by part, from the profiler; the rest is copying, adding, and taking maxima."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        forward()
    seconds = defaultdict(float)
    for event in profile.key_averages():
        part = next((part for part, names in PARTS.items() if event.key in names), "the rest")
        seconds[part] += event.self_cpu_time_total / 1e6
    return dict(seconds)


@pytest.mark.parametrize("preset", ["paper", "default"])
def test_forward(benchmark, clouds, preset):
    network = PVCNN2(PVD.load_recipe(preset, ("chair",)).network.size).eval()
    network.initialize(0)
    steps = torch.full((CLOUDS,), 500)

    def forward():
        with torch.inference_mode():
            return network(clouds, steps)

    forward()
    benchmark.extra_info["cpu_seconds"] = min(cpu_seconds(forward) for _ in range(3))
    benchmark.extra_info["seconds_by_part"] = {part: round(s, 4) for part, s in shares_of(forward).items()}
    benchmark.pedantic(forward, rounds=5)


def test_index_operations(benchmark, clouds, monkeypatch):
    """Levels, voxels and the way there and back of 32 channels, against the same in plain torch."""
    features = torch.randn(CLOUDS, 32, POINTS, generator=torch.Generator().manual_seed(0))
    points = clouds.mT.contiguous()

    def operate():
        levels = hierarchy(points, radii=Size().radii, neighbours=Size().neighbours)
        voxels = voxelise(points, 32)
        return levels[-1].points, devoxelise(average_into_voxels(features, voxels), voxels)

    assert gain_over_torch(benchmark, monkeypatch, operate) >= 10


def test_expected_points(benchmark, clouds, monkeypatch):
    """What noisy points of a batch of training may have been, against torch's fused attention."""
    pools = torch.randn(CLOUDS, 4096, 3, generator=torch.Generator().manual_seed(0))
    signal = torch.tensor([0.05, 0.5, 0.9, 0.99])[:, None, None]
    assert gain_over_torch(benchmark, monkeypatch, lambda: [expected_points(clouds, signal, pools)]) >= 2.5


def gain_over_torch(benchmark, monkeypatch, operate):
    """How many times less CPU `operate` takes by our kernels than in plain torch, both being asked for the same."""

    def in_torch():
        with monkeypatch.context() as patched:
            patched.setattr(point_operations, "KERNEL_DEVICE", "none")
            return operate()

    for ours, theirs in zip(operate(), in_torch(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    ratios = []
    for _ in range(3):  # interleaved, so that both see the same machine
        slow = cpu_seconds(in_torch)
        ratios.append(slow / min(cpu_seconds(operate) for _ in range(3)))
    benchmark.extra_info["times_less_cpu_than_torch"] = float(np.median(ratios))
    benchmark(operate)
    return np.median(ratios)


def cpu_seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start
