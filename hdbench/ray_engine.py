"""Units of work on a Ray cluster: one that lives as long as this process, or one that is there already.

What this module guarantees: results come in the order of the units and with the bits of the local engine; a unit
whose worker or node dies is run again elsewhere; an error of a unit ends all others and arrives as itself.

Workers import hdbench from where they run, so every node needs the same installation: the same versions of Python,
of hdbench and of the packages that compute. A worker that differs refuses, as its bits might. They read datasets and
write artefacts where the driver does, so on several machines both lie on a path that all of them share; or artefacts in
a remote store, behind a folder of each node's own.
"""

import os
import platform
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from hdbench.errors import HdbenchError
from hdbench.execution import ONE_THREAD, Result, Unit, cpu_count
from hdbench.memory import give_back_freed_memory, keep_freed_memory
from hdbench.progress import Progress

RETRIES = 5
"""How often a unit is run again because its worker or node died; its own errors are final."""
IN_FLIGHT = 2
"""Units handed to Ray per worker at once: the next is there when one is done, and memory stays bounded."""
COMPUTING = ("hdbench", "numpy", "scipy", "numba", "torch")
"""Packages whose versions decide the bits of a result."""
FORWARDED = ("HDBENCH_", "NUMBA_", "OMP_", "MKL_")
"""Beginnings of the environment variables that workers get from the driver, as processes of this machine would."""
OWN = ("HDBENCH_LOCAL_STORE",)
"""Those that they have of their node all the same."""


@dataclass(frozen=True)
class RayEngine:
    """See `hdbench.execution.Engine`. Nothing is started or connected to before the first unit."""

    address: str | None = None
    """Of a running cluster, as `ray start` prints it, or "auto" for the one on this machine. None: $RAY_ADDRESS, or
    else a cluster of this machine's cores that ends with this process."""

    is_cluster = True

    @property
    def workers(self) -> int:
        """See `Engine.workers`: this machine's cores, but never one, which would mean to compute here."""
        return max(2, cpu_count())

    def results(
        self,
        function: Callable[[Unit], Result],
        units: Sequence[Unit],
        *,
        workers: int,
        device: str,
        finished: Callable[[Unit], None],
    ) -> Iterator[Result]:
        """See `Engine.results`; `workers` is the cluster's affair. A unit takes a core, and a GPU on "cuda"."""
        if not units:
            return
        ray = self._connected()
        slots = _slots(ray, device)
        perform = ray.remote(_perform).options(
            num_cpus=1, num_gpus=int(device == "cuda"), max_retries=RETRIES, retry_exceptions=False
        )
        waiting = deque(enumerate(units))
        running: dict[Any, int] = {}
        done: dict[int, Any] = {}
        try:
            for index in range(len(units)):
                while index not in done:
                    while waiting and len(running) + len(done) < IN_FLIGHT * slots:
                        number, unit = waiting.popleft()
                        work = ray.cloudpickle.dumps((function, unit))
                        running[perform.remote(work, _installation(), tuple(sys.path))] = number
                    (reference, *_), _ = ray.wait([*running], num_returns=1)
                    number = running.pop(reference)
                    done[number] = reference
                    finished(units[number])
                yield _outcome(ray, done.pop(index))
        finally:  # when an error, Ctrl-C, or a caller who wants no more leaves some running
            for reference in running:
                ray.cancel(reference, force=True)

    def shown(self, progress: Progress) -> AbstractContextManager[Progress]:
        """See `Engine.shown`: units report to a mailbox on the cluster, which is shown here."""
        from hdbench.ray_progress import relayed

        return relayed(self._connected(), progress)

    def _connected(self) -> Any:
        """The module `ray`, connected: inside a unit to the cluster that runs it."""
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told about anybody's runs
            import ray
        except ImportError as error:
            raise HdbenchError("--engine ray needs the package ray; pip install 'hdbench[ray]'.") from error
        if ray.is_initialized():
            return ray
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        own = {"num_cpus": cpu_count(), "include_dashboard": False} if address == "local" else {}
        try:
            _knock(address)
            with _same_end_by_sigterm():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level="CRITICAL",  # what goes wrong is raised
                    runtime_env={"env_vars": _worker_environment()},
                    **own,
                )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise HdbenchError(
                f"There is no Ray cluster at {address!r} ({reason}); start one with `ray start`, or say --engine ray."
            ) from error
        except Exception as error:  # Ray knows no class of its own for a node that would not start
            reason = " ".join(str(error).split())[:300]
            raise HdbenchError(f"Ray could not be started ({reason}); run it again, or say --engine local.") from error
        return ray


@contextmanager
def _same_end_by_sigterm() -> Iterator[None]:
    """Undo what a block does to SIGTERM: Ray prints a stack, or aborts. Its cluster ends itself, as after SIGKILL."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    if ":" in address:
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()


def _worker_environment() -> dict[str, str]:
    """What a worker process on this machine would inherit, as far as computing hangs on it, and one thread."""
    theirs = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED) and name not in OWN}
    return theirs | dict(ONE_THREAD)


def _slots(ray: Any, device: str) -> int:
    """Units that the cluster can run at once."""
    resources = ray.cluster_resources()
    if device == "cuda" and not resources.get("GPU"):
        raise HdbenchError("The Ray cluster has no GPU; add a node that has one, or say --device cpu.")
    return max(1, int(resources.get("GPU" if device == "cuda" else "CPU", 1)))


@cache
def _installation() -> tuple[tuple[str, str], ...]:
    """What computes in this process: names and versions."""
    return (("Python", platform.python_version()), *((name, version(name)) for name in COMPUTING))


def _perform(work: bytes, installation: tuple[tuple[str, str], ...], path: tuple[str, ...]) -> bytes:
    """Run a pickled (function, unit) in a worker that is installed and imports as the driver; its result, pickled.

    As bytes both pass through Ray as they are: what it takes apart itself comes back as read-only arrays.
    """
    from ray import cloudpickle

    for (name, theirs), (_, ours) in zip(installation, _installation(), strict=True):
        if theirs != ours:
            raise HdbenchError(
                f"The Ray worker on {socket.gethostname()} has {name} {ours}, the driver {theirs}; "
                "give all nodes the same installation."
            )
    keep_freed_memory()
    sys.path.extend(place for place in path if place not in sys.path)
    function, unit = cloudpickle.loads(work)
    result: bytes = cloudpickle.dumps(function(unit))
    give_back_freed_memory()  # the node is not ours
    return result


def _outcome(ray: Any, reference: Any) -> Any:
    """The result of a finished unit, or its own error raised."""
    try:
        return ray.cloudpickle.loads(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        raise HdbenchError(
            f"A unit of work was lost {RETRIES + 1} times with its Ray worker ({reason[:300]}); the same command goes "
            "on from here, on nodes with more memory if that was the reason."
        ) from error
