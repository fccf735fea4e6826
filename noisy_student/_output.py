"""Standard output that may be cut off or full, and that may lack letters."""

import contextlib
import io
import os
import select
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def lenient_output() -> Iterator[None]:
    """Exits without a traceback where the reader of the output, such as head, has left.

    Characters that the output cannot encode are escaped. A full disk is one line.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            _flush()
    except BrokenPipeError:
        closed = select.poll()
        closed.register(sys.stdout, 0)
        if not closed.poll(0):  # another pipe broke
            raise
        _discard()
        sys.exit(1)


def _flush() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard()
        print(f"error: standard output: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _discard() -> None:
    """Lets what Python still writes at its end go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
