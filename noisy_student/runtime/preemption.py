"""SIGTERM, by which clusters announce that they take a machine away."""

import signal
import threading
from types import FrameType, TracebackType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command again goes on


class Listener:
    """Notes a SIGTERM instead of dying of it; a second one ends the process as usual.

    A context manager. Python takes signals in its main thread only; in others nothing is noted.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self) -> "Listener":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGTERM, self._before)
