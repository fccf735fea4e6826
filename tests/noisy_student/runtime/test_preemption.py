import os
import signal

import pytest

from noisy_student.runtime import preemption


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C as in a terminal; background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "name", "exit_code"),
    [(signal.SIGTERM, "SIGTERM", 75), (signal.SIGINT, "Ctrl-C", 130)],
)
def test_a_signal_is_noted_once(number, name, exit_code):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with preemption.Listener() as signals:
        assert not signals.requested
        os.kill(os.getpid(), number)
        assert signals.requested
        assert (signals.name, signals.exit_code) == (name, exit_code)
        # A second signal has its usual effect.
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_background_jobs_go_on_ignoring_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with preemption.Listener() as signals:
        os.kill(os.getpid(), signal.SIGINT)
    assert not signals.requested


def test_handlers_come_back_without_a_signal():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with preemption.Listener() as signals:
        pass
    assert not signals.requested
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
