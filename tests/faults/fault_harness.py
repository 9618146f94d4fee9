"""What the tests of faults share: a cheap command, the bits it must end with, and how it is killed at random moments.

The command is a smoke run of two methods and one control: every stage takes part, a minute in all. The bits are those
of every file in the store and in the run's folder, times taken and memory used left out.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from hdbench.store import MANIFEST, file_digest

SMOKE = ("run", "--category", "chair", "--preset", "smoke", "--limit", "12", "--count", "4", "--train")
SMOKE += ("--methods", "hyperdiffusion,dpc,held-out", "--quiet")
RUN = (*SMOKE, "--out", "run", "--log-file", "log.jsonl")
ON = {"local": RUN, "ray": (*RUN, "--engine", "ray")}
"""By engine. The command is recorded in the results: only the very same finds its report again."""
OF_ONE_COMMAND = frozenset({"fit_s", "sample_s_per_shape", "peak_memory_bytes", "seconds", "timeline", "provenance"})
"""Keys in JSON files whose values no two commands share."""
TOKEN = "HDBENCH_TEST_FAULTS"
"""The environment variable by which the processes of one attempt are known, wherever they went."""
PATIENCE_S = 1200.0
ENDING_S = 300.0
"""How long what a killed command started may take to end by itself: seconds, but for where much else runs."""
FINISHING_S = 0.5
"""How long after its last stage a run may be struck."""
STARTING, FINISHING = "starting", "finishing"
"""Before the first stage is done, and after the last one."""
ORDER = (STARTING, "prepare", "fields", "model", "samples", "scores", "other-scores", "report", FINISHING)

INTERRUPTED = "hdbench: interrupted; nothing finished is lost, the same command goes on from here."


@dataclass(frozen=True)
class Home:
    """A folder with a store, and a run in it."""

    folder: Path

    @property
    def store(self) -> Path:
        """The store."""
        return self.folder / "store"

    @property
    def run(self) -> Path:
        """What `RUN` writes."""
        return self.folder / "run"

    @property
    def log(self) -> Path:
        """The log of the last attempt."""
        return self.folder / "log.jsonl"

    def environment(self, token: str = "") -> dict[str, str]:
        """Of a command: no commit in its results, as a change of this repository in between would change them."""
        kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        own = {"HDBENCH_STORE": str(self.store), "GIT_DIR": os.devnull, TOKEN: token}
        return {**kept, **own, "RAY_worker_niceness": "0"}  # else what else runs decides how long a test takes

    def command(self, *arguments: str) -> list[str]:
        """`hdbench` with these arguments."""
        return [sys.executable, "-m", "hdbench", *arguments]

    def hdbench(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command here to its end."""
        settings = {"cwd": self.folder, "env": self.environment(), "timeout": PATIENCE_S, **options}
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, **settings)

    def finished_stages(self) -> list[tuple[str, str, float]]:
        """Stage, key and time of all that the log calls done, in this order."""
        if not self.log.exists():
            return []
        lines = []
        for text in self.log.read_text(encoding="utf-8").splitlines(keepends=True):
            if text.endswith("\n"):  # a kill may have cut the last one
                lines.append(json.loads(text))
        done = [line for line in lines if line["event"] == "stage" and line["outcome"] == "done"]
        return [(line["stage"], line["key"], _seconds(line["time"])) for line in done]


def _seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()


