"""Finds the folders and files of the published robustness sets."""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

GROUPS = ("noise", "blur", "weather", "digital", "extra", "validation")
LABELS = "labels.npy"  # the classes of CIFAR-10-C, next to its arrays


def grouped_folders(root: str, known: Sequence[str]) -> tuple[dict[str, pathlib.Path], list[str]]:
    """Finds folders by name in `root` or in its group folders.

    Args:
        root: folder to search.
        known: names to look for.

    Returns:
        name -> folder in the order of `known`, and all other paths.

    Raises:
        ValueError: `root` does not exist, has none of the folders, or has one twice.
    """
    found: dict[str, pathlib.Path] = {}
    unknown = []
    top = list(visible(existing(root)))
    groups = [entry for entry in top if entry.is_dir() and entry.name in GROUPS]
    inside = [entry for group in groups for entry in visible(group)]
    for entry in [entry for entry in top if entry not in groups] + inside:
        if not entry.is_dir() or entry.name not in known:
            unknown.append(str(entry))
        elif entry.name in found:
            raise ValueError(f"{entry.name} exists twice: {found[entry.name]} and {entry}.")
        else:
            found[entry.name] = entry
    if not found:
        raise ValueError(f"{root} has none of the folders {', '.join(known)}.")
    return {name: found[name] for name in dict.fromkeys(known) if name in found}, unknown


def arrays(root: str, known: Sequence[str]) -> tuple[dict[str, pathlib.Path], list[str]]:
    """Finds the files NAME.npy in a folder.

    Args:
        root: folder to search.
        known: names to look for.

    Returns:
        name -> file in the order of `known`, and all other paths except labels.npy.

    Raises:
        ValueError: `root` does not exist or has none of the files.
    """
    entries = {entry.name: entry for entry in visible(existing(root))}
    names = [name for name in dict.fromkeys(known) if f"{name}.npy" in entries]
    found = {name: entries.pop(f"{name}.npy") for name in names}
    if not found:
        raise ValueError(f"{root} has no file NAME.npy with NAME one of {', '.join(known)}.")
    return found, [str(entry) for name, entry in entries.items() if name != LABELS]


def open_array(path: pathlib.Path, ndim: int, content: str) -> np.ndarray:
    """Maps an array file into memory.

    Args:
        path: the .npy file.
        ndim: required number of axes.
        content: description of the required content, for the error message.

    Raises:
        ValueError: the file is not a readable array or has another number of axes.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a readable array file ({error}).") from error
    if array.ndim != ndim:
        raise ValueError(f"{path} must hold {content}, got {list(array.shape)}.")
    return array


def existing(root: str) -> pathlib.Path:
    """Returns an existing folder as a path; raises a ValueError if it does not exist."""
    path = pathlib.Path(root).expanduser()
    if not path.is_dir():
        raise ValueError(f"Folder {path} does not exist.")
    return path


def visible(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Lists a folder's entries in sorted order without hidden ones."""
    return (entry for entry in sorted(folder.iterdir()) if not entry.name.startswith("."))
