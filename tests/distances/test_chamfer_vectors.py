import numpy as np
import pytest
from numba import njit

from hdbench.distances import vectors as v


@njit
def lanewise(a, b, c, out):
    x, y, z = v.load(a, 0), v.load(b, 0), v.load(c, 0)
    v.store(out, 0, x + y)
    v.store(out, 16, x - y)
    v.store(out, 32, x * y)
    v.store(out, 48, v.multiply_add(x, y, z))
    v.store(out, 64, v.minimum(x, y))
    v.store(out, 80, v.maximum(x, y))
    v.store(out, 96, v.minimum_nonnegative(x * x, y * y))
    v.store(out, 112, v.square_root(x * x))
    v.store(out, 128, v.keep_first(x, 5))
    v.store(out, 144, v.splat(np.float32(7)))
    v.store(out, 160, v.splat_element(a, 3))
    v.store(out, 176, v.overshoot(x, y))


@njit
def reduced(a, b):
    x, y = v.load(a, 0), v.load(b, 0)
    bits = v.less_bits(x, y)
    return v.reduce_minimum(x), v.reduce_maximum(x), v.reduce_sum(x), bits, v.equal_bits(x, y), v.trailing_zeros(bits)


@pytest.fixture
def operands():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 16)).astype(np.float32)
    b[4] = a[4]
    return a, b, c


def test_lanewise_operations_agree_with_numpy(operands):
    a, b, c = operands
    out = np.zeros(192, np.float32)
    lanewise(a, b, c, out)
    fused = (a.astype(np.float64) * b + c).astype(np.float32)  # one rounding: float64 holds the product exactly
    kept = np.where(np.arange(16) < 5, a, 0)
    expected = [a + b, a - b, a * b, fused, np.minimum(a, b), np.maximum(a, b), np.minimum(a * a, b * b)]
    expected += [np.sqrt(a * a), kept, np.full(16, 7), np.full(16, a[3]), np.maximum(np.maximum(a, b), 0)]
    assert np.array_equal(out.reshape(-1, 16), np.array(expected, np.float32))


def test_reductions_and_masks_agree_with_numpy(operands):
    a, b, _ = operands
    low, high, total, less, equal, first = reduced(a, b)
    assert (low, high) == (a.min(), a.max())
    assert total == pytest.approx(a.astype(np.float64).sum(), rel=1e-15)
    assert [less >> lane & 1 for lane in range(16)] == (a < b).tolist()
    assert [equal >> lane & 1 for lane in range(16)] == (a == b).tolist()
    assert first == np.flatnonzero(a < b)[0]