def bits(folder: Path) -> dict[str, str]:
    """What each file below `folder` holds, without what was measured; not of reports and manifests, which repeat it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(("report.", ".lock")):
            found[name] = _content(path)
    return found


def _content(path: Path) -> str:
    if path.suffix != ".json":
        return file_digest(path)
    held = _shared(json.loads(path.read_text(encoding="utf-8")))
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def _shared(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shared(held) for name, held in value.items() if name not in OF_ONE_COMMAND}
    return [_shared(held) for held in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Reference:
    """An undisturbed run."""

    artefacts: dict[str, str]
    run: dict[str, str]
    stages: tuple[tuple[str, str, float], ...]
    """Stage, key, and seconds since the one before was done."""
    duration: float

    @classmethod
    def of(cls, home: Home, *, engine: str) -> "Reference":
        """Run undisturbed in `home`, which is empty."""
        start = time.time()
        done = home.hdbench(*ON[engine])
        assert done.returncode == 0, done.stderr
        ends = home.finished_stages()
        gaps = [end - before for (*_, before), (*_, end) in pairwise([("", "", start), *ends])]
        stages = tuple((stage, key, gap) for (stage, key, _), gap in zip(ends, gaps, strict=True))
        return cls(bits(home.store / "artefacts"), bits(home.run), stages, time.time() - start)

    def reached(self, home: Home) -> int:
        """How many of `stages` the last command in `home` has got past.

        One within another (fields, within a model) is not asked for where that one is found; keys of reports differ.
        """
        names = [(stage, "" if stage == "report" else key) for stage, key, _ in self.stages]
        done = {(stage, "" if stage == "report" else key) for stage, key, _ in home.finished_stages()}
        return max((index + 1 for index, name in enumerate(names) if name in done), default=0)

    def refuse_wrong(self, home: Home) -> None:
        """Fail unless every artefact in the store of `home`, and every file of its run, is whole and right."""
        for folder in home.store.glob("artefacts/*/*"):
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            held = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST}
            assert held == set(manifest["files"]), folder
            for name, entry in manifest["files"].items():
                assert file_digest(folder / name) == entry["sha256"], folder / name
        here = {name: held for name, held in bits(home.store / "artefacts").items() if not name.startswith("report/")}
        assert here.items() <= self.artefacts.items()
        shown = {name: held for name, held in bits(home.run).items() if ".tmp" not in name}
        assert shown.items() <= self.run.items()
        for drawn in home.run.glob("samples/*"):  # what is there is all there
            mine = f"samples/{drawn.name}/"
            assert {n for n in shown if n.startswith(mine)} == {n for n in self.run if n.startswith(mine)}

    def refuse_unfinished(self, home: Home) -> None:
        """Fail unless the run in `home` ended as this one, and left nothing behind."""
        self.refuse_wrong(home)
        here = bits(home.store / "artefacts")
        unreported = {name for name in self.artefacts if not name.startswith("report/")}
        assert {name for name in here if not name.startswith("report/")} == unreported
        assert bits(home.run) == self.run
        assert (home.run / "report.html").is_file()
        assert not [path for path in home.folder.rglob("*") if path.name.endswith(".tmp")]
        assert not [*home.store.glob("workspaces/*/*")]


@dataclass(frozen=True)
class Kill:
    """One kill, and what it met."""

    engine: str
    signal: str
    whom: str
    stage: str
    """In hand, or next: the first that the log does not call done."""


@dataclass
class Tally:
    """Everything the harness did, for the tables of docs/reliability.md."""

    kills: list[Kill] = field(default_factory=list)
    finished: Counter[str] = field(default_factory=Counter)
    """Runs that were killed again and again and then ended, by engine."""
    others: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Other faults, and what followed."""

    def lines(self) -> Iterator[str]:
        """The tables."""
        if self.kills:
            stages = sorted({kill.stage for kill in self.kills}, key=ORDER.index)
            yield f"| engine | signal | to | {' | '.join(stages)} | all |"
            yield f"| --- | --- | --- |{' ---: |' * (len(stages) + 1)}"
            for row in dict.fromkeys(sorted((kill.engine, kill.signal, kill.whom) for kill in self.kills)):
                mine = [kill for kill in self.kills if (kill.engine, kill.signal, kill.whom) == row]
                counts = Counter(kill.stage for kill in mine)
                yield f"| {' | '.join(row)} | {' | '.join(str(counts[stage]) for stage in stages)} | {len(mine)} |"
            counts = Counter(kill.stage for kill in self.kills)
            yield f"| all | | | {' | '.join(str(counts[stage]) for stage in stages)} | {len(self.kills)} |"
            yield ""
            ended = ", ".join(f"{count} {engine}" for engine, count in self.finished.items())
            yield f"Killed runs that were then let end, all with the bits of the undisturbed one: {ended}."
            yield ""
        if self.others:
            yield "| fault | times | what followed |"
            yield "| --- | ---: | --- |"
            for (fault, outcome), count in sorted(self.others.items()):
                yield f"| {fault} | {count} | {outcome} |"


TALLY = Tally()


@dataclass(frozen=True)
class Attack:
    """How a process is killed: the signal, and whether its whole group gets it (as a terminal does) or it alone."""

    signal: signal.Signals
    whom: str

    def strike(self, process: "subprocess.Popen[Any]") -> None:
        """Do it."""
        if self.whom == "group":
            os.killpg(process.pid, self.signal)
        else:
            process.send_signal(self.signal)


