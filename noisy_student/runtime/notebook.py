"""Tells the output of a notebook's cell, which rewrites a line as a terminal does, from a file."""

import sys
from typing import TextIO


def is_notebook(stream: TextIO) -> bool:
    """Returns True for the output of a notebook's cell."""
    return type(stream).__module__.startswith("ipykernel.")


def hides_bars() -> bool | None:
    """Returns the argument `disable` of tqdm: bars are for terminals (None) and notebooks."""
    return False if is_notebook(sys.stderr) else None
