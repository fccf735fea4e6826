"""Images in memory as NumPy arrays: checked, brought to RGB bytes, and given ids.

An id contains position and content hash, as in "labeled/00017-3fa2b1c9", so that every stage
detects arrays that have changed.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import PIL.Image

from data.examples import UNKNOWN_LABEL, DecodedExamples, Examples
from data.sources import folders
from data.sources.source import Source

_DIGEST_BYTES = 4
_PILLOW_MODES = ("RGB", "L")  # whose arrays are colors


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays(Source):
    """Images in memory; `from_arrays` makes it.

    Attributes:
        labeled: labeled images.
        validation: validation images; None: drawn from the labeled ones.
        test: test images; None: a fifth of the labeled ones, with a warning.
        unlabeled: unlabeled images; None: none but those left of the labeled ones.
    """

    labeled: DecodedExamples
    validation: DecodedExamples | None = None
    test: DecodedExamples | None = None
    unlabeled: DecodedExamples | None = None

    def read_labeled(self, class_names: Sequence[str] | None = None) -> Examples:
        if class_names is None:
            return self.labeled
        return self.labeled.with_classes(class_names, "the labeled array")

    def read_held_out(self, class_names: Sequence[str]) -> dict[str, Examples]:
        given = {"validation": self.validation, "test": self.test}
        return {
            name: examples.with_classes(class_names, f"the {name} array")
            for name, examples in given.items()
            if examples is not None
        }

    def read_own_unlabeled(self, class_names: Sequence[str]) -> Examples | None:
        return self.unlabeled

    def request(self) -> dict[str, Any]:
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        given = {name: part for name, part in parts.items() if part is not None}
        return {"dataset": "arrays"} | {f"{n}_array": _describe(part) for n, part in given.items()}


def from_arrays(
    labeled: tuple[Any, Any],
    *,
    unlabeled: Any = None,
    validation: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    class_names: Sequence[str] | None = None,
) -> Arrays:
    """Checks arrays and returns them as a data set.

    Args:
        labeled: images (`rgb`) and labels (`class_indices`).
        unlabeled: images.
        validation: images and labels.
        test: images and labels.
        class_names: name of each class, in the order of the labels; None: their numbers.

    Raises:
        ValueError: names the array that is invalid, and what is allowed.
    """
    pairs = {"labeled": labeled, "validation": validation, "test": test}
    names = () if class_names is None else _class_names(class_names)
    num_classes, found = None if class_names is None else len(names), {}
    for name, pair in pairs.items():
        if pair is None:
            continue
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{name} must be a pair: images, labels.")
        images = _own(rgb(pair[0], f"{name} images"), pair[0])
        labels = class_indices(pair[1], len(images), f"{name} labels", num_classes)
        if num_classes is None:
            num_classes = int(labels.max()) + 1
        names = names or tuple(map(str, range(num_classes)))
        found[name] = _examples(images, labels, names, name)
    if unlabeled is not None:
        images = _own(rgb(unlabeled, "unlabeled images"), unlabeled)
        found["unlabeled"] = _examples(images, None, names, "unlabeled")
    return Arrays(**found)


def rgb(images: Any, name: str) -> np.ndarray:
    """Returns images as RGB bytes.

    Args:
        images: uint8, or float from 0 to 1, which is rounded to bytes; [N, H, W, 3], or gray as
            [N, H, W, 1] or [N, H, W].
        name: of the array, for messages.

    Returns:
        uint8 [N, H, W, 3].

    Raises:
        ValueError: the array has another shape, type or range.
    """
    images = _array(images, name)
    if images.ndim == 3 and images.shape[-1] == 3:
        raise ValueError(
            f"{name} has the shape {list(images.shape)}, that of one RGB image: images must be "
            "[N, H, W, 3]; add the axis with images[np.newaxis]."
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not all(images.shape):
        raise ValueError(
            f"{name} has the shape {list(images.shape)}: images must be [N, H, W, 3], or "
            "gray [N, H, W, 1] or [N, H, W], with at least one image."
        )
    black = f"{name} is uint8, but has only 0 and 1: images in 0..1 must be float."
    if images.dtype.kind == "f":
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):  # also refuses NaN
            raise ValueError(
                f"{name} has values from {low:g} to {high:g}: {images.dtype} images must be in "
                "0..1, uint8 images in 0..255."
            )
        images = np.rint(images * 255).astype(np.uint8)
        black = f"{name} only reaches {high:g}: were the images divided by 255 twice?"
    if images.dtype != np.uint8:
        raise ValueError(
            f"{name} has the type {images.dtype}: images must be uint8 (0..255) or float (0..1)."
        )
    if images.max() == 1:
        raise ValueError(black)
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def class_indices(labels: Any, count: int, name: str, num_classes: int | None) -> np.ndarray:
    """Returns labels as int32 [N].

    Args:
        labels: whole numbers from 0, [N] or [N, 1].
        count: N, the number of images.
        name: of the labels, for messages.
        num_classes: number of classes; None: one more than the largest label.

    Raises:
        ValueError: the array has another shape, type, length or range.
    """
    labels = _array(labels, name)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(
            f"{name} has the shape {list(labels.shape)}: labels must be class indices [N]; for "
            "one-hot labels, give labels.argmax(axis=1)."
        )
    if labels.dtype.kind not in "iu":
        way = "; for names, give np.unique(labels, return_inverse=True)[1], and class_names"
        raise ValueError(
            f"{name} has the type {labels.dtype}: labels must be integers"
            f"{way if labels.dtype.kind in 'USO' else ''}."
        )
    if len(labels) != count:
        raise ValueError(f"{name} has {len(labels)} labels for {count} images.")
    low, high = int(labels.min()), int(labels.max())
    if num_classes is None and high >= count:
        raise ValueError(
            f"{name} goes up to {high}, more classes than there are images ({count}): give "
            "class_names, or labels that start at 0."
        )
    limit = high if num_classes is None else num_classes - 1
    if low < 0 or high > limit:
        wrong = low if low < 0 else high
        raise ValueError(f"{name} has the label {wrong}; valid: 0..{limit}.")
    return labels.astype(np.int32)


def _class_names(given: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the classes; a ValueError tells what is wrong with them."""
    if isinstance(given, Mapping | Set) or (isinstance(given, str) and "," in given):
        raise ValueError(
            f"class_names is a {type(given).__name__}: give a list, in the order of the labels."
        )
    listed = list(given)
    names = tuple(map(str, listed))
    if None in listed or not all(name.strip() for name in names):
        raise ValueError(f"class_names has an empty name: {', '.join(map(repr, names))}.")
    if len(set(map(folders.normal, names))) < len(names):
        raise ValueError(f"class_names has duplicates: {', '.join(sorted(names))}.")
    return names


