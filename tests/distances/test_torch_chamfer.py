from contextlib import contextmanager

import numpy as np
import pytest
import torch

from hdbench.distances import chamfer
from hdbench.distances.torch_chamfer import chamfer_matrix, nearest_squared
from hdbench.errors import HdbenchError
from hdbench.progress import Progress

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def matrix(a, b=None, *, root=False, device="cpu", **options):
    return chamfer_matrix(a, b, root=root, nearest=nearest_squared, device=device, **options)


def clouds(seed, *shape):
    return np.random.default_rng(seed).normal(2.0, 0.7, (*shape, 3)).astype(np.float32)


def oracle(a, b):
    """`cd_sq` and `cd_l2` of one pair, in float64."""
    squared = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1)
    nearest = squared.min(1), squared.min(0)
    return sum(side.mean() for side in nearest), sum(np.sqrt(side).mean() for side in nearest)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("counts", [(1, 1), (1, 40), (33, 20), (128, 257)])
def test_agrees_with_the_oracle(counts, device):
    a, b = clouds(0, 4, counts[0]), clouds(1, 3, counts[1])
    squared, euclidean = np.moveaxis([[oracle(x, y) for y in b] for x in a], -1, 0)
    np.testing.assert_allclose(matrix(a, b, device=device), squared, rtol=1e-6)
    np.testing.assert_allclose(matrix(a, b, root=True, device=device), euclidean, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_agrees_with_the_numba_kernel_at_full_size(device):
    a, b = clouds(2, 2, 2048), clouds(3, 2, 2048)
    np.testing.assert_allclose(matrix(a, b, device=device), chamfer.cd_sq_matrix(a, b), rtol=1e-6)
    np.testing.assert_allclose(matrix(a, b, root=True, device=device), chamfer.cd_l2_matrix(a, b), rtol=1e-6)


def test_sequences_are_compared_frame_by_frame():
    a, b = clouds(4, 3, 4, 50), clouds(5, 2, 4, 60)
    expected = [[np.mean([oracle(x[t], y[t])[0] for t in range(4)]) for y in b] for x in a]
    np.testing.assert_allclose(matrix(a, b), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(7, 30), (5, 3, 30)])
def test_a_set_against_itself_is_symmetric_and_the_same_as_against_its_copy(shape):
    a = clouds(6, *shape)
    alone = matrix(a)
    assert np.array_equal(alone, alone.T)
    assert not alone.diagonal().any()
    assert np.array_equal(alone, matrix(a, a.copy()))


def test_neither_chunks_nor_threads_change_a_bit():
    a, b = clouds(7, 5, 2, 61), clouds(8, 4, 2, 70)
    expected = matrix(a, b)
    for chunk in (1, 500, 10**6):
        assert np.array_equal(expected, matrix(a, b, chunk=chunk))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert np.array_equal(expected, matrix(a, b))
    finally:
        torch.set_num_threads(threads)


def test_tiles_change_no_bit():
    x, y = torch.tensor(clouds(9, 5, 61)), torch.tensor(clouds(10, 5, 70))
    whole = nearest_squared(x, y)
    for tile in (1, 70, 71, 1000, 61 * 70 * 2):
        for expected, value in zip(whole, nearest_squared(x, y, tile=tile), strict=True):
            assert torch.equal(expected, value)


def test_constant_and_duplicated_clouds():
    cloud = clouds(11, 1, 40)
    assert matrix(cloud, np.concatenate([cloud, cloud], 1)) == 0
    assert matrix(np.ones((1, 7, 3), np.float32), np.ones((1, 3, 3), np.float32), root=True) == 0


def test_progress_counts_each_pair_once():
    seen = []

    class Recording(Progress):
        @contextmanager
        def task(self, description, total, *, done=0):
            seen.append(-total)
            yield self

        def advance(self, steps=1, note=""):
            seen.append(steps)

    matrix(clouds(12, 6, 10), chunk=100, progress=Recording())
    assert seen[0] == -15
    assert len(seen) > 2
    assert sum(seen) == 0


def test_empty_sets_give_empty_matrices():
    a = clouds(13, 3, 5)
    assert matrix(a[:0]).shape == (0, 0)
    assert matrix(a, a[:0]).shape == (3, 0)


def test_one_shape_against_itself_is_zero():
    assert matrix(clouds(14, 1, 5)) == np.zeros((1, 1))


def test_what_cannot_be_compared_is_refused():
    a = clouds(15, 4, 20)
    a[2, 11, 1] = np.nan
    with pytest.raises(HdbenchError, match="cloud 2 of 4"):
        matrix(a)
    with pytest.raises(HdbenchError, match=r"\(N, P, 3\)"):
        matrix(np.zeros((4, 20, 2), np.float32))
    with pytest.raises(HdbenchError, match="no points"):
        matrix(np.zeros((4, 0, 3), np.float32))
    with pytest.raises(HdbenchError, match="2 and 3 frames"):
        matrix(clouds(16, 1, 2, 8), clouds(17, 1, 3, 8))
