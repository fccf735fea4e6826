"""Atomic writes, checked reads and hashes of the files that stages hand each other.

A JSON object contains a checksum of its content, so that later changes are detected on reading; a
file without one is read unchecked.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from noisy_student.artifacts import shapes

StrPath = str | os.PathLike[str]
_CHECKSUM = "checksum"
# Names of unfinished files, here, in `data.record_schema`, `data.sources.splits` and
# `efficientnet.archive`: host and process that write them.
_TEMPORARY = re.compile(r"\..+\.tmp-(?P<host>.*)-(?P<process>\d+)(\.keras)?")


def write_json(path: StrPath, value: Any) -> None:
    """Writes JSON atomically, with sorted keys; an object also gets its checksum."""
    if isinstance(value, dict):
        value = json.loads(json.dumps(value))  # keys as they will be read
        value[_CHECKSUM] = _checksum(value)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: StrPath, kind: Any = None) -> Any:
    """Reads a JSON file and checks it; the checksum is left out.

    `kind` is the type of its content, see `shapes.problem`; None: not checked.

    Raises:
        ValueError: the file is missing, is not valid JSON, was altered, or has another shape; the
            message names it and says what to delete.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise damaged(path, "is missing") from None
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"is not valid JSON ({error})") from None
    if isinstance(content, dict) and _CHECKSUM in content:
        stored = content.pop(_CHECKSUM)
        if stored != _checksum(content):
            raise damaged(path, f"was changed after it was written: its {_CHECKSUM} differs")
    if kind is not None and (problem := shapes.problem(content, kind)):
        raise damaged(path, f"is damaged or from another version: {problem}")
    return content


def damaged(path: StrPath, problem: str) -> ValueError:
    """Returns the error for a file of a run that cannot be used, with the way out."""
    path = Path(path)
    in_stage = any((path.parent / name).exists() for name in ("stage.json", "done.json"))
    target = f"{path.parent} (the stage's result)" if in_stage else "it"
    return ValueError(
        f"{path} {problem}. Restore it, or delete {target} and run the same command again."
    )


def write_arrays(path: StrPath, **arrays: Any) -> None:
    """Writes named NumPy arrays (``.npz``) atomically."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_arrays(path: StrPath, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Reads those arrays of an ``.npz`` file whose shapes begin as given.

    Raises:
        ValueError: the file is damaged, or has other arrays; the message names it.
    """
    try:
        with open(path, "rb") as opened, np.load(opened) as file:
            arrays = {name: file[name] for name in shapes}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise damaged(path, f"is damaged ({error})") from None
    for name, array in arrays.items():
        if array.shape[: len(shapes[name])] != shapes[name]:
            raise damaged(path, f"has {name} of shape {array.shape}, not {shapes[name]}")
    return arrays


def copy_file(source: StrPath, target: StrPath) -> None:
    """Copies a file atomically."""
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def atomic_write(path: StrPath) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` if the block succeeds.

    Readers see either the complete file or the one before it. Missing folders are created. A killed
    process leaves its temporary file behind: beside `path`, hidden, with host and process id at the
    end, for `remove_leftovers`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{platform.node()}-{os.getpid()}")
    try:
        with named(path):
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: StrPath) -> Iterator[None]:
    """Adds the file to errors of the disk that name none, as those of writing do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def remove_leftovers(directory: StrPath) -> list[Path]:
    """Removes unfinished files of processes of this host that have ended; returns their paths."""
    removed = []
    for folder, _, names in os.walk(directory):
        for match in filter(None, map(_TEMPORARY.fullmatch, names)):
            if match["host"] == platform.node() and not is_running(int(match["process"])):
                removed.append(Path(folder) / match.string)
                removed[-1].unlink(missing_ok=True)
    return removed


def is_running(process: int) -> bool:
    """Returns True if this host has a process of that id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no id at all
        return True
    return True


def file_hash(path: StrPath) -> str:
    """Returns the first 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def files_hash(paths: Iterable[StrPath]) -> str:
    """Returns 16 hexadecimal digits that identify the contents of several files in their order."""
    hashes = "".join(map(file_hash, paths))
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def _checksum(content: dict[str, Any]) -> str:
    """Returns the CRC-32C of a JSON object, in 8 hexadecimal digits."""
    return f"{google_crc32c.value(json.dumps(content, sort_keys=True).encode()):08x}"