def _own(images: np.ndarray, given: Any) -> np.ndarray:
    """Returns images that do not change where the caller's array is written to later."""
    return images.copy() if images is given or images.base is not None else images


def _examples(
    images: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str], name: str
) -> DecodedExamples:
    """Returns checked images with ids of place and content."""
    known = np.full(len(images), UNKNOWN_LABEL, np.int32) if labels is None else labels
    ids = [
        f"{name}/{number:05d}-{_digest(image, label)}"
        for number, (image, label) in enumerate(zip(images, known.tolist(), strict=True))
    ]
    return DecodedExamples(np.array(ids, object), known, tuple(class_names), images)


def _describe(examples: DecodedExamples) -> str:
    """Returns number, size and digest of images, to recognize them again."""
    height, width = examples.images.shape[1:3]
    return f"{len(examples)} images of {width}x{height}, digest {examples.fingerprint()[:8]}"


def _array(values: Any, name: str) -> np.ndarray:
    listed = values if isinstance(values, list | tuple) else [values]
    for image in listed:
        if isinstance(image, PIL.Image.Image) and image.mode not in _PILLOW_MODES:
            raise ValueError(
                f"{name} has a Pillow image of mode {image.mode}, whose values are not colors: "
                "give image.convert('RGB')."
            )
    try:
        return np.asarray(values)
    except ValueError:  # rows of different lengths
        raise ValueError(f"{name} is not an array: its items differ in shape.") from None


def _digest(image: np.ndarray, label: int) -> str:
    content = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=_DIGEST_BYTES)
    content.update(label.to_bytes(4, "little", signed=True))
    return content.hexdigest()
