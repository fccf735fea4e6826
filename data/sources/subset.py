"""Subsets of images: without those that a file lists, and with fewer or unbalanced unlabeled ones.

Hashes of the seed and the ids decide which unlabeled images stay. So subsets are nested: a quarter
contains the sixteenth, and a long tail the longer one.
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data import seeds
from data.examples import Examples
from data.sources.splits import Excluded

# Part of the hashed text, so that the two rules do not favor the same images.
_SKEW, _FRACTION = "skew", "fraction"


def kept(
    ids: Sequence[str] | np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    fraction: float = 1.0,
    skew: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Returns the positions of the images that stay: first the skew, then the fraction of those.

    Args:
        ids: N ids.
        labels: int [N], true labels, which only the skew looks at; -1: unknown.
        num_classes: number of classes (C).
        fraction: above 0 and at most 1; this fraction of the images stays, rounded, at least one.
        skew: at least 1; of the n_c images of class c, round(n_c * skew^(-c / (C - 1))) stay: all
            of the first class, n_c / skew of the last one.
        seed: seed of the hashes.

    Returns:
        int64 [M], ascending.

    Raises:
        ValueError: fraction or skew is out of range, or the skew meets an unknown label.
    """
    check(fraction, skew)
    labels, where = np.asarray(labels), np.arange(len(ids))
    if skew > 1 and len(ids):
        if labels.min() < 0:
            unknown = ids[int(np.argmin(labels))]
            raise ValueError(
                f"unlabeled_skew = {skew:g} needs the true labels of the unlabeled images, and "
                f"that of {np.count_nonzero(labels < 0)} of them is unknown, such as {unknown}."
            )
        sizes = np.bincount(labels, minlength=num_classes)
        tail = skew ** -(np.arange(num_classes) / max(num_classes - 1, 1))
        order = _order(ids, where, _SKEW, seed)
        stays = [order[labels[order] == c][: round(sizes[c] * tail[c])] for c in range(num_classes)]
        where = np.sort(np.concatenate(stays))
    if fraction < 1 and len(where):
        count = max(1, round(fraction * len(where)))
        where = np.sort(_order(ids, where, _FRACTION, seed)[:count])
    return where


def check(fraction: float, skew: float) -> None:
    """Refuses values out of range with a ValueError that names them."""
    if not 0 < fraction <= 1:
        raise ValueError(f"unlabeled_fraction must be above 0 and at most 1, not {fraction}.")
    if not skew >= 1:
        raise ValueError(f"unlabeled_skew must be 1 (off) or above, not {skew}.")


def _order(
    ids: Sequence[str] | np.ndarray, where: np.ndarray, purpose: str, seed: int
) -> np.ndarray:
    """Returns the positions by rising hash of their images."""
    hashes = seeds.hash_ids(f"{purpose}/{seed}/{ids[i]}" for i in where)
    return where[np.argsort(hashes, kind="stable")]


def without(
    splits: Mapping[str, Examples], exclude: str | os.PathLike[str], left_out: Sequence[str] = ()
) -> tuple[dict[str, Examples], Excluded]:
    """Drops the images whose ids a file lists; test images may not be among them.

    Args:
        splits: images by split.
        exclude: text file with an id on every line.
        left_out: ids of images that are in none of the splits, and may be listed all the same.

    Returns:
        The splits without these images, and their number and hash.

    Raises:
        ValueError: there is no such file, or it lists a test image or an unknown one.
    """
    path = pathlib.Path(exclude)
    if not path.is_file():
        raise ValueError(f"{path}, the file of images to exclude, does not exist.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a UTF-8 text file with one image id per line.") from None
    excluded = {line for line in lines if line}
    in_test = excluded & set(splits["test"].ids)
    if in_test:
        raise ValueError(
            f"{path} lists the test image {min(in_test)}: test images cannot be excluded."
        )
    unknown = excluded.difference(left_out, *(examples.ids for examples in splits.values()))
    if unknown:
        raise ValueError(f"{path} lists {min(unknown)}, which is in none of the splits.")
    digest = hashlib.blake2b("\0".join(sorted(excluded)).encode(), digest_size=16).hexdigest()
    kept = {
        name: examples.take(np.flatnonzero([i not in excluded for i in examples.ids]))
        for name, examples in splits.items()
    }
    return kept, {"count": len(excluded), "hash": digest}
