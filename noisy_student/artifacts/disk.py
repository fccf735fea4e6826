"""Checks of the disk before a command starts its work."""

import contextlib
import os
import shutil
from pathlib import Path

from absl import logging

from noisy_student.artifacts.files import StrPath
from noisy_student.config import schema

_GIGA = 1e9


def check_writable(flag: str, directory: StrPath) -> None:
    """Checks that a directory exists or can be made, and can be written.

    Raises:
        ValueError: it is a file, below a file, a URL, or not writable.
    """
    path = Path(directory).absolute()
    if ":" in "".join(Path(directory).parts[:1]):
        raise ValueError(f"--{flag}={directory} is a URL: give a local path.")
    existing = _existing(path)
    if not existing.is_dir():
        kind = "a broken link" if existing.is_symlink() else "a file"
        raise ValueError(f"--{flag}={directory}: {existing} is {kind}, not a directory.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(
            f"--{flag}={directory}: {existing} is not writable: change its permissions, or "
            "choose another directory."
        )


def check_apart(workdir: StrPath, data: schema.DataConfig) -> None:
    """Refuses a new run within folders of images, whose results would count as images.

    Raises:
        ValueError: names both options.
    """
    path = Path(workdir).resolve()
    if data.dataset != "folder" or (path / "splits.json").exists():
        return
    for name in ("labeled_dir", "unlabeled_dir", "validation_dir", "test_dir"):
        folder = getattr(data, name)
        if folder is not None and path.is_relative_to(Path(folder).resolve()):
            raise ValueError(
                f"--workdir={workdir} is inside --{name}={folder}, where its files would count as "
                "images: choose a directory elsewhere."
            )


def check_space(flag: str, directory: StrPath, least: float, expected: float) -> str:
    """Checks that a disk has room for what will be written to a directory.

    Args:
        flag: option that names the directory.
        directory: directory of a command.
        least: bytes of models and checkpoints, which will certainly be written.
        expected: estimated total bytes that will be written.

    Returns:
        The numbers as text.

    Raises:
        ValueError: the disk has less than `least`. Warns if it has less than `expected`.
    """
    free = shutil.disk_usage(_existing(Path(directory).absolute())).free
    text = (
        f"--{flag}={directory}: needs {_gigabytes(least)} for models and checkpoints, about "
        f"{_gigabytes(expected)} in total; {_gigabytes(free)} free"
    )
    if least > free:
        raise ValueError(f"{text}. Free some space, or choose another disk.")
    if expected > free:
        logging.warning(
            "%s. The disk may fill up; after freeing space, the same command continues.", text
        )
    return text


def size(path: StrPath) -> int:
    """Returns the bytes of all files below a directory; 0 if there is none."""
    return sum(
        os.lstat(os.path.join(folder, file)).st_size
        for folder, _, files in os.walk(path)
        for file in files
    )


def _existing(path: Path) -> Path:
    """Returns the path, or the nearest directory above it that exists."""
    for each in (path, *path.parents):
        with contextlib.suppress(PermissionError):  # of a directory that may not be searched
            if each.exists() or each.is_symlink():
                return each
    return Path(path.anchor)


def _gigabytes(count: float) -> str:
    return f"{count / _GIGA:.3g} GB"
