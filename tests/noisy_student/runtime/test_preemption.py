import os
import signal

import pytest

from noisy_student.runtime import preemption


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


def test_handlers_come_back_without_a_signal():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with preemption.Listener() as signals:
        pass
    assert not signals.requested
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
