import subprocess
import sys

import numpy as np
import pytest

from hdbench.seeds import derive_seed, generator

STORED = {
    (0,): 8482559467159178675,
    (0, "sample", 3): 6800058485144049182,
    ("0",): 2299587513400315299,
}


def test_do_not_change_with_versions():
    assert {parts: derive_seed(*parts) for parts in STORED} == STORED


def test_each_part_counts():
    parts = [(), (0,), ("0",), (1,), (0, 0), (0, "sample"), ("sample", 0), (0, "sample", 1), ("0sample",), (-1,)]
    assert len({derive_seed(*some) for some in parts}) == len(parts)


def test_are_the_same_in_every_process():
    code = "from hdbench.seeds import derive_seed; print(derive_seed(5, 'points', 'a'))"
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert found == {f"{derive_seed(5, 'points', 'a')}\n"}


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numpy_integers_are_integers(kind):
    assert derive_seed(kind(7), "x") == derive_seed(7, "x")


def test_are_63_bits():
    seeds = [derive_seed(index) for index in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62  # fails by chance once in 2**2000


def test_generators_are_streams_of_their_own():
    assert generator(1, "a").random(4).tolist() == generator(1, "a").random(4).tolist()
    draws = np.concatenate([generator(seed, "a").random(50) for seed in range(100)])
    # the mean of 5,000 uniform draws lies within five standard errors of 0.5
    assert abs(draws.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 5000)
    assert len(np.unique(draws)) == 5000
