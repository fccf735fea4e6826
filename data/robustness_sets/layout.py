"""What the published robustness sets have in common: how their folders and files are found."""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

GROUPS = ("noise", "blur", "weather", "digital", "extra", "validation")
LABELS = "labels.npy"  # CIFAR-10-C's classes, beside its arrays


def grouped_folders(root: str, known: Sequence[str]) -> tuple[dict[str, pathlib.Path], list[str]]:
    """The folders named in `known`, in its order, inside `root` or its groups; and other paths.

    Raises:
        ValueError: the folder does not exist, has none of them, or one twice.
    """
    found, unknown = {}, []
    top = list(visible(existing(root)))
    groups = [entry for entry in top if entry.is_dir() and entry.name in GROUPS]
    inside = [entry for group in groups for entry in visible(group)]
    for entry in [entry for entry in top if entry not in groups] + inside:
        if not entry.is_dir() or entry.name not in known:
            unknown.append(str(entry))
        elif entry.name in found:
            raise ValueError(f"{entry.name} is there twice: {found[entry.name]} and {entry}.")
        else:
            found[entry.name] = entry
    if not found:
        raise ValueError(f"{root} has none of the folders {', '.join(known)}.")
    return {name: found[name] for name in dict.fromkeys(known) if name in found}, unknown


def arrays(root: str, known: Sequence[str]) -> tuple[dict[str, pathlib.Path], list[str]]:
    """The files KNOWN.npy in `root`, in the order of `known`, and the other paths there.

    Raises:
        ValueError: the folder does not exist or has none of them.
    """
    entries = {entry.name: entry for entry in visible(existing(root))}
    found = {
        name: entries.pop(f"{name}.npy")
        for name in dict.fromkeys(known)
        if f"{name}.npy" in entries
    }
    if not found:
        raise ValueError(f"{root} has no file NAME.npy with NAME one of {', '.join(known)}.")
    return found, [str(entry) for name, entry in entries.items() if name != LABELS]


def open_array(path: pathlib.Path, ndim: int, what: str) -> np.ndarray:
    """Maps an array file into memory; ValueError naming it if it is none or has other axes."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a readable array file ({error}).") from error
    if array.ndim != ndim:
        raise ValueError(f"{path} must hold {what}, not {list(array.shape)}.")
    return array


def existing(root: str) -> pathlib.Path:
    """The folder as a path; ValueError if there is none."""
    path = pathlib.Path(root).expanduser()
    if not path.is_dir():
        raise ValueError(f"There is no folder {path}.")
    return path


def visible(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """What lies in a folder, by rising name; hidden entries left out."""
    return (entry for entry in sorted(folder.iterdir()) if not entry.name.startswith("."))
