"""The images of a run, as `Data`, from folders, arrays, tensorflow-datasets or tf.data."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data import sources
from noisy_student.config import Config, option, schema

StrPath = str | os.PathLike[str]
MEMORY_BYTES = 4 << 30  # largest size in memory of a tf.data set


class Data:
    """Labeled, unlabeled, test and validation images.

    All constructors take further data options by name, such as ``num_labeled=400`` (the other
    labeled images are used as unlabeled ones), ``num_validation`` and ``seed``. If there are no
    test images, a fifth of the labeled images is held out, and a tenth for validation.

    Attributes:
        options: Options of a run that describe the images.
        source: Images in memory; None: all images are given by the options.
    """

    def __init__(
        self, options: Mapping[str, Any], source: sources.Source | None = None, call: str = ""
    ):
        """Checks the data options. Prefer the constructors `from_...`.

        Args:
            options: Values of `config.DataConfig` by name.
            source: Images in memory.
            call: Python expression, for the report.
        """
        known = option.named([schema.DataConfig])
        for name in options:
            if name not in known:
                raise option.unknown(name, known)
        self.options = {name: value for name, value in options.items() if value is not None}
        Config(**self.options)  # refuses values that are not allowed
        self.source = source
        self._call = call or f"Data({self.options!r})"

    def __repr__(self) -> str:
        return f"ns.{self._call}"

    @classmethod
    def from_folders(
        cls,
        labeled: StrPath | None = None,
        unlabeled: StrPath | None = None,
        test: StrPath | None = None,
        validation: StrPath | None = None,
        **options: Any,
    ) -> "Data":
        """Uses image files in folders.

        Args:
            labeled: Folder with one subfolder per class.
            unlabeled: Folder, flat or nested.
            test: Folder like `labeled`, with the same classes.
            validation: Folder like `labeled`.
            **options: Further data options.

        Raises:
            ValueError: An option is unknown or not allowed. The folders are only read by `fit`.
        """
        given = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
        places = {name: os.fspath(place) for name, place in given.items() if place is not None}
        named = {f"{name}_dir": place for name, place in places.items()}
        call = _call("Data.from_folders", (), {**places, **options})
        return cls({"dataset": "folder", **named, **options}, call=call)

    @classmethod
    def from_tfds(cls, name: str, **options: Any) -> "Data":
        """Uses a data set of tensorflow-datasets.

        Args:
            name: "NAME", "NAME/CONFIG" or "NAME:VERSION".
            **options: Data options, such as ``num_labeled``, ``labeled_split``,
                ``unlabeled_split``, ``test_split`` and ``data_dir``.
        """
        call = _call("Data.from_tfds", (name,), options)
        return cls({"dataset": f"tfds:{name}", **options}, call=call)

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        unlabeled: Any = None,
        test: tuple[Any, Any] | None = None,
        validation: tuple[Any, Any] | None = None,
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> "Data":
        """Uses NumPy arrays.

        To resume a run, pass the same arrays; others are refused.

        Args:
            images: uint8 (0..255) or float (0..1, rounded to bytes), [N, H, W, 3], or gray as
                [N, H, W, 1] or [N, H, W].
            labels: Integers from 0, [N] or [N, 1].
            unlabeled: Images in the same format.
            test: Images and labels.
            validation: Images and labels.
            class_names: Class names, in label order; None: the numbers.
            **options: Further data options.

        Raises:
            ValueError: An array has an invalid shape, type or range, or lengths differ.
        """
        source = sources.from_arrays(
            (images, labels),
            unlabeled=unlabeled,
            test=test,
            validation=validation,
            class_names=class_names,
        )
        return cls({"dataset": "arrays", **options}, source, _call_of(source, options))

    @classmethod
    def from_datasets(
        cls,
        labeled: tf.data.Dataset,
        *,
        unlabeled: tf.data.Dataset | None = None,
        test: tf.data.Dataset | None = None,
        validation: tf.data.Dataset | None = None,
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> "Data":
        """Reads finite tf.data sets into memory, at most 4 GiB each.

        Elements are single images of one size with their labels, in the format of `from_arrays`,
        and always in the same order. Elements of `unlabeled` may be images only.

        Args:
            labeled: Elements (image, label).
            unlabeled: Elements image, or (image, label): labels are ignored.
            test: Elements (image, label).
            validation: Elements (image, label).
            class_names: Class names, in label order; None: the numbers.
            **options: Further data options.

        Raises:
            ValueError: A data set is infinite, batched or too large, or as in `from_arrays`.
        """
        pairs = {"labeled": labeled, "test": test, "validation": validation}
        read = {name: _read(each, name) for name, each in pairs.items() if each is not None}
        if unlabeled is not None:
            read["unlabeled"] = _read(unlabeled, "unlabeled", with_labels=False)
        images, labels = read.pop("labeled")
        return cls.from_arrays(
            images,
            labels,
            unlabeled=read.get("unlabeled"),
            test=read.get("test"),
            validation=read.get("validation"),
            class_names=class_names,
            **options,
        )


def _read(dataset: tf.data.Dataset, name: str, with_labels: bool = True) -> Any:
    """Returns the images and labels of a data set, or only its images, as arrays."""
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(f"{name} must be a tf.data.Dataset, not {type(dataset).__name__}.")
    spec = dataset.element_spec
    is_pair = isinstance(spec, tuple) and len(spec) == 2
    if not (is_pair or (not with_labels and isinstance(spec, tf.TensorSpec))):
        raise ValueError(f"{name} must have elements (image, label), not {spec}.")
    image = spec[0] if is_pair else spec
    if image.shape.rank not in (2, 3, None):
        raise ValueError(
            f"{name} has elements of the shape {image.shape}, such as batches: give single images "
            f"[H, W, C], as {name}.unbatch() returns them."
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{name} is infinite: remove repeat(), or add take(N).")
    rows = dataset.as_numpy_iterator()
    try:
        images, labels = _within_memory(rows if is_pair else zip(rows, itertools.repeat(0)), name)
    except tf.errors.OpError as error:
        reason = error.message.rpartition("}} ")[2].splitlines()[0]
        raise ValueError(f"{name} cannot be read: {reason[:300]}") from error
    return (images, labels) if with_labels else images


def _within_memory(pairs: Iterable[tuple[Any, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    images: list[np.ndarray] = []
    labels: list[Any] = []
    size = 0
    for image, label in pairs:
        if images and image.shape != images[0].shape:
            raise ValueError(
                f"{name} has images of {images[0].shape} and {image.shape}: resize them to one "
                "size, or give folders (Data.from_folders)."
            )
        size += image.nbytes
        if size > MEMORY_BYTES:
            raise ValueError(
                f"{name} does not fit into {MEMORY_BYTES >> 30} GiB: give uint8 instead of float, "
                "or images on disk (Data.from_folders, dataset='records')."
            )
        images.append(image)
        labels.append(label)
    if not images:
        raise ValueError(f"{name} is empty.")
    return np.stack(images), np.asarray(labels)


def _call_of(source: sources.Arrays, options: Mapping[str, Any]) -> str:
    """Returns the constructor call as text, with a description in place of each array."""
    described = [f"{name}: {text}" for name, text in source.request().items() if name != "dataset"]
    arguments = [f"<{'; '.join(described)}>", *(f"{k}={v!r}" for k, v in options.items())]
    return f"Data.from_arrays({', '.join(arguments)})"


def _call(name: str, positional: Iterable[Any], named: Mapping[str, Any]) -> str:
    """Returns a Python call as text."""
    arguments = [*map(repr, positional), *(f"{key}={value!r}" for key, value in named.items())]
    return f"{name}({', '.join(arguments)})"
