"""Splits of a data set, stratified draws, and the file that fixes a draw."""

import dataclasses
import hashlib
import json
import os
import pathlib
import platform
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import numpy as np
from absl import logging

from data.examples import Examples
from data.sources import digests

_FORMAT = 1
# Keys of requests that give the location of images.
PLACES = {"labeled_dir", "unlabeled_dir", "validation_dir", "test_dir", "unlabeled_records"}


class Excluded(TypedDict):
    """Images that a list excludes: their number, and a hash of their ids."""

    count: int
    hash: str


class SplitsInfo(TypedDict, total=False):
    """Facts about splits, ready for JSON."""

    counts: dict[str, int]  # number of images by split
    skipped: list[str]  # unlabeled files or records that are no images
    warnings: list[str]  # sentences
    unlabeled_labels_known: bool  # True if all unlabeled images of other places have true labels
    left_out: int  # number of unlabeled images dropped by a fraction or skew; absent without one
    excluded: Excluded  # images that a list excludes; absent without one
    # Number of images, by split, that were taken out because they are test or validation images,
    # too; absent without any.
    held_out: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Splits:
    """The four sets of images of an experiment."""

    labeled: Examples  # images that the teacher learns from
    validation: Examples  # images held out of the labeled pool
    # Images that the teacher labels; may be empty. True labels, where known, are only for measuring
    # pseudo labels.
    unlabeled: Examples
    test: Examples  # images for the final evaluation
    class_names: tuple[str, ...]  # the name of every class, in the order of the labels
    info: SplitsInfo  # counts, warnings and skipped files


def stratified(
    labels: np.ndarray, count: int, rng: np.random.Generator, keep: int = 0
) -> np.ndarray:
    """Draws `count` positions whose class frequencies follow those of `labels`.

    Each class gets its share rounded down or up (largest remainders; equal ones at random), but at
    least one while `count` reaches for all classes.

    Args:
        labels: int [N], each at least 0.
        count: number to draw, 0..`drawable(labels, keep)`.
        rng: generator of random numbers.
        keep: number of each class that is never drawn.

    Returns:
        int64 [count], ascending.

    Raises:
        ValueError: `count` is out of range.
    """
    if not 0 <= count <= drawable(labels, keep):
        raise ValueError(f"Cannot draw {count} of {drawable(labels, keep)} images.")
    sizes = np.unique(labels, return_counts=True)[1]
    quotas = _quotas(sizes, count, rng, np.maximum(sizes - keep, 0))
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_class[rank < np.repeat(quotas, sizes)])


def drawable(labels: np.ndarray, keep: int) -> int:
    """Returns the number of images that can be drawn if `keep` of each class must not."""
    return int(np.maximum(np.unique(labels, return_counts=True)[1] - keep, 0).sum())


def _quotas(
    sizes: np.ndarray, count: int, rng: np.random.Generator, limits: np.ndarray
) -> np.ndarray:
    """Returns the number to draw of each class: int64, sums to `count`, never above `limits`."""
    shares = count * sizes / max(sizes.sum(), 1)
    quotas = np.floor(shares).astype(np.int64)
    if count >= len(sizes):
        quotas = np.maximum(quotas, 1)
    quotas = np.minimum(quotas, limits)
    ties = rng.permutation(len(sizes))
    while quotas.sum() != count:
        step = 1 if quotas.sum() < count else -1
        # The class that lags (leads) its share the most; a lone example is never taken back.
        gap = step * (shares - quotas)
        gap[(quotas == limits) if step > 0 else (quotas <= 1)] = -np.inf
        quotas[ties[np.argmax(gap[ties])]] += step
    return quotas


def sample(examples: Examples, count: int) -> Examples:
    """Returns some of the images with the class frequencies of all, to measure on fewer.

    The images do not depend on the seed of a run, so that runs are measured on the same ones.

    Args:
        examples: N images, all with labels.
        count: number of images to take; 0, or more than there are: all.

    Returns:
        `count` images, in the order of `examples`.
    """
    if not 0 < count < len(examples):
        return examples
    return examples.take(stratified(examples.labels, count, np.random.default_rng(0)))


def draw_or_load(
    path: str | os.PathLike[str] | None,
    request: Mapping[str, Any],
    draw: Callable[[], dict[str, list[str]]],
    marks: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Returns the stored splits of `request`, or draws and stores them.

    Args:
        path: the JSON file; None: draw and store nothing.
        request: the arguments that decide the splits, JSON values only. Those in PLACES may differ
            from the stored ones if all images are the same by id and digest.
        draw: returns ids by split.
        marks: digests of the images on disk, by id (`digests.by_id`). Stored next to the ids.

    Returns:
        Ids by split.

    Raises:
        ValueError: the file holds the splits of another request (shows the difference), or is
            damaged; or an image is not the one that was drawn.
    """
    marks = marks or {}
    if path is None:
        return draw()
    path = pathlib.Path(path)
    if path.exists():
        return _stored(path, request, marks)
    ids = draw()
    content = {"format": _FORMAT, "request": dict(request), "hash": _hash(ids), "ids": ids}
    if marks:
        content["digests"] = {
            split: "".join(marks.get(name, digests.NONE) for name in names)
            for split, names in ids.items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp-{platform.node()}-{os.getpid()}")
    partial.write_text(json.dumps(content, indent=0))
    os.replace(partial, path)
    return ids


def _stored(
    path: pathlib.Path, request: Mapping[str, Any], marks: Mapping[str, str]
) -> dict[str, list[str]]:
    """Reads and checks a file of splits."""
    try:
        content = json.loads(path.read_text())
        stored, ids, digest = content["request"], content["ids"], content["hash"]
        stored, ids = dict(stored), {name: list(map(str, values)) for name, values in ids.items()}
        before = content.get("digests")  # older files have none
        keys = [key for key in sorted({*stored, *request}) if stored.get(key) != request.get(key)]
        is_sound = _hash(ids) == digest
        changed = before and [
            name
            for split, names in ids.items()
            for name in digests.changed(names, before[split], marks)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a file of stored splits ({error!r}). Restore it, or delete it to draw "
            "the same splits again."
        ) from error
    moved = before and not changed and keys and set(keys) <= PLACES
    if moved and {*marks} == {name for names in ids.values() for name in names}:
        logging.info("%s: same images in a new location (%s)", path, ", ".join(keys))
        keys = []
    if keys:
        listed = (f"{k}: stored {stored.get(k)!r}, requested {request.get(k)!r}" for k in keys)
        raise ValueError(
            f"{path} holds splits drawn with other options ({'; '.join(listed)}). "
            "Splits are drawn once: use the stored options, or give another file."
        )
    if not is_sound:
        raise ValueError(f"{path} was changed: its ids do not match its hash.")
    if changed:
        raise ValueError(
            f"{len(changed)} images changed since {path} was drawn, such as "
            f"{changed[0]}: restore the old files, or use another directory."
        )
    return ids


def _hash(ids: Mapping[str, list[str]]) -> str:
    """Returns a hash (32 hex digits) of the names and ids of all splits."""
    return hashlib.blake2b(json.dumps(ids, sort_keys=True).encode(), digest_size=16).hexdigest()
