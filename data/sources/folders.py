"""Image folders: class sub-folders of labeled images, and folders of unlabeled ones.

In a labeled folder every file counts: one that is not an image, or that lies in no class, is an
error that names it. In an unlabeled folder such files are skipped and listed. Names that start
with a dot are ignored in both.
"""

import concurrent.futures
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from data.examples import UNKNOWN_LABEL, Examples
from data.sources import image_check


def read_labeled(
    folder: str, class_names: Sequence[str] | None = None, prefix: str = "folder"
) -> Examples:
    """Reads a folder whose sub-folders are the classes.

    Args:
        folder: holds one sub-folder per class; images may lie at any depth inside it.
        class_names: known classes, to which sub-folders are matched by name, and which need not
            all be present; None: the sub-folders, sorted by name, are the classes.
        prefix: first part of the ids, as in "folder/cat/a.png".

    Returns:
        Examples with `files`, in the order of their ids.

    Raises:
        ValueError: naming the folder or file, where a folder is missing or has no class, a class
            is unknown or has no image, or a file is not an image.
    """
    root = _existing(folder)
    found = sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith("."))
    if not found:
        raise ValueError(f"{root} has no sub-folder: images are expected as {root}/CLASS/IMAGE.")
    names = tuple(found) if class_names is None else tuple(class_names)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"{root / unknown[0]} is the folder of a class that the labeled images do not have. "
            f"Valid classes: {_listing(names)}."
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
    """The number of files that `read_labeled` takes for images; ValueError if there is no folder.

    They are listed, not opened: a few seconds for a million.
    """
    return sum(len(files) for _, files in _levels(_existing(folder)))


def read_unlabeled(
    folder: str, class_names: Sequence[str], prefix: str = "unlabeled"
) -> tuple[Examples, list[str]]:
    """Reads every image below a folder, flat or nested.

    Where all images lie in sub-folders which are named like known classes, their labels are kept
    (to measure pseudo labels, never to train on them); otherwise all labels are -1.

    Args:
        folder: the folder.
        class_names: the known classes.
        prefix: first part of the ids, as in "unlabeled/x/a.png".

    Returns:
        Examples with `files`, and the paths of the skipped files that are not images.

    Raises:
        ValueError: if the folder is missing or has no image.
    """
    root = _existing(folder)
    candidates = list(_walk(root))
    problems = _problems(root, candidates)
    paths = [path for path, bad in zip(candidates, problems, strict=True) if not bad]
    skipped = [str(root / path) for path, bad in zip(candidates, problems, strict=True) if bad]
    if skipped:
        logging.warning("%d files in %s are no images: %s", len(skipped), root, _listing(skipped))
    if not paths:
        raise ValueError(f"{root} has no image. Valid formats: {', '.join(image_check.FORMATS)}.")
    index = {name: label for label, name in enumerate(class_names)}
    labels = [index.get(p.parts[0], UNKNOWN_LABEL) if len(p.parts) > 1 else -1 for p in paths]
    if UNKNOWN_LABEL in labels:
        labels = [UNKNOWN_LABEL] * len(paths)
    return _examples(root, paths, labels, tuple(class_names), prefix), skipped


def refuse_shared_images(sets: Mapping[str, Examples]):
    """Raises ValueError if two of the named sets have a file, or a record of one, in common.

    Symbolic links to folders are followed. Labeled and unlabeled images may share files: the
    method allows it.
    """
    real = {name: _real_places(s) for name, s in sets.items() if s.files is not None}
    for first, second in itertools.combinations(real, 2):
        shared = real[first] & real[second]
        if shared and {first, second} != {"labeled", "unlabeled"}:
            path, offset = min(shared)
            where = f"{path}, byte {offset}" if offset >= 0 else path
            raise ValueError(
                f"{len(shared)} files are both {first} and {second} images, such as {where}."
            )


def _real_places(examples: Examples) -> set[tuple[str, int]]:
    """Where the images lie: path, symbolic links among its folders resolved, and offset."""
    files = examples.files
    real = {parent: os.path.realpath(parent) for parent in set(map(os.path.dirname, files))}
    paths = [os.path.join(real[os.path.dirname(f)], os.path.basename(f)) for f in files]
    offsets = itertools.repeat(-1) if examples.offsets is None else examples.offsets.tolist()
    return set(zip(paths, offsets, strict=False))


def _existing(folder: str) -> pathlib.Path:
    """The folder as a path; ValueError if there is none."""
    path = pathlib.Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"There is no folder {path}.")
    return path


def _walk(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Every file below `root`, relative to it, sorted; hidden ones left out."""
    for folder, files in _levels(root):
        for name in sorted(files):
            yield (pathlib.Path(folder) / name).relative_to(root)


def _levels(root: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """`root` and all folders below it, sorted, with the names of their files; no hidden ones."""
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield folder, [name for name in files if not name.startswith(".")]


def _refuse_empty_classes(root: pathlib.Path, found: list[str], paths: list[pathlib.Path]):
    """Raises ValueError naming the class folders that hold no file."""
    filled = {path.parts[0] for path in paths if len(path.parts) > 1}
    empty = [str(root / name) for name in found if name not in filled]
    if empty:
        raise ValueError(f"Class folders without any image: {_listing(empty)}.")


def _problems(root: pathlib.Path, paths: list[pathlib.Path]) -> list[str]:
    """What is wrong with each file ("" for an image), checked in parallel."""
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
) -> Examples:
    """Examples of files below `root`."""
    return Examples(
        ids=np.array([f"{prefix}/{path.as_posix()}" for path in paths], object),
        labels=np.array(labels, np.int32),
        class_names=class_names,
        files=np.array([str(root / path) for path in paths], object),
    )


def _listing(names: Sequence[str], limit: int = 10) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + more
