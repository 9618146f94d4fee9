import pytest
from report_examples import example_run


@pytest.fixture
def small_run(tmp_path):
    return example_run(tmp_path / "run")
