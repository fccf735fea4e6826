"""Readers of image folders: class sub-folders of labeled images, and folders of unlabeled ones.

In a labeled folder, a file that is no image or lies in no class is an error that names it. In an
unlabeled folder, such files are skipped and listed. Names that start with a dot are ignored.
"""

import concurrent.futures
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from data.examples import UNKNOWN_LABEL, WHOLE_FILE, EncodedExamples
from data.sources import image_check


def read_labeled(
    folder: str, class_names: Sequence[str] | None = None, prefix: str = "folder"
) -> EncodedExamples:
    """Reads a folder whose sub-folders are the classes.

    Args:
        folder: holds one sub-folder per class; images may lie at any depth inside it.
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
    found = sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith("."))
    if not found:
        raise ValueError(f"{root} has no sub-folder: images are expected as {root}/CLASS/IMAGE.")
    if marked := [name for name in found if "\ufeff" in name]:
        raise ValueError(f"{root}/{marked[0]!a} has a byte order mark in its name: rename it.")
    names = tuple(found) if class_names is None else tuple(class_names)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"{root / unknown[0]} is the folder of a class that the labeled images do not have. "
            f"Valid classes: {image_check.abbreviated(names)}."
        )
    paths = list(_walk(root))
    _refuse_empty_classes(root, found, paths)
    for path, problem in zip(paths, _problems(root, paths), strict=True):
        if len(path.parts) == 1:
            problem = "lies in no class folder"
        if problem:
            raise ValueError(
                f"{root / path} {problem}. Labeled folders may hold nothing but "
                f"CLASS/IMAGE with images in the formats {', '.join(image_check.FORMATS)}."
            )
    index = {name: label for label, name in enumerate(names)}
    return _examples(root, paths, [index[path.parts[0]] for path in paths], names, prefix)


def count_files(folder: str) -> int:
    """Returns the number of files that `read_labeled` takes for images, without opening them.

    A million files take a few seconds.

    Raises:
        ValueError: there is no such folder.
    """
    return sum(len(files) for _, files in _levels(_existing(folder)))


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
    skipped = [str(root / path) for path, bad in zip(candidates, problems, strict=True) if bad]
    if skipped:
        logging.warning(
            "%d files in %s are no images: %s", len(skipped), root, image_check.abbreviated(skipped)
        )
    if not paths:
        raise ValueError(f"{root} has no image. Valid formats: {', '.join(image_check.FORMATS)}.")
    index = {name: label for label, name in enumerate(class_names)}
    folder_names = [path.parts[0] if len(path.parts) > 1 else None for path in paths]
    labels = [index.get(name, UNKNOWN_LABEL) if name else UNKNOWN_LABEL for name in folder_names]
    if UNKNOWN_LABEL in labels:
        labels = [UNKNOWN_LABEL] * len(paths)
    return _examples(root, paths, labels, tuple(class_names), prefix), skipped


def _existing(folder: str) -> pathlib.Path:
    """Returns the folder as a path; a ValueError names one that is missing."""
    path = pathlib.Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"There is no folder {path}.")
    return path


def _walk(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields every file below `root`, relative to it, sorted; no hidden ones."""
    for folder, files in _levels(root):
        for name in sorted(files):
            yield (pathlib.Path(folder) / name).relative_to(root)


def _levels(root: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """Yields `root` and all folders below it, sorted, with their files; no hidden ones."""
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield folder, [name for name in files if not name.startswith(".")]


def _refuse_empty_classes(root: pathlib.Path, found: list[str], paths: list[pathlib.Path]) -> None:
    """Raises a ValueError that names the class folders that hold no file."""
    filled = {path.parts[0] for path in paths if len(path.parts) > 1}
    empty = [str(root / name) for name in found if name not in filled]
    if empty:
        raise ValueError(f"Class folders without any image: {image_check.abbreviated(empty)}.")


def _problems(root: pathlib.Path, paths: list[pathlib.Path]) -> list[str]:
    """Returns what is wrong with each file ("" for an image), checked in parallel."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        return list(
            pool.map(lambda path: image_check.file_problem(root / path), paths, chunksize=64)
        )


def _examples(
    root: pathlib.Path,
    paths: list[pathlib.Path],
    labels: list[int],
    class_names: tuple[str, ...],
    prefix: str,
) -> EncodedExamples:
    """Returns files below `root` as examples."""
    return EncodedExamples(
        ids=np.array([f"{prefix}/{path.as_posix()}" for path in paths], object),
        labels=np.array(labels, np.int32),
        class_names=class_names,
        files=np.array([str(root / path) for path in paths], object),
        offsets=np.full(len(paths), WHOLE_FILE),
    )
