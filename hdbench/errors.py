"""The one exception tree: what the user can mend is an `HdbenchError`, anything else is a bug."""

import errno
import re
from collections.abc import Iterable
from difflib import get_close_matches

from hdbench.text import as_utf8


class HdbenchError(Exception):
    """Wrong input or a wrong command line: one line saying what, where and how to mend it (exit code 2)."""

    def __str__(self) -> str:
        return as_utf8(super().__str__())


DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE})
"""What a file system says when it is full, read-only, somebody else's or broken: the user's to mend, whoever met it."""


def system_error(error: BaseException) -> int | None:
    """The system's number of what went wrong, also where a library written in Rust gives it in words only."""
    if isinstance(error, OSError):
        return error.errno
    named = re.search(r"\(os error (\d+)\)", str(error))
    return int(named[1]) if named else None


def unknown_name(kind: str, name: str, available: Iterable[str]) -> HdbenchError:
    """The error for a name nobody knows, with the nearest known one and the whole list."""
    names = sorted(available)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return HdbenchError(f"Unknown {kind} {name!r}. {hint}Available: {', '.join(names) or 'none'}.")
