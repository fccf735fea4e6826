"""Signals that ask a process to stop: SIGTERM from clusters, SIGINT (Ctrl-C) from people."""

import signal
import threading
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command, run again, continues
INTERRUPTED = 128 + signal.SIGINT  # what shells report of Ctrl-C


class Listener:
    """Notes a first SIGTERM or Ctrl-C; a second one ends the process as usual.

    A context manager. Python delivers signals to its main thread: in others, nothing is noted.

    Attributes:
        received: the signal that was noted, if any.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    @property
    def requested(self) -> bool:
        """True once a signal was noted."""
        return self.received is not None

    @property
    def name(self) -> str:
        """Display name of the signal."""
        return "Ctrl-C" if self.received == signal.SIGINT else "SIGTERM"

    @property
    def exit_code(self) -> int:
        """Exit code of the process: 130 after Ctrl-C, else `EXIT_CODE`."""
        return INTERRUPTED if self.received == signal.SIGINT else EXIT_CODE

    def __enter__(self) -> "Listener":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:  # as in background jobs
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self.__exit__()
