"""Optional packages: each belongs to an installation extra and is imported on first use."""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

# Optional module -> the extra that installs it (pyproject.toml).
EXTRAS = {
    "av": "robustness",
    "cv2": "robustness",
    "keras_cv": "keras-cv",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "safetensors": "convert",
    "tensorflow_datasets": "tfds",
    "tf2onnx": "onnx",
    "torch_uncertainty_assets": "robustness",
}


def require(name: str) -> ModuleType:
    """Imports an optional module.

    Args:
        name: dotted name of a module in a package of `EXTRAS`.

    Raises:
        ValueError: the package is not installed; the message gives the command that installs it.
    """
    check(name)
    return importlib.import_module(name)


def check(*names: str) -> None:
    """Raises ValueError if an optional module is not installed, without importing it."""
    if reason := missing(*names):
        raise ValueError(reason)


def missing(*names: str) -> str | None:
    """Returns how to install the first optional module that is not installed, or None."""
    for name in names:
        package = name.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            extra = EXTRAS[package]
            return f"the package {package} is not installed: pip install 'noisy-student[{extra}]'"
    return None


class LazyModule:
    """An optional module that is imported when one of its attributes is first used."""

    def __init__(self, name: str):
        """Remembers the module's `name`; imports nothing."""
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(require(self._name), attribute)
        setattr(self, attribute, value)  # the next access finds it without this function
        return value
