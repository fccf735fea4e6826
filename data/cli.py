"""Shared code of the commands in this package: --help, one-line errors, reading an image."""

import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import app, flags
from PIL import Image


def run(main: Callable[[], None]) -> None:
    """Parses the flags and calls `main`.

    Prints a ValueError of `main` as one line and exits with 2. --help prints the main module's
    docstring and flags and exits with 0, where absl would exit with 1.
    """
    if "--help" in sys.argv[1:]:
        print(f"{sys.modules['__main__'].__doc__}\n{flags.FLAGS.main_module_help()}")
        sys.exit(0)

    def guarded(argv: list[str]) -> None:
        try:
            if len(argv) > 1:
                raise ValueError(f"unknown argument {argv[1]}: flags are written --name=value.")
            check({name: flags.FLAGS[name].value for name in flags.FLAGS if name != "data_dir"})
            main()
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    app.run(guarded)


def check(values: Mapping[str, Any]) -> None:
    """Raises ValueError for a value that is not finite, or for a URL in place of a local path."""
    for name, value in values.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"--{name}={item}: must be a finite number.")
            if isinstance(item, str) and "://" in item:
                raise ValueError(f"--{name}={item}: URLs are not supported; give a local path.")


def read_picture(path: str | os.PathLike[str], longer_side: int | None = None) -> np.ndarray:
    """Reads an image to draw.

    Args:
        path: image in any format that Pillow reads.
        longer_side: in pixels; larger images are scaled down to it. None: unchanged.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        ValueError: the file is missing or not an image; the message names it.
    """
    try:
        with Image.open(path) as stored:
            if longer_side is not None:
                stored.thumbnail((longer_side, longer_side))
            return np.asarray(stored.convert("RGB"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read as an image: {error}.") from None
