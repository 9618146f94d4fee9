"""The kernel compiled where there is a CUDA device, else run by Triton's interpreter: the same tests."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytest.importorskip("triton", reason="Triton is not installed (it comes with torch's CUDA build)")

from hdbench.distances import chamfer  # noqa: E402
from hdbench.distances.torch_chamfer import chamfer_matrix  # noqa: E402
from hdbench.distances.triton_chamfer import nearest_squared  # noqa: E402


def clouds(seed, *shape):
    return np.random.default_rng(seed).normal(2.0, 0.7, (*shape, 3)).astype(np.float32)


def pairs(count, other_count, *, number=3):
    return torch.tensor(clouds(0, number, count), device=DEVICE), torch.tensor(
        clouds(1, number, other_count), device=DEVICE
    )


def matrix(a, b=None, *, root=False):
    return chamfer_matrix(a, b, root=root, nearest=nearest_squared, device=DEVICE)


@pytest.mark.parametrize("counts", [(1, 1), (1, 70), (31, 65), (32, 64), (100, 33)])
def test_nearest_distances_agree_with_the_oracle(counts):
    x, y = pairs(*counts)
    squared = ((x[:, :, None].double() - y[:, None].double()) ** 2).sum(-1)
    x_nearest, y_nearest = nearest_squared(x, y)
    torch.testing.assert_close(x_nearest.double(), squared.amin(2), rtol=5e-7, atol=0)
    torch.testing.assert_close(y_nearest.double(), squared.amin(1), rtol=5e-7, atol=0)


@pytest.mark.parametrize("tile", [(4, 8), (16, 16), (8, 128), (64, 32)])
def test_tiles_change_no_bit(tile):
    x, y = pairs(21, 40, number=2)
    rows, columns = tile
    for expected, value in zip(nearest_squared(x, y), nearest_squared(x, y, rows=rows, columns=columns), strict=True):
        assert torch.equal(expected, value)


def test_directions_are_mirror_images():
    x, y = pairs(45, 70)
    assert all(map(torch.equal, nearest_squared(x, y), reversed(nearest_squared(y, x))))


@pytest.mark.parametrize("shapes", [((4, 65), (3, 40)), ((2, 3, 33), (3, 3, 64))])
def test_matrices_agree_with_the_numba_kernel(shapes):
    a, b = clouds(2, *shapes[0]), clouds(3, *shapes[1])
    np.testing.assert_allclose(matrix(a, b), chamfer.cd_sq_matrix(a, b), rtol=1e-6)
    np.testing.assert_allclose(matrix(a, b, root=True), chamfer.cd_l2_matrix(a, b), rtol=1e-6)


def test_a_set_against_itself_is_symmetric_and_zero_on_the_diagonal():
    a = clouds(4, 5, 40)
    assert np.array_equal(matrix(a), matrix(a, a.copy()))
    assert not matrix(a, a.copy()).diagonal().any()


@pytest.mark.skipif(DEVICE == "cpu", reason="no CUDA device")
def test_on_a_gpu_full_size_sets_agree_with_the_numba_kernel_and_repeat_to_the_bit():
    a, b = clouds(5, 40, 2048), clouds(6, 30, 2048)
    value = matrix(a, b)
    np.testing.assert_allclose(value, chamfer.cd_sq_matrix(a, b), rtol=1e-6)
    assert np.array_equal(value, matrix(a, b))


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from hdbench.distances.triton_chamfer import COLUMNS, ROWS, WARPS, _nearest_kernel

pointers = {"x": "*fp32", "y": "*fp32", "x_nearest": "*fp32", "y_nearest_bits": "*i32"}
constants = {"count": 2048, "other_count": 2000, "ROWS": ROWS, "COLUMNS": COLUMNS}
source = ASTSource(_nearest_kernel, pointers | dict.fromkeys(constants, "constexpr"), constants)
print(compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": WARPS}).asm["ptx"])
"""


def test_compiles_for_hopper_without_a_gpu():
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    compiled = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True
    )
    assert "atom" in compiled.stdout or "red.global" in compiled.stdout
    assert "fma.rn.f32" in compiled.stdout
