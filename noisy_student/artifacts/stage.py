"""What a stage directory says of itself: what it was asked for, and that it is finished.

A stage writes ``stage.json`` (its resolved request) first and ``done.json`` last, both atomically.
A rerun with the same request skips a finished stage and resumes or restarts a half-finished one;
a rerun with another request is refused with the difference shown, so that nothing is ever mixed.
"""

import json
import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import noisy_student
from noisy_student.artifacts.files import read_json, write_json

STAGE = "stage.json"
DONE = "done.json"


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    packages = ("tensorflow", "keras", "numpy")
    return {
        "python": platform.python_version(),
        "noisy_student": noisy_student.__version__,
        **{name: metadata.version(name) for name in packages},
    }


def read_done(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a stage's ``done.json``; ValueError where the stage is not finished."""
    path = Path(directory) / DONE
    if not path.exists():
        raise ValueError(f"{directory} has no {DONE}: not finished")
    return read_json(path)


def begin(
    directory: str | os.PathLike[str], request: Mapping[str, Any], write: bool = True
) -> dict[str, Any] | None:
    """Opens a stage directory for ``request`` (JSON-like values).

    Args:
        directory: of the stage.
        request: what decides its result.
        write: False on hosts that leave writing to another one.

    Returns:
        The content of ``done.json`` where the stage is already finished, else None.

    Raises:
        ValueError: where the directory holds the same stage made to another request.
    """
    directory = Path(directory)
    request = json.loads(json.dumps(request))
    stage = directory / STAGE
    begun = directory.exists() and any(path.name != STAGE for path in directory.iterdir())
    if stage.exists() and begun:
        difference = _difference(read_json(stage), request)
        if difference:
            raise ValueError(
                f"{directory} was made with other settings: {'; '.join(difference)}. "
                f"Use the old settings, choose another directory, or delete {directory}."
            )
    elif (directory / DONE).exists():
        raise ValueError(f"{directory} has {DONE} but no {STAGE}: delete it or choose another.")
    elif write:
        write_json(stage, request)
    done = directory / DONE
    return read_json(done) if done.exists() else None


class Stage:
    """A stage directory that `open_stage` opened for a request."""

    def __init__(self, directory: Path, request: Mapping[str, Any], done: dict[str, Any] | None):
        """Remembers when the work began; `done` is the content of ``done.json``, if any."""
        self.directory = directory
        self.request = request
        self.done = done
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the stage was opened."""
        return time.perf_counter() - self._start

    def finish(
        self,
        directory: str | os.PathLike[str] | None = None,
        seconds: float | None = None,
        **result: Any,
    ) -> dict[str, Any]:
        """Writes ``done.json``, the last file of a stage, and returns its content.

        Args:
            directory: receives the file in place of the stage's own (a scratch copy on hosts that
                are not the chief).
            seconds: work of all runs of the stage; None: since it was opened.
            **result: what else ``done.json`` records, such as hashes and counts.
        """
        spent = self.seconds if seconds is None else seconds
        return finish(directory or self.directory, self.request, spent, **result)


def open_stage(
    directory: str | os.PathLike[str], request: Mapping[str, Any], write: bool = True
) -> Stage:
    """Opens a stage directory for `request`; ``stage.done`` is set where it is finished already.

    Args:
        directory: of the stage.
        request: JSON-like values that decide its result.
        write: False on hosts that leave writing to the chief.

    Raises:
        ValueError: the directory holds the same stage made to another request.
    """
    return Stage(Path(directory), request, begin(directory, request, write))


def finish(
    directory: str | os.PathLike[str], request: Mapping[str, Any], seconds: float, **result: Any
) -> dict[str, Any]:
    """Declares a stage finished; the last thing it does."""
    done = {
        "request": request,
        "seconds": round(seconds, 2),
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **result,
    }
    write_json(Path(directory) / DONE, done)
    return done


def _difference(old: Any, new: Any, name: str = "") -> list[str]:
    """Lines ``name: old -> new`` for every leaf in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            path = f"{name}.{key}" if name else key
            lines += _difference(old.get(key), new.get(key), path)
        return lines
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]
