"""Images left out: those that a file lists, and unlabeled ones to study their number and balance.

Which unlabeled images stay follows from hashes of the seed and their ids, so that parts are nested:
a quarter contains the sixteenth, and a long tail the longer one.
"""

import hashlib
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from data import seeds
from data.examples import Examples

# What hashes are drawn for, so that the two rules do not favor the same images.
_SKEW, _FRACTION = "skew", "fraction"


def kept(
    ids: Sequence[str],
    labels: np.ndarray,
    num_classes: int,
    *,
    fraction: float = 1.0,
    skew: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Which images stay: first the skew, then the fraction of what it leaves.

    Args:
        ids: of N images.
        labels: int [N], true labels, which only the skew looks at; -1: unknown.
        num_classes: C.
        fraction: above 0 and at most 1; that part of the images stays, rounded, at least one.
        skew: at least 1; of the n_c images of class c of 0..C-1 round(n_c * skew^(-c / (C - 1)))
            stay: of the first class all, of the last one n_c / skew.
        seed: of the hashes.

    Returns:
        int64 [M], positions, ascending.

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


def _order(ids: Sequence[str], where: np.ndarray, purpose: str, seed: int) -> np.ndarray:
    """The positions by rising hash of their images."""
    hashes = seeds.hash_ids(f"{purpose}/{seed}/{ids[i]}" for i in where)
    return where[np.argsort(hashes, kind="stable")]


def without(
    splits: dict[str, Examples],
    exclude: str | os.PathLike,
    info: dict,
    left_out: Sequence[str] = (),
) -> dict[str, Examples]:
    """The splits without the images whose ids a file lists; test images may not be among them.

    Args:
        splits: name -> images.
        exclude: text file with an id on every line.
        info: receives "excluded", number and hash of the ids.
        left_out: ids of images that are in none of the splits, and may be listed all the same.

    Raises:
        ValueError: there is no such file, or it lists a test image or an unknown one.
    """
    path = pathlib.Path(exclude)
    if not path.is_file():
        raise ValueError(f"There is no file {path} of images to exclude.")
    excluded = {line for line in path.read_text().splitlines() if line}
    in_test = excluded & set(splits["test"].ids)
    if in_test:
        raise ValueError(f"{path} lists the test image {min(in_test)}: test images all stay.")
    unknown = excluded.difference(left_out, *(examples.ids for examples in splits.values()))
    if unknown:
        raise ValueError(f"{path} lists {min(unknown)}, which is in none of the splits.")
    info["excluded"] = {
        "count": len(excluded),
        "hash": hashlib.blake2b("\0".join(sorted(excluded)).encode(), digest_size=16).hexdigest(),
    }
    kept = {
        name: np.flatnonzero([i not in excluded for i in examples.ids])
        for name, examples in splits.items()
    }
    return {name: examples.take(kept[name]) for name, examples in splits.items()}
