"""Reader of image classification sets of tensorflow-datasets.

Sets of one image size that fit in memory are read into it. Others, such as imagenet2012, are
indexed in place: tensorflow-datasets stores encoded images in TFRecord files.
"""

import itertools
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from data.examples import UNKNOWN_LABEL, DecodedExamples, EncodedExamples
from data.optional import require
from data.sources import record_index, records

TRAIN = "train"  # split of the labeled images where none is asked for
MEMORY_BYTES = 4 << 30  # largest size in memory of a set, all splits together
_READ_BATCH = 1000  # images per read of tensorflow-datasets
_TIMEOUT_SECONDS = 20
_HELD_OUT = ("test", "validation")
_UNLABELED = {"svhn_cropped": "extra"}  # published code: what its SVHN experiment pseudo-labels


def read(name: str, split: str, data_dir: str | None = None) -> DecodedExamples | EncodedExamples:
    """Reads one split, in the order on disk.

    Args:
        name: name of the set as tensorflow-datasets writes it: "NAME", "NAME/CONFIG" or
            "NAME:VERSION".
        split: a split of the set, or a slice such as "train[:10%]".
        data_dir: where tensorflow-datasets keeps its data; None: its default.

    Returns:
        The images. Their ids contain split and position, as in "cifar10/train/00017", for slices,
        too.

    Raises:
        ValueError: there is no such set or split, it cannot be downloaded, or it is none of labeled
            images.
    """
    builder = _builder(name, data_dir)
    instructions = _split(builder, name, split).file_instructions
    places = list(itertools.chain.from_iterable(_places(builder, instructions)))
    ids = np.array([f"{name}/{part}/{number:05d}" for part, number in places], object)
    class_names = _class_names(builder, name)
    if _fits(builder):
        images, labels = _pixels(builder, split, len(places))
        return DecodedExamples(ids, labels, class_names, images)
    return EncodedExamples(ids, class_names=class_names, **_index(instructions))


def count(name: str, split: str, data_dir: str | None = None) -> int:
    """Returns the number of images of a split without reading them; see `read`."""
    return _split(_builder(name, data_dir), name, split).num_examples


def default_splits(name: str, data_dir: str | None = None) -> dict[str, str]:
    """Returns the splits to take where none are asked for; see `read`.

    Returns:
        "test": the split "test", or "validation" where the set has no test images or keeps their
        labels secret, as imagenet2012; absent if there is neither. "unlabeled": "extra" of SVHN;
        absent for other sets.
    """
    builder = _builder(name, data_dir)
    splits = {}
    held_out = [s for s in _HELD_OUT if s in builder.info.splits and _has_labels(builder, s)]
    if held_out:
        splits["test"] = held_out[0]
    if builder.name in _UNLABELED:
        splits["unlabeled"] = _UNLABELED[builder.name]
    return splits


# Objects of tensorflow-datasets are annotated as Any: it is imported only where it is used.


def _builder(name: str, data_dir: str | None) -> Any:
    """Returns the tensorflow-datasets builder of a set, after downloading it if necessary."""
    tfds = require("tensorflow_datasets")

    try:
        builder = tfds.builder(name, data_dir=data_dir and os.path.expanduser(data_dir))
    except tfds.core.DatasetNotFoundError as error:
        also = f", nor does {data_dir}" if data_dir else ""
        raise ValueError(f"tensorflow-datasets does not know {name!r}{also}.") from error
    if builder.is_prepared():
        return builder
    _class_names(builder, name)  # Refuse before a long download.
    try:
        _reach(builder.url_infos)
        builder.download_and_prepare()
    except (OSError, AssertionError, tfds.download.DownloadError) as error:
        # An AssertionError is how sets say that they must be downloaded by hand.
        raise ValueError(
            f"{name!r} is not in {builder.data_dir} and cannot be downloaded "
            f"({type(error).__name__}): give the data_dir that has it, or network access."
        ) from error
    return builder


