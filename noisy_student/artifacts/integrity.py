"""Sizes and checksums of the output files of finished stages, verified before use.

`done.json` lists them. CRC-32C with the size finds damage and exchanged files, not forgery; it
costs a fraction of reading from a disk. A file is read once in a process; `--verify=size` compares
sizes alone.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import google_crc32c
from absl import logging

from noisy_student.artifacts.files import StrPath, damaged, read_json
from noisy_student.config import process

DONE = "done.json"
_SHARD = re.compile(r".*\.(tfrecord|parquet|npy)|train-0-.*")  # names that a consumer reads
_CHUNK = 2**22  # bytes in memory at once
_known: dict[tuple[Any, ...], str] = {}  # of the files that this process has read
_unverified: set[Path] = set()  # directories that were named


class Digest(TypedDict):
    """An output file of a stage."""

    bytes: int
    crc32c: str  # 8 hexadecimal digits


def digests(directory: Path, names: Iterable[str]) -> dict[str, Digest]:
    """Returns the digest of each named file of a directory."""
    paths = {name: directory / name for name in names}
    return {n: {"bytes": path.stat().st_size, "crc32c": crc32c(path)} for n, path in paths.items()}


def crc32c(path: Path) -> str:
    """Returns the CRC-32C of a file, which is read once in a process unless it changes."""
    stat = os.stat(path)
    key = (path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key not in _known:
        checksum = google_crc32c.Checksum()
        with open(path, "rb") as file:
            for _ in checksum.consume(file, _CHUNK):
                pass
        _known[key] = checksum.digest().hex()
    return _known[key]


def check(directory: Path, done: Mapping[str, Any], full: bool = True) -> None:
    """Refuses a finished stage whose files are not those that its `done.json` lists.

    Warns once of a stage that is older than the digests. Compares checksums, too, if `full`, unless
    `--verify=size`.

    Raises:
        ValueError: a file is missing, altered or new among its shards; the message names it.
    """
    files: Mapping[str, Digest] | None = done.get("files")
    if files is None:
        if directory.resolve() not in _unverified:
            _unverified.add(directory.resolve())
            logging.warning(
                "%s was written by a version without checksums: its files are not verified",
                directory,
            )
        return
    for path in sorted(directory.iterdir()):
        if _SHARD.fullmatch(path.name) and path.name not in files:
            raise damaged(path, "is not among the files of its finished stage")
    check_files(directory, files, full)


def check_files(directory: Path, files: Mapping[str, Digest], full: bool = True) -> None:
    """Refuses files of a directory that differ from their digests, see `check`."""
    for name, digest in files.items():
        _check(directory / name, digest, full)


def predictions(directory: Path, name: str) -> dict[str, dict[str, Digest]]:
    """Returns the field of a result file that names the file of its predictions, if there is one.

    `name` is relative to `directory`, that of the result file.
    """
    return {"files": digests(directory, [name])} if (directory / name).exists() else {}


def check_output(path: StrPath) -> None:
    """Refuses a file that is not the one with which the stage in its directory finished.

    A file of no finished stage, or that its stage does not hand on, is accepted.

    Raises:
        ValueError: see `check`.
    """
    path = Path(path)
    if path.exists() and (done := path.parent / DONE).exists():
        files = read_json(done, dict[str, Any]).get("files") or {}
        if path.name in files:
            _check(path, files[path.name])


def _check(path: Path, digest: Digest, full: bool = True) -> None:
    if not path.is_file():
        raise damaged(path, "is missing, although its stage is finished")
    if (size := path.stat().st_size) != digest["bytes"]:
        raise damaged(path, f"has {size} bytes instead of {digest['bytes']}")
    if full and process.verify == "full" and crc32c(path) != digest["crc32c"]:
        raise damaged(path, "was changed after its stage finished: its checksum differs")