ATTACKS = tuple(
    Attack(getattr(signal, name), whom)
    for name in ("SIGKILL", "SIGTERM", "SIGINT")
    for whom in ("group", "process")
    if hasattr(signal, name)  # Windows collects these tests, and skips them
)


def processes_of(token: str, called: str = "") -> list[int]:
    """Processes that are alive, belong to one attempt and have `called` in their command line."""
    marker = f"{TOKEN}={token}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                belongs = marker in (entry / "environ").read_bytes().split(b"\0")
                named = called.encode() in (entry / "cmdline").read_bytes()
                alive = b") Z " not in (entry / "stat").read_bytes()
            except OSError:  # gone meanwhile
                continue
            if belongs and named and alive:
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], Any], *, seconds: float = PATIENCE_S, pause: float = 0.01) -> None:
    """Wait for `condition`; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(pause)


@dataclass
class Attempt:
    """A command that is running, in a session and a log of its own."""

    home: Home
    arguments: Sequence[str]

    def __post_init__(self) -> None:
        self.token = uuid.uuid4().hex
        self.home.log.unlink(missing_ok=True)
        self.complaints = self.home.folder / "complaints.txt"
        with self.complaints.open("wb") as stream:
            self.process = subprocess.Popen(
                self.home.command(*self.arguments),
                cwd=self.home.folder,
                env=self.home.environment(self.token),
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )

    @property
    def has_ended(self) -> bool:
        """Whether the command itself has."""
        return self.process.poll() is not None

    def end(self) -> int:
        """Wait for the process and for all it started; its exit code."""
        code = self.process.wait(timeout=PATIENCE_S)
        wait_until(lambda: not processes_of(self.token), seconds=ENDING_S, pause=0.1)
        return code

    @property
    def said(self) -> str:
        """Standard error."""
        return self.complaints.read_text(encoding="utf-8", errors="replace").strip()

    @property
    def said_itself(self) -> str:
        """The same without what Python's own helper says of a pool whose owner was killed."""
        return "\n".join(line for line in self.said.splitlines() if "resource_tracker: There appear" not in line)


def kill_again_and_again(
    home: Home, reference: Reference, *, engine: str, seed: int, attacks: Sequence[Attack] = ATTACKS
) -> None:
    """Kill one run once in every stage, each time going on from what the last kill left, then let it end.

    Each kill comes at a random moment between the end of the stage before and a little after the usual end of its own.
    After each the store must hold nothing but whole and right artefacts, and at the end what the reference holds.
    """
    moments = random.Random(f"{engine} {seed}")
    lengths = [*(gap for *_, gap in reference.stages), FINISHING_S]
    for place, length in enumerate(lengths):
        attempt = Attempt(home, ON[engine])
        attack = moments.choice(attacks)
        wait_until(lambda attempt=attempt, place=place: attempt.has_ended or reference.reached(home) >= place)
        time.sleep(moments.uniform(0.0, 1.1 * length))
        if attempt.has_ended:  # before it was struck
            assert attempt.end() == 0, attempt.said
            continue
        attack.strike(attempt.process)
        code, reached = attempt.end(), reference.reached(home)
        _refuse_noise(attempt, attack, code, has_finished=reached == len(reference.stages))
        reference.refuse_wrong(home)
        if code:
            stages = [*(stage for stage, *_ in reference.stages), FINISHING]
            stage = stages[reached] if home.finished_stages() or place else STARTING
            TALLY.kills.append(Kill(engine, attack.signal.name, attack.whom, stage))
    last = home.hdbench(*ON[engine])
    assert last.returncode == 0, last.stderr
    reference.refuse_unfinished(home)
    TALLY.finished[engine] += 1


def _refuse_noise(attempt: Attempt, attack: Attack, code: int, *, has_finished: bool) -> None:
    """Fail unless the command ended as the signal demands: at once and in silence, or after Ctrl-C in one line.

    Python may then still end itself by the signal, which shells take for the same 130. A command that has finished may
    end as if nothing had been, or while Python takes itself down.
    """
    line = INTERRUPTED if attack.signal == signal.SIGINT else ""
    expected = {(-attack.signal, line), (130 if line else -attack.signal, line)}
    if has_finished:
        expected |= {(0, ""), (-attack.signal, "")}
    said = attempt.said if attack.signal == signal.SIGINT else attempt.said_itself
    assert (code, said) in expected, f"{attack} after {attempt.home.finished_stages()[-1:]}"
