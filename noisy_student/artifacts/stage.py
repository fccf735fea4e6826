"""A stage directory: begins with its request, ends with its result, and refuses other requests.

A stage writes `stage.json` (its request) first and `done.json` last, both atomically. A rerun with
the same request skips a finished stage, and resumes or restarts a half-finished one. A rerun with
another request is refused and shows the difference, so that results never mix.
"""

import functools
import json
import platform
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import noisy_student
from noisy_student.artifacts import integrity
from noisy_student.artifacts.files import StrPath, read_json, remove_leftovers, write_json
from noisy_student.artifacts.integrity import DONE
from noisy_student.artifacts.json_files import Done
from noisy_student.artifacts.lock import LOCK, lock
from noisy_student.config import option, schema

STAGE = "stage.json"
LATER = ("images", "network")  # keys of requests that stages of earlier versions lack


class Stage:
    """A stage directory, opened for a request by `open_stage`.

    Attributes:
        directory: of the stage.
        request: JSON-like values that decide the result.
        done: content of `done.json` if the stage is finished, else None.
    """

    def __init__(self, directory: Path, request: Mapping[str, Any], write: bool):
        """Begins or continues the stage, see `open_stage`."""
        self.directory = directory
        self.request: dict[str, Any] = json.loads(json.dumps(request))
        self._start = time.perf_counter()
        self.done: Done | None = self._begin(write)

    @property
    def seconds(self) -> float:
        """Seconds since the stage was opened."""
        return time.perf_counter() - self._start

    def locked(self, wanted: bool = True) -> AbstractContextManager[None]:
        """Holds the lock of the directory, see `lock.lock`."""
        return lock(self.directory, wanted)

    def finish(
        self,
        outputs: Iterable[StrPath],
        directory: StrPath | None = None,
        seconds: float | None = None,
        **result: Any,
    ) -> Done:
        """Writes `done.json`, the last file of a stage, and returns its content.

        Args:
            outputs: output files of the stage in the directory; those that exist are recorded.
            directory: receives the file in place of the stage's own (a scratch copy on hosts that
                are not the chief).
            seconds: work of all runs of the stage; None: since it was opened.
            **result: further fields of `json_files.Done`, such as hashes and counts.
        """
        folder = Path(directory or self.directory)
        names = [name for name in (Path(path).name for path in outputs) if (folder / name).exists()]
        done: Any = {
            "request": self.request,
            "seconds": round(self.seconds if seconds is None else seconds, 2),
            "versions": versions(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": integrity.digests(folder, names),
            **result,
        }
        write_json(folder / DONE, done)
        return done

    def _begin(self, write: bool) -> Done | None:
        stage, done = self.directory / STAGE, self.directory / DONE
        if write:
            remove_leftovers(self.directory)
        others = self.directory.exists() and any(
            path.name not in (STAGE, LOCK) for path in self.directory.iterdir()
        )
        if stage.exists() and others:
            self._refuse_others(read_json(stage, dict[str, Any]), stage)
        elif done.exists():
            raise ValueError(
                f"{self.directory} has {DONE} but no {STAGE}: delete it or choose another "
                "directory."
            )
        elif write:
            write_json(stage, self.request)
        return self._finished(done, write) if done.exists() else None

    def _finished(self, path: Path, full: bool) -> Done:
        done: Done = read_json(path, Done)
        self._refuse_others(done["request"], path)
        integrity.check(self.directory, done, full)
        return done

    def _refuse_others(self, request: dict[str, Any], path: Path) -> None:
        if difference := _difference(request, self.request):
            raise ValueError(
                f"{self.directory} was made with other settings ({path}): {'; '.join(difference)}. "
                f"Use the old settings, choose another directory, or delete {self.directory}."
            )


def open_stage(directory: StrPath, request: Mapping[str, Any], write: bool = True) -> Stage:
    """Opens a stage directory for `request`; `stage.done` is set if it is finished.

    Args:
        directory: of the stage; created if missing.
        request: JSON-like values that decide the result.
        write: False on hosts that leave writing to the chief.

    Raises:
        ValueError: the directory holds the result of another request, or a finished one whose
            files are not those that it finished with.
    """
    return Stage(Path(directory), request, write)


def read_done(directory: StrPath, needs: str = "request", checked: bool = True) -> Done:
    """Returns the content of a stage's `done.json`, for who uses its files.

    Args:
        directory: of the stage.
        needs: a field that it must have.
        checked: whether to check the files, see `integrity.check`.

    Raises:
        ValueError: the stage is not finished, or a file is not the one that it finished with.
    """
    path = Path(directory) / DONE
    if not path.exists():
        raise ValueError(f"{directory} has no {DONE}: the stage is not finished")
    done: Done = read_json(path, Done)
    if needs not in done:
        kind = done["request"].get("stage", "another stage")
        raise ValueError(f"{path} has no {needs}: {directory} is the result of {kind}.")
    if checked:
        integrity.check(path.parent, done)
    return done


def versions() -> dict[str, str]:
    """Returns the versions of Python, this package and the packages that decide the numbers."""
    packages = ("tensorflow", "keras", "numpy")
    return {
        "python": platform.python_version(),
        "noisy_student": noisy_student.__version__,
        **{name: metadata.version(name) for name in packages},
    }


def _difference(old: Any, new: Any, name: str = "") -> list[str]:
    """Returns a line `name: old -> new` for every leaf in which two JSON values differ.

    An option that the old one lacks, because it is newer, counts as its default. A missing digest
    of images or of a network counts as the same.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            path = f"{name}.{key}" if name else key
            if key in old or not (key in LATER or _is_default(key, new[key])):
                lines += _difference(old.get(key), new.get(key), path)
        return lines
    if name.endswith("frozen_blocks") and (old, new) == (0, -1):
        return []  # 0 stood for none before -1 did
    return [] if old == new else [f"{name}: {old!r} -> {new!r}"]


def _is_default(name: str, value: Any) -> bool:
    """Returns True if a value of a request is an option, or a group of them, at its default."""
    if isinstance(value, dict):
        return all(_is_default(*item) for item in value.items())
    return value in _defaults().get(name, ())


@functools.cache
def _defaults() -> dict[str, list[Any]]:
    """Returns the defaults of all options by the name of their field, as JSON values."""
    found: dict[str, list[Any]] = {}
    for group in schema.SETTINGS:
        for field, each in option.options_of(cast(type, group)).items():
            found.setdefault(field, []).append(json.loads(json.dumps(each.default)))
    return found
