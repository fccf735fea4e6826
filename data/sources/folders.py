"""Readers of image folders: class sub-folders of labeled images, and folders of unlabeled ones.

In a labeled folder, a file in a class that is no image, or an image in no class, is an error that
names it. In an unlabeled folder, such files are skipped and listed. Ignored are names that start
with a dot, what operating systems and network storages leave behind, and links to a folder that
they lie in. Names that look the same are the same: they count in Unicode's normal form C.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from absl import logging

from data.examples import UNKNOWN_LABEL, WHOLE_FILE, EncodedExamples
from data.sources import image_check

_SYSTEM = {  # in lower case
    *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "$recycle.bin"),
    *("__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found"),
    "system volume information",
}


def read_labeled(
    folder: str, class_names: Sequence[str] | None = None, prefix: str = "folder"
) -> EncodedExamples:
    """Reads a folder whose sub-folders are the classes.

    Args:
        folder: holds one subfolder per class, with images at any depth.
        class_names: known classes, to which sub-folders are matched by name; not all need be
            present. None: the sub-folders, sorted by name, are the classes.
        prefix: first part of the ids, as in "folder/cat/a.png".

    Returns:
        The images in the order of their ids.

    Raises:
        ValueError: names the folder or file, where a folder is missing or has no class, a class is
            unknown or has no image, or a file is not an image.
    """
    root = _existing(folder)
    folder_names = class_folders(root)
    if not folder_names:
        raise ValueError(f"{root} has no subfolders: images are expected as {root}/CLASS/IMAGE.")
    if marked := [name for name in folder_names if "\ufeff" in name]:
        raise ValueError(f"{root}/{marked[0]!a} has a byte order mark in its name: rename it.")
    found = _distinct(root, folder_names)
    names = tuple(found) if class_names is None else tuple(class_names)
    index = {normal(name): label for label, name in enumerate(names)}
    unknown = sorted(set(found) - set(index))
    if unknown:
        raise ValueError(
            f"{root / unknown[0]} is not the folder of one of the labeled classes. "
            f"Valid classes: {image_check.abbreviated(names)}."
        )
    paths = list(_walk(root))
    _refuse_empty_classes(root, folder_names, paths)
    problems = _problems(root, paths)
    pairs = zip(paths, problems, strict=True)
    beside = sorted(path for path, bad in pairs if bad and len(path.parts) == 1)
    if beside:
        listed = image_check.abbreviated(map(_shown, beside))
        logging.warning("%s: ignored files next to the class folders: %s", root, listed)
    _refuse_problems(root, paths, problems)
    paths = [path for path in paths if path not in beside]
    _distinct(root, map(str, paths))
    return _examples(root, paths, [index[normal(path.parts[0])] for path in paths], names, prefix)


def class_folders(root: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the sub-folders that count as classes, sorted."""
    return [name for name, is_folder in _entries(os.fspath(root)) if is_folder]


def normal(name: str) -> str:
    """Returns a name in Unicode's normal form C, in which equal letters have equal codes."""
    return unicodedata.normalize("NFC", name)


def count_files(folder: str) -> int:
    """Returns the number of files in the classes of a labeled folder, without opening them.

    A million files take a few seconds.

    Raises:
        ValueError: there is no such folder.
    """
    root = _existing(folder)
    return sum(len(files) for place, files in _levels(str(root)) if place != str(root))


def sizes_hash(folder: str) -> str:
    """Returns a hash (16 hex digits) of names and sizes of the files of a labeled folder.

    Raises:
        ValueError: there is no such folder.
    """
    root = _existing(folder)
    files = [(path.as_posix(), root / path) for path in _walk(root)]
    pairs = [(name, file.stat().st_size if file.exists() else None) for name, file in files]
    return hashlib.blake2b(repr(pairs).encode(errors="replace"), digest_size=8).hexdigest()


def read_unlabeled(
    folder: str, class_names: Sequence[str], prefix: str = "unlabeled"
) -> tuple[EncodedExamples, list[str]]:
    """Reads every image below a folder, flat or nested.

    If all images lie in sub-folders that are named like known classes, their labels are kept (to
    measure pseudo labels, never to train on them). Otherwise all labels are -1.

    Args:
        folder: the folder.
        class_names: the known classes.
        prefix: first part of the ids, as in "unlabeled/x/a.png".

    Returns:
        The images, and the paths of the skipped files that are not images.

    Raises:
        ValueError: the folder is missing or has no image.
    """
    root = _existing(folder)
    candidates = list(_walk(root))
    problems = _problems(root, candidates)
    paths = [path for path, bad in zip(candidates, problems, strict=True) if not bad]
    skipped = [_shown(root / path) for path, bad in zip(candidates, problems, strict=True) if bad]
    if skipped:
        logging.warning(
            "skipped %d files in %s that are not images: %s",
            len(skipped),
            root,
            image_check.abbreviated(skipped),
        )
    if not paths:
        raise ValueError(
            f"{root} has no images. Supported formats: {', '.join(image_check.FORMATS)}."
        )
    _distinct(root, map(str, paths))
    index = {normal(name): label for label, name in enumerate(class_names)}
    folder_names = [normal(path.parts[0]) if len(path.parts) > 1 else None for path in paths]
    labels = [index.get(name, UNKNOWN_LABEL) if name else UNKNOWN_LABEL for name in folder_names]
    if UNKNOWN_LABEL in labels:
        labels = [UNKNOWN_LABEL] * len(paths)
    return _examples(root, paths, labels, tuple(class_names), prefix), skipped


