"""Hides the log messages that TensorFlow prints on import, and lets GPU memory grow.

TensorFlow prints them before it reads its log level. All other lines are passed on; with
``TF_CPP_MIN_LOG_LEVEL=0`` in the environment nothing is hidden.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from types import ModuleType

_NOTICE = re.compile(rb"WARNING: All log messages before absl|I0000 |.*rebuild TensorFlow with")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds tensorflow as usual and wraps its import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the usual spec of tensorflow with a quiet loader; None for other modules."""
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def quiet(module: ModuleType) -> None:
                _without_notices(load, module)

            spec.loader.exec_module = quiet  # type: ignore[method-assign]
        return spec


def _without_notices(load: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Imports a module, and filters its log messages out of file descriptor 2."""
    try:
        terminal = os.dup(2)
    except OSError:  # a process without standard error
        return load(module)
    sys.stderr.flush()
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            load(module)
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            written.seek(0)
            for line in written:
                if not _NOTICE.match(line):
                    os.write(2, line)


def install() -> None:
    """Sets defaults for the environment of TensorFlow and Keras; quiets the import."""
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    has_gpu = os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/dxg")
    # Without a GPU TensorFlow complains of that at level 2.
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu else "3")
    if level != "0" and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _Finder())
