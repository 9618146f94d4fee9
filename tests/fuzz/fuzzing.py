"""Feeds damaged files to one reader, in a process of its own with little memory: `fuzzing.py KIND COUNT SEED FOLDER`.

Prints one JSON object: how many inputs were read and refused, and those that ended in anything but a result or an
HdbenchError, that took too long, that asked for memory out of all proportion, or whose message is not one line. Such
inputs are kept in FOLDER.
"""

import json
import resource
import signal
import sys
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType

import corpus
import mutation
import targets

from hdbench.errors import HdbenchError

CPU_SECONDS = 4.0
"""For one input, of at most a megabyte."""
MEMORY_BYTES = 768 * 2**20
"""Address space beyond what the process has when it starts, for inputs of at most a megabyte."""
MAXIMUM_FAILURES = 20


class TooLong(BaseException):
    """Raised in the reader when its time is up; no parser's `except Exception` can hold it."""


def main(kind: str, count: int, seed: int, folder: Path) -> None:
    """Fuzz the reader of `kind` with `count` inputs."""
    read = targets.target(kind)
    contents = corpus.seeds(kind)
    file = folder / f"case.{kind}"
    for content in contents:
        file.write_bytes(content)
        read(file)  # the undamaged ones must be read; and what is imported late is imported now
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _stop)
    limit = _address_space() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for index in range(count):
        rng = Random(f"{seed}/{kind}/{index}")
        content = mutation.mutated(rng.choice(contents), kind, rng)
        file.write_bytes(content)
        complaint = _complaint(read, file, counts)
        if complaint:
            (folder / f"failure-{index}.{kind}").write_bytes(content)
            failures.append(f"input {index}: {complaint}")
        if len(failures) == MAXIMUM_FAILURES:
            break
    print(json.dumps({"kind": kind, **counts, "failures": failures}))


def _complaint(read: targets.Target, file: Path, counts: Counter[str]) -> str | None:
    """What is wrong with how `file` was received, None where nothing is."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        read(file)
    except HdbenchError as error:
        counts["refused"] += 1
        if _out_of_memory(error):
            return f"asked for too much memory: {error}"
        return f"more than one line: {error}" if "\n" in str(error) or "\r" in str(error) else None
    except TooLong:
        return f"took more than {CPU_SECONDS:g} s"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    counts["read"] += 1
    return None


def _out_of_memory(error: BaseException | None) -> bool:
    return error is not None and (
        isinstance(error, MemoryError) or _out_of_memory(error.__cause__ or error.__context__)
    )


def _stop(number: int, frame: FrameType | None) -> None:
    raise TooLong


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
