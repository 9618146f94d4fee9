import numba
import numpy as np
import pytest

from hdbench.distances.vector_math import element, exp2_of_product, replace_element, select_less
from hdbench.distances.vectors import LANES, load, splat, store


@numba.njit
def powers(a, scale, out):
    for start in range(0, len(a), LANES):
        store(out, start, exp2_of_product(load(a, start), splat(scale)))


@numba.njit
def touch(a, b, out):
    left, right = load(a, 0), load(b, 0)
    store(out, 0, select_less(left, right, right, left))
    store(out, LANES, replace_element(left, 3, np.float32(-7)))
    for lane in range(LANES):
        out[2 * LANES + lane] = element(right, lane)


@pytest.mark.parametrize("reach", [1.0, 20.0, 126.0])
def test_powers_of_two(reach):
    a = np.linspace(-reach, reach, 16 * 500, dtype=np.float32)
    out = np.empty_like(a)
    powers(a, np.float32(1), out)
    # 9.2e-8 is the polynomial's own error, the rest rounding.
    np.testing.assert_allclose(out, 2.0 ** a.astype(np.float64), rtol=2.5e-7)
    powers(a, np.float32(0), out)
    assert np.all(out == 1)


def test_selection_and_single_lanes():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, LANES)).astype(np.float32)
    out = np.empty(3 * LANES, np.float32)
    touch(a, b, out)
    assert np.array_equal(out[:LANES], np.maximum(a, b))
    a[3] = -7
    assert np.array_equal(out[LANES : 2 * LANES], a)
    assert np.array_equal(out[2 * LANES :], b)
