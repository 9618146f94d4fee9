"""The schedule behind the table of docs/scale.md."""

from collections import Counter

import numpy as np
import pytest
from scale_simulation import (
    SEEDS,
    SHAPES,
    TRAINING_S,
    Unit,
    all_units,
    category_sizes,
    run_units_of,
    schedule,
)


def longest_chain(units: list[Unit]) -> float:
    ends: list[float] = []
    for unit in units:
        ends.append(unit.seconds + max((ends[earlier] for earlier in unit.after), default=0.0))
    return max(ends)


@pytest.mark.parametrize(("workers", "seconds"), [(1, 14.0), (2, 8.0), (7, 2.0), (9, 2.0)])
def test_equal_units_come_in_rounds(workers, seconds):
    assert schedule([Unit(2.0)] * 7, workers).seconds == seconds


def test_a_chain_gains_nothing_from_workers():
    chain = [Unit(1.0, (number - 1,) if number else ()) for number in range(5)]
    assert schedule(chain, 8).seconds == 5.0
    assert schedule(chain, 8).busy == pytest.approx(1 / 8)


def test_a_unit_waits_for_all_it_needs():
    assert schedule([Unit(1.0), Unit(4.0), Unit(1.0, (0, 1))], 2).seconds == 5.0


def test_nothing_takes_no_time():
    assert schedule([], 3).seconds == 0.0


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_any_schedule_keeps_grahams_bounds(workers):
    rng = np.random.default_rng(workers)
    units = [
        Unit(float(rng.uniform(0.1, 5)), tuple(rng.choice(number, min(number, 2), replace=False)) if number else ())
        for number in range(200)
    ]
    work, chain = sum(unit.seconds for unit in units), longest_chain(units)
    result = schedule(units, workers)
    assert max(work / workers, chain) - 1e-9 <= result.seconds <= work / workers + chain + 1e-9
    assert result.busy == pytest.approx(work / workers / result.seconds)


def test_a_run_has_the_units_that_hdbench_makes_of_it():
    units = list(run_units_of(100, seeds=2))
    training = [unit for unit in units if unit.seconds in TRAINING_S.values()]
    assert len(training) == 4
    # 95 shapes prepared by 32, 80 fields by 8, 4 models, 8 sets of 15 samples, 8 scores
    assert len(units) == 3 + 10 + 4 + 8 + 8
    assert all(earlier < number for number, unit in enumerate(units) for earlier in unit.after)


def test_all_categories_have_the_shapes_of_shapenet():
    sizes = category_sizes()
    assert sum(sizes) == pytest.approx(SHAPES, rel=1e-3)
    assert sizes == sorted(sizes, reverse=True)
    once, thrice = (Counter(unit.stage for unit in all_units(fits=fits)) for fits in (1, SEEDS))
    assert once["training"] == len(sizes) * len(TRAINING_S)
    for stage in ("fields", "training"):
        assert thrice[stage] == SEEDS * once[stage]
    assert thrice["sampling"] == once["sampling"]
