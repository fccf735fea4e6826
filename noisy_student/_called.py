"""Packages of stages that can be called, so that `noisy_student.evaluate` is both.

It stays the package that commands and imports name, and is the function of `noisy_student.api` as
well. The function is looked up when it is called: a stage imports nothing above it.
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
