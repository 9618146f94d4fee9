import signal
import threading

import pytest

from hdbench.interrupts import interrupts_deferred


def swallow() -> None:
    """What a module does that takes an interrupt for a failed import."""
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        return


def test_an_interrupt_comes_after_the_block():
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        swallow()


def test_without_an_interrupt_nothing_changes():
    before = signal.getsignal(signal.SIGINT)
    with interrupts_deferred():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_errors_pass():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ImportError), interrupts_deferred():
        raise ImportError
    assert signal.getsignal(signal.SIGINT) is before


def test_whoever_ignores_interrupts_goes_on_doing_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_works_in_any_thread():
    entered = []

    def enter() -> None:
        with interrupts_deferred():
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]
