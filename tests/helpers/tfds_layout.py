"""Writes small sets in the layout of tensorflow-datasets."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf


def write(
    folder: Path,
    name: str,
    split: str,
    images: Sequence[np.ndarray],
    labels: Iterable[int],
    class_names: Sequence[str],
    shape: tuple = (None, None, 3),
) -> None:
    """A set FOLDER/NAME of one split in one shard, with the features of ImageNet's variants."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=class_names),
            "file_name": tfds.features.Text(),
        }
    )
    folder = folder / name / "1.0.0"
    folder.mkdir(parents=True)
    path = folder / f"{name}-{split}.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in zip(images, labels, strict=True):
            record = {"image": image, "label": label, "file_name": "x.jpg"}
            writer.write(features.serialize_example(record))
    info = tfds.core.SplitInfo(name=split, shard_lengths=[len(images)], num_bytes=1)
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=[info])
