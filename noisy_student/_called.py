"""Callable packages, so that `noisy_student.evaluate` is both a package and a function.

The package keeps its path for commands and imports, and calls the function of `noisy_student.api`.
The function is looked up when it is called, so that a stage imports nothing above it.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

NAMES = ("evaluate", "pseudo_label")


class StagePackage(ModuleType):
    """A package that can be called."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Calls the function of `noisy_student.api` that is named like the package."""
        return self._function(*arguments, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def _function(self) -> Callable[..., Any]:
        api = importlib.import_module("noisy_student.api")
        return getattr(api, self.__name__.rpartition(".")[2])


def make_callable(package: str) -> None:
    """Makes an imported package callable."""
    sys.modules[package].__class__ = StagePackage
