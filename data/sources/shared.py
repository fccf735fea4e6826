"""Images that are in two sets: the same file or record, under any path or link.

Files are compared by device and inode, which links share. Labeled training images may be unlabeled
images, too: the method allows it.
"""

import concurrent.futures
import itertools
import os
from collections.abc import Hashable, Mapping

import numpy as np

from data.examples import EncodedExamples, Examples
from data.sources.splits import SplitsInfo

_Identities = dict[str, Hashable]  # file -> what identifies it


def refuse(sets: Mapping[str, Examples]) -> None:
    """Raises a ValueError if two of the named sets share images, unless one is "unlabeled"."""
    sets = {name: examples for name, examples in sets.items() if name != "unlabeled"}
    identities = _identities(sets)
    for first, second in itertools.combinations(sets, 2):
        where = _within(sets[first], [sets[second]], identities)
        if len(where):
            raise ValueError(
                f"{len(where)} images are both {first} and {second} images, such as "
                f"{_name(sets[first], where[0])}."
            )


def take_out(splits: Mapping[str, Examples], info: SplitsInfo) -> dict[str, Examples]:
    """Returns the splits without the held-out images among the images to learn from.

    Test images stay. Validation images that are test images, too, are taken out, and labeled and
    unlabeled ones that are either. `info` receives their numbers and warnings.

    Raises:
        ValueError: no unlabeled image is left.
    """
    identities, left = _identities(splits), dict(splits)
    for name in ("validation", "labeled", "unlabeled"):
        kinds = ["test"] if name == "validation" else ["validation", "test"]
        where = _within(splits[name], [splits[kind] for kind in kinds], identities)
        if not len(where):
            continue
        text = f"of the {name} images are {' or '.join(kinds)} images, too, such as "
        text += _name(splits[name], where[0])
        if name == "unlabeled" and len(where) == len(splits[name]):
            raise ValueError(f"All {len(where)} {text}: give other training images.")
        left[name] = splits[name].take(np.delete(np.arange(len(splits[name])), where))
        info.setdefault("held_out", {})[name] = len(where)
        info["warnings"].append(f"{len(where)} {text}: taken out of the {name} images.")
    return left


def _within(ours: Examples, theirs: list[Examples], identities: _Identities) -> np.ndarray:
    """Returns the positions in `ours` of images that are in one of the other sets, too."""
    if not isinstance(ours, EncodedExamples):
        return np.zeros(0, np.int64)
    held = {
        (identities[file], offset)
        for other in theirs
        if isinstance(other, EncodedExamples)
        for file, offset in zip(other.files, other.offsets.tolist(), strict=True)
    }
    held_files = {identity for identity, _ in held}
    shared = {file for file in set(ours.files) if identities[file] in held_files}
    rows = enumerate(zip(ours.files, ours.offsets.tolist(), strict=True)) if shared else ()
    return np.array(
        [i for i, (file, at) in rows if file in shared and (identities[file], at) in held], np.int64
    )


def _identities(sets: Mapping[str, Examples]) -> _Identities:
    """Returns device and inode of all files, looked up in parallel."""
    encoded = [examples for examples in sets.values() if isinstance(examples, EncodedExamples)]
    files = list({file for examples in encoded for file in examples.files})
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        return dict(zip(files, pool.map(_identity, files, chunksize=64), strict=True))


def _identity(path: str) -> Hashable:
    status = os.stat(path)
    # Some file systems have no inodes.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _name(examples: Examples, index: int) -> str:
    """Returns the place of an image, or its id."""
    return examples.place(index) if isinstance(examples, EncodedExamples) else examples.ids[index]
