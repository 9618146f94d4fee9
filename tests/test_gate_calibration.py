"""How often the gate errs: simulations on the real kernels, as gate_simulation.py makes them for docs/statistics.md."""

import pytest
from gate_simulation import SCENARIOS, build_pool, judge, outcome

SAME, LOST, NOISY = SCENARIOS


def outcomes(pool, *, count, experiments):
    reports = [judge(pool, count, seed) for seed in range(experiments)]
    return {scenario: [outcome(report[scenario]) for report in reports] for scenario in SCENARIOS}


def test_a_small_calibration():
    pool = build_pool(clean=300, noisy=70)
    found = outcomes(pool, count=70, experiments=8)
    assert "regressed" not in found[SAME]
    assert "ok" not in found[LOST] + found[NOISY]
    assert found[LOST].count("regressed") >= 3
    assert found[NOISY].count("regressed") >= 4
    few = outcomes(pool, count=20, experiments=8)
    assert set(few[SAME]) == {"underpowered"}
    assert "ok" not in few[LOST] + few[NOISY]


@pytest.mark.slow
def test_equal_models_pass_and_worse_ones_are_caught():
    pool = build_pool(clean=3000, noisy=1000)
    found = outcomes(pool, count=400, experiments=200)
    assert found[SAME].count("regressed") <= 0.05 * 200
    assert found[SAME].count("underpowered") == 0
    assert found[LOST].count("regressed") >= 0.9 * 200
    assert found[NOISY].count("regressed") >= 0.9 * 200
    few = outcomes(pool, count=20, experiments=200)
    assert few[SAME].count("ok") == 0
    assert few[SAME].count("regressed") <= 0.05 * 200
