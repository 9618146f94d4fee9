from pathlib import Path

import pytest

from hdbench.errors import HdbenchError
from hdbench.thresholds import DEFAULT_THRESHOLDS, Threshold, load_thresholds, threshold_of


def load_thresholds_of(*flags):
    return load_thresholds(Path("none.toml"), flags)


@pytest.fixture
def project(tmp_path):
    def written(text):
        path = tmp_path / "pyproject.toml"
        path.write_text(text)
        return path

    return written


def test_none_but_the_defaults(tmp_path):
    assert load_thresholds(tmp_path / "none.toml") == DEFAULT_THRESHOLDS


def test_tables_numbers_and_flags(project):
    path = project(
        "[tool.hdbench.gate]\nnna_cd = { floor = 0.1 }\nmmd_cd = 0.2\n'*_emd' = { floor = 0.0, detect = 1 }\n"
    )
    thresholds = load_thresholds(path, ["cov_cd=0.3", "nna_cd_samples=0.05"])
    assert threshold_of("nna_cd", thresholds) == Threshold(floor=0.1, detect=0.2)
    assert threshold_of("mmd_cd", thresholds) == Threshold(floor=0.2, detect=0.4, relative=True)
    assert threshold_of("mmd_emd", thresholds).detect == 1
    assert threshold_of("cov_cd", thresholds) == Threshold(floor=0.3, detect=0.6)
    assert threshold_of("nna_cd_samples", thresholds).floor == 0.05
    assert threshold_of("nna_cd_reference", thresholds) is None


def test_halves_are_gated_where_a_rule_names_them():
    thresholds = load_thresholds_of("nna_*_samples=0.1")
    assert threshold_of("nna_cd_samples", thresholds) == Threshold(floor=0.1, detect=0.2)
    assert threshold_of("mmd_cd_samples", thresholds) is None


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("nna_cd = { flor = 0.1 }", "nna_cd: flor"),
        ("nna_cd = { floor = -1 }", "greater than or equal to 0"),
        ("nna_cd = { floor = nan }", "finite number"),
        ("nna_cd = true", "valid number"),
        ('nna_cd = "much"', "valid number"),
        ("nna_cd = { floor = 0.3, detect = 0.2 }", "detect = 0.2 must be larger than floor = 0.3"),
        ("nna_dc = 0.1", "Did you mean 'nna_cd'"),
    ],
)
def test_tables_that_say_something_else(project, entry, complaint):
    with pytest.raises(HdbenchError, match=complaint) as caught:
        load_thresholds(project(f"[tool.hdbench.gate]\n{entry}\n"))
    assert "[tool.hdbench.gate]" in str(caught.value)


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nhdbench = 1", "[tool.hdbench]\ngate = [1]"])
def test_what_is_no_table(project, text):
    with pytest.raises(HdbenchError, match=r"is no table; write \[tool.hdbench.gate\]"):
        load_thresholds(project(text))


@pytest.mark.parametrize("flag", ["cov_cd", "cov_cd=much", "cov_cd=-1", "cov_cd=nan", "cov_dc=1", "=0.1"])
def test_flags_that_are_none(flag):
    with pytest.raises(HdbenchError, match=r"--floor|metric"):
        load_thresholds_of(flag)