def _split(builder: Any, name: str, split: str) -> Any:
    """Returns what a set knows about a split or slice; a ValueError names one that is missing."""
    try:
        return builder.info.splits[split]
    except ValueError as error:
        valid = ", ".join(builder.info.splits)
        raise ValueError(f"tfds:{name} has no split {split!r}. Valid: {valid}, slices.") from error


def _reach(urls: Iterable[str]) -> None:
    """Raises an OSError if the first server is out of reach; a download would retry for minutes."""
    for url in itertools.islice(urls, 1):
        try:
            urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS).close()
        except urllib.error.HTTPError:
            pass  # The server answers: let the download find out.


def _class_names(builder: Any, name: str) -> tuple[str, ...]:
    """Returns the class names of a set, in the order of its labels."""
    features = builder.info.features
    if "image" not in features:
        raise ValueError(f"tfds:{name} has no feature 'image', only {list(features)}.")
    image = features["image"]
    shape, dtype = image.shape, np.dtype(image.np_dtype)
    if dtype != np.uint8 or len(shape) != 3 or shape[-1] not in (1, 3, None):
        raise ValueError(
            f"tfds:{name} has images of {dtype} {shape}: must be uint8 (0 to 255) and have 1 or 3 "
            "channels, (height, width, channels)."
        )
    names = getattr(features["label"], "names", None) if "label" in features else None
    if names is None:
        raise ValueError(f"tfds:{name} has no class label in its feature 'label'.")
    return tuple(name.removeprefix("\ufeff") for name in names)


def _fits(builder: Any) -> bool:
    """Returns True if all images have one size, and fit in memory altogether."""
    height, width, _ = builder.info.features["image"].shape
    if height is None or width is None:
        return False
    total = sum(split.num_examples for split in builder.info.splits.values())
    return total * height * width * 3 <= MEMORY_BYTES


def _has_labels(builder: Any, split: str) -> bool:
    """Returns True if the first example of a split has a label."""
    for instruction in builder.info.splits[split].file_instructions:
        for entry in record_index.index(instruction.filename):
            return entry.label is not None and entry.label >= 0
    return False


def _places(builder: Any, instructions: Sequence[Any]) -> Iterator[Iterable[tuple[str, int]]]:
    """Yields, for each of the files to read, split and place in it of every image it gives."""
    begins = {}
    for part, split in builder.info.splits.items():
        lengths = np.cumsum([0, *split.shard_lengths])
        for path, begin in zip(split.filepaths, lengths, strict=False):
            begins[os.path.basename(path)] = (part, int(begin))
    for instruction in instructions:
        part, begin = begins[os.path.basename(instruction.filename)]
        first = begin + instruction.skip
        yield ((part, first + place) for place in range(_count(instruction)))


def _count(instruction: Any) -> int:
    """Returns the number of images taken of a file."""
    left = instruction.examples_in_shard - instruction.skip
    return left if instruction.take < 0 else min(instruction.take, left)


def _pixels(builder: Any, split: str, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads the images, uint8 [N, H, W, 3], and the labels, int32 [N], of a split."""
    tfds = require("tensorflow_datasets")

    height, width, _ = builder.info.features["image"].shape
    images = np.empty((total, height, width, 3), np.uint8)
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
    return images, labels


def _index(instructions: Sequence[Any]) -> dict[str, np.ndarray]:
    """Finds the labels, files and offsets of the images of a split."""
    records.verify_if_small([instruction.filename for instruction in instructions])
    taken: list[record_index.Entry] = []
    for instruction in instructions:
        stop = instruction.skip + _count(instruction)
        taken += itertools.islice(record_index.index(instruction.filename), instruction.skip, stop)
    for entry in taken:
        if entry.problem:
            raise ValueError(f"{entry.place}: {entry.problem}.")
    return {
        "labels": np.array(
            [UNKNOWN_LABEL if e.label is None else e.label for e in taken], np.int32
        ),
        "files": np.array([entry.path for entry in taken], object),
        "offsets": np.array([entry.offset for entry in taken], np.int64),
    }
