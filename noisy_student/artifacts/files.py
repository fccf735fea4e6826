"""Atomic writes, reads and hashes of the files that stages hand each other."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

StrPath = str | os.PathLike[str]


def write_json(path: StrPath, value: Any) -> None:
    """Writes JSON atomically, with sorted keys."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: StrPath) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: the file is not valid JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}).") from None


def write_arrays(path: StrPath, **arrays: Any) -> None:
    """Writes named NumPy arrays (``.npz``) atomically."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def copy_file(source: StrPath, target: StrPath) -> None:
    """Copies a file atomically."""
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


@contextlib.contextmanager
def atomic_write(path: StrPath) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` if the block succeeds.

    Readers see either the complete file or the one before it. Missing folders are created. A killed
    process leaves its temporary file behind: beside `path`, hidden, with the process id at the end.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def file_hash(path: StrPath) -> str:
    """Returns the first 16 hexadecimal digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def files_hash(paths: Iterable[StrPath]) -> str:
    """Returns 16 hexadecimal digits that identify the contents of several files in their order."""
    hashes = "".join(map(file_hash, paths))
    return hashlib.sha256(hashes.encode()).hexdigest()[:16]
