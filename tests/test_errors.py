import pytest

from hdbench.errors import HdbenchError, unknown_name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chiar", "Unknown category 'chiar'. Did you mean 'chair'? Available: airplane, car, chair."),
        ("zebra", "Unknown category 'zebra'. Available: airplane, car, chair."),
        ("", "Unknown category ''. Available: airplane, car, chair."),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name, message):
    error = unknown_name("category", name, ["chair", "car", "airplane"])
    assert isinstance(error, HdbenchError)
    assert str(error) == message


def test_where_nothing_is_known():
    assert str(unknown_name("method", "pvd", [])) == "Unknown method 'pvd'. Available: none."
