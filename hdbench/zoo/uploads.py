"""Writing to a repository on the model hub, whose every refusal is one line that the user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hdbench.errors import HdbenchError
from hdbench.transfer import SourceError
from hdbench.zoo.sources import hub_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@contextmanager
def writing_to_hub(place: str, *, form: str) -> Iterator["HfApi"]:
    """The hub, to write to the repository that the user called `place`; `form` says how such names are written.

    Raises HdbenchError where the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        with hub_errors():
            yield HfApi(library_name="hdbench")
    except SourceError as error:
        raise HdbenchError(f"{place} cannot be written: {error}.") from error
    except HFValidationError as error:
        raise HdbenchError(f"{place!r} is no hub repository; write {form}.") from error
    except (RuntimeError, ValueError) as error:  # what its uploads of large files end in
        raise HdbenchError(f"{place} cannot be written: {str(error).splitlines()[0]}") from error
