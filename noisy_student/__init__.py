"""Noisy Student Training (Xie, Luong, Hovy, Le, CVPR 2020): the method, stage by stage.

    import noisy_student as ns

    data = ns.Data.from_folders("photos/labeled", unlabeled="photos/unlabeled")
    run = ns.fit(data, recipe="folder", workdir="runs/photos")

The names below are those of `noisy_student.api`, imported on first use; this import does not need
TensorFlow.
"""

import importlib
from typing import Any

from noisy_student import _called, _startup

__version__ = "0.1.0"
__all__ = ["Data", "Run", "evaluate", "fit", "load", "pseudo_label", "select"]
_startup.install()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _called.NAMES:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module("noisy_student.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
