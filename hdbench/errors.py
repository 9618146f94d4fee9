"""The one exception tree: what the user can mend is an `HdbenchError`, anything else is a bug."""

from collections.abc import Iterable
from difflib import get_close_matches


class HdbenchError(Exception):
    """Wrong input or a wrong command line: one line saying what, where and how to mend it (exit code 2)."""


def unknown_name(kind: str, name: str, available: Iterable[str]) -> HdbenchError:
    """The error for a name nobody knows, with the nearest known one and the whole list."""
    names = sorted(available)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return HdbenchError(f"Unknown {kind} {name!r}. {hint}Available: {', '.join(names) or 'none'}.")
