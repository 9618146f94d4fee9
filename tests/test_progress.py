import io
import re

import pytest
from rich.console import Console

from hdbench import progress as progress_module
from hdbench.cli_options import choose_progress
from hdbench.progress import PlainProgress, Progress, RichProgress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress_module.time, "monotonic", clock)
    return clock


def test_silence(capsys):
    with Progress().task("work", 3) as task:
        task.advance(3, note="a note")
    Progress().say("nothing")
    assert capsys.readouterr() == ("", "")


class TestPlain:
    def test_short_work_says_nothing(self, clock, capsys):
        with PlainProgress().task("work", 10) as task:
            for _ in range(10):
                clock.now += 0.1
                task.advance()
        assert capsys.readouterr() == ("", "")

    def test_long_work_says_how_far_and_how_long(self, clock, capsys):
        with PlainProgress(interval=15).task("work", 100) as task:
            for _ in range(100):
                clock.now += 1
                task.advance(note="loss 0.5")
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.splitlines() == [
            "work: 2/100, 1 min 38 s left, loss 0.5",
            *(f"work: {done}/100, {_left(100 - done)} left, loss 0.5" for done in (17, 32, 47, 62, 77, 92)),
            "work: done in 1 min 40 s",
        ]

    def test_time_left_does_not_count_what_an_earlier_run_did(self, clock, capsys):
        with PlainProgress().task("work", 100, done=90) as task:
            clock.now += 4
            task.advance(2)
        assert capsys.readouterr().err.splitlines()[0] == "work: 92/100, 16 s left"

    def test_interrupted_work_is_not_done(self, clock, capsys):
        def interrupted():
            with PlainProgress().task("work", 100) as task:
                clock.now += 5
                task.advance()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert "done" not in capsys.readouterr().err


class TestRich:
    @pytest.fixture
    def bars(self):
        bars = RichProgress()
        bars.console = Console(file=io.StringIO(), force_terminal=True, width=100)
        return bars

    def test_shows_steps_and_note(self, bars):
        with bars.task("fit [1]", 4, done=1) as task:
            task.advance(2, note="[loss]")
        shown = text(bars)
        assert "fit [1]" in shown
        assert "3/4" in shown
        assert "[loss]" in shown

    def test_a_task_within_a_task(self, bars):
        with bars.task("outer", 2) as outer:
            for _ in range(2):
                with bars.task("inner", 5) as inner:
                    inner.advance(5)
                    bars.say("between")
                outer.advance()
        shown = text(bars)
        assert "inner" in shown
        assert "between" in shown
        assert "2/2" in shown

    def test_one_task_after_another(self, bars):
        for name in ("first", "second"):
            with bars.task(name, 1) as task:
                task.advance()
        assert "second" in text(bars)

    def test_is_given_back_after_an_error(self, bars):
        def failing():
            with bars.task("failing", 1):
                raise ValueError

        with pytest.raises(ValueError):
            failing()
        with bars.task("next", 1) as task:
            task.advance()
        assert "next" in text(bars)


@pytest.mark.parametrize(("quiet", "terminal", "kind"), [(True, True, Progress), (False, True, RichProgress),
                                                         (False, False, PlainProgress)])  # fmt: skip
def test_choice(quiet, terminal, kind, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert type(choose_progress(quiet=quiet)) is kind


def text(bars: RichProgress) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", bars.console.file.getvalue())


def _left(seconds: int) -> str:
    return f"1 min {seconds - 60:02d} s" if seconds >= 60 else f"{seconds} s"
