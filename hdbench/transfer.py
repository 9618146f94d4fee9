"""Bytes from other machines, and to them: tried again with back-off, gone on with where an attempt stopped.

Nothing is verified here but sizes: whoever asks knows what the bytes should be.
"""

import http.client
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

ATTEMPTS = 5
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; doubled before each further one."""
BLOCK = 1 << 18

Made = TypeVar("Made")


class SourceError(Exception):
    """Why something cannot be had from one source, or not be brought there, in a few words."""


class TryAgain(SourceError):
    """A failure that another attempt may not meet."""


class AbsentError(SourceError):
    """There is no such file, or one of another size."""


class Stream(Protocol):
    """Bytes from where they were asked for."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; b"" at the end."""


Opener = Callable[[int], AbstractContextManager[tuple[Stream, int]]]
"""Opens a file at an offset; gives its bytes and the offset they really start at (0 from who knows no ranges)."""


def is_offline() -> bool:
    """Whether the user wants nothing from the network: HDBENCH_OFFLINE or HF_HUB_OFFLINE."""
    wanted = (os.environ.get(name, "") for name in ("HDBENCH_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value.strip().lower() in ("1", "true", "yes", "on") for value in wanted)


def refuse_offline() -> None:
    """Raise SourceError where the user wants nothing from the network."""
    if is_offline():
        raise SourceError("offline (HDBENCH_OFFLINE or HF_HUB_OFFLINE is set)")


def patiently(action: Callable[[], Made]) -> Made:
    """What `action` gives, in several attempts if need be; SourceError when the last one fails."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except TryAgain as error:
            if attempt + 1 == ATTEMPTS:
                raise SourceError(f"{error}, {ATTEMPTS} times") from error
            time.sleep(FIRST_PAUSE * 2**attempt)
    raise AssertionError("every attempt returns or raises")


def read_all(opener: Opener, limit: int) -> bytes:
    """A whole file of at most `limit` bytes. Raises SourceError."""

    def read() -> bytes:
        content = b""
        with opener(0) as (stream, _):
            while block := _next_block(stream, BLOCK):
                content += block
                if len(content) > limit:
                    raise SourceError(f"larger than {limit} bytes")
        return content

    return patiently(read)


def fill(opener: Opener, path: Path, size: int, *, advance: Callable[[int], None]) -> None:
    """Have `size` bytes in `path`, going on from what lies there; `advance` is told of each further block.

    Raises SourceError, and leaves what can be gone on from.
    """

    def attempt() -> None:
        held = path.stat().st_size if path.exists() else 0
        if held == size and path.exists():
            return
        with opener(held) as (stream, start), path.open("r+b" if held else "wb") as out:
            out.seek(start)
            out.truncate()
            _copy(stream, out, size, start, advance)

    patiently(attempt)


def _copy(stream: Stream, out: BinaryIO, size: int, start: int, advance: Callable[[int], None]) -> None:
    done = start
    while done < size:
        block = _next_block(stream, min(BLOCK, size - done))
        if not block:
            raise TryAgain(f"ended after {done} of {size} bytes")
        out.write(block)
        advance(len(block))
        done += len(block)


def _next_block(stream: Stream, size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception as error:
        if isinstance(error, OSError | http.client.HTTPException) or is_of_network(error):
            raise TryAgain(f"connection lost ({words(error)})") from error
        raise


def refuse_other_size(found: int | None, size: int | None) -> None:
    """Raise AbsentError where both are known and differ."""
    if found is not None and size is not None and found != size:
        raise AbsentError(f"has {found} bytes, expected {size}")


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of `url`, and the path there. Raises SourceError."""
    import fsspec

    with fsspec_errors():
        system, path = fsspec.url_to_fs(url)
    return system, path


@contextmanager
def open_fsspec(system: Any, path: str, size: int | None, start: int) -> Iterator[tuple[Stream, int]]:
    """Open a file of a file system; see `Opener`. It is refused if it is of another size than `size`."""
    with fsspec_errors():
        refuse_other_size(system.info(path)["size"], size)
        stream = system.open(path, "rb")
        stream.seek(start)
    with stream:
        yield stream, start


@contextmanager
def fsspec_errors() -> Iterator[None]:
    """Turn what fsspec and the packages behind it raise into a few words."""
    try:
        yield
    except SourceError:
        raise
    except ImportError as error:
        raise SourceError(f"another package is needed: {words(error)}, with pip") from error
    except FileNotFoundError as error:
        raise AbsentError("no such file") from error
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise SourceError(f"not allowed ({words(error)})") from error
    except OSError as error:
        raise TryAgain(f"no connection ({words(error)})") from error
    except Exception as error:  # of the package behind fsspec, each of which has errors of its own
        if is_of_network(error):
            raise TryAgain(f"no connection ({words(error)})") from error
        raise SourceError(f"{type(error).__name__}: {words(error)}") from error


def is_of_network(error: Exception) -> bool:
    """Whether an HTTP library failed to connect: their errors differ from version to version, but say so."""
    return any(part in type(error).__name__.lower() for part in ("timeout", "connect"))


def words(error: BaseException) -> str:
    """The reason of an error, on one short line."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return " ".join(str(reason).split())[:100] or type(error).__name__
