import errno

import pytest
from safetensors import SafetensorError

from hdbench.errors import HdbenchError, system_error, unknown_name


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


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (ValueError("os error 28"), None),
        (OSError("disk full"), None),
    ],
)
def test_what_the_system_said_is_found_wherever_it_stands(error, number):
    assert system_error(error) == number