def expand(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Returns the given files, and the images in the given folders, each once."""
    files: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found = read_unlabeled(os.fspath(path), ())[0].files
            files += [] if found is None else found.tolist()
        else:
            files.append(os.fspath(path))
    return list(dict.fromkeys(files))


def _existing(folder: str) -> pathlib.Path:
    """Returns the folder as a path; a ValueError names one that is missing."""
    path = pathlib.Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"Folder {_shown(path)} does not exist.")
    if problem := name_problem(path):
        raise ValueError(f"{_shown(path)} {problem}.")
    return path


def _walk(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields every file below `root`, relative to it, sorted; none that is ignored."""
    for folder, files in _levels(str(root)):
        for name in files:
            yield (pathlib.Path(folder) / name).relative_to(root)


def _levels(
    folder: str, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Yields a folder and all below it, sorted, with their files; none that are ignored.

    A link to a folder above it, `above` as device and inode, would go round in circles: ignored.
    """
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        logging.warning("%s is a link to one of its parent folders: ignored.", _shown(folder))
        return
    found = _entries(folder)
    yield folder, [name for name, is_folder in found if not is_folder]
    for name, is_folder in found:
        if is_folder:
            yield from _levels(os.path.join(folder, name), (*above, here))


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Returns the names in a folder that are not ignored, sorted, and which of them are folders."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ValueError(f"{_shown(folder)} cannot be read: {error.strerror}.") from error
    kept = [name for name in names if not name.startswith(".") and name.lower() not in _SYSTEM]
    return [(name, os.path.isdir(os.path.join(folder, name))) for name in kept]


def _distinct(root: pathlib.Path, names: Iterable[str]) -> list[str]:
    """Returns names in normal form; a ValueError names two that become one."""
    before: dict[str, str] = {}
    for name in names:
        first = before.setdefault(normal(name), name)
        if first != name:
            raise ValueError(
                f"{root} has two names that look alike, {first!a} and {name!a}: rename one."
            )
    return list(before)


def name_problem(path: str | os.PathLike[str]) -> str:
    """Returns what is wrong with the name of a file or folder, or ""."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8: rename it"
    return ""


def _shown(path: str | os.PathLike[str]) -> str:
    """Returns a path as text that can be printed, whatever bytes it has."""
    return os.fspath(path).encode(errors="backslashreplace").decode()


def _refuse_empty_classes(root: pathlib.Path, found: list[str], paths: list[pathlib.Path]) -> None:
    """Raises a ValueError that names the class folders that hold no file."""
    filled = {path.parts[0] for path in paths if len(path.parts) > 1}
    empty = [str(root / name) for name in found if name not in filled]
    if empty:
        raise ValueError(f"Class folders without images: {image_check.abbreviated(empty)}.")


def _refuse_problems(root: pathlib.Path, paths: list[pathlib.Path], problems: list[str]) -> None:
    """Raises a ValueError that names every file that is no image, and images in no class."""
    found = []
    for path, problem in zip(paths, problems, strict=True):
        if len(path.parts) == 1:  # other files than images are ignored there
            problem = "" if problem else "is not in a class folder"
        if problem:
            found.append(f"{_shown(root / path)} {problem}")
    if found:
        raise ValueError(
            f"{image_check.listed(found)}. Labeled folders may only contain CLASS/IMAGE with "
            f"images in the formats {', '.join(image_check.FORMATS)}."
        )


def _problems(root: pathlib.Path, paths: list[pathlib.Path]) -> list[str]:
    """Returns what is wrong with each file ("" for an image), checked in parallel."""

    def check(path: pathlib.Path) -> str:
        return name_problem(path) or image_check.file_problem(root / path)

    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(check, paths, chunksize=64))


def _examples(
    root: pathlib.Path,
    paths: list[pathlib.Path],
    labels: list[int],
    class_names: tuple[str, ...],
    prefix: str,
) -> EncodedExamples:
    """Returns files below `root` as examples."""
    return EncodedExamples(
        ids=np.array([f"{prefix}/{normal(path.as_posix())}" for path in paths], object),
        labels=np.array(labels, np.int32),
        class_names=class_names,
        files=np.array([str(root / path) for path in paths], object),
        offsets=np.full(len(paths), WHOLE_FILE),
    )
