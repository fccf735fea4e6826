"""Examples as tensors from which batches are gathered."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data import preprocess, seeds, tfrecord_file
from data.examples import WHOLE_FILE, DecodedExamples, EncodedExamples, Examples
from data.pipeline.decoded import DecodedCache, Request
from data.pipeline.order import Columns
from data.preprocess import PreprocessSpec

# Reads the image of one row, uint8 [H, W, 3], from its columns.
Read = Callable[[Columns], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Batches:
    """A stream of batches, and how their images are read."""

    dataset: tf.data.Dataset  # dictionaries of columns [B, ...]
    # Reads the original image of a row; None: the column "images" holds images in the model's size,
    # uint8 [B, S, S, 3].
    read: Read | None


@dataclasses.dataclass(frozen=True)
class Table:
    """Examples as tensors."""

    columns: Columns  # tensors whose rows are the examples
    # Reads the original image of a row; None: the column "images" holds images in the model's size,
    # uint8 [N, S, S, 3].
    read: Read | None

    def gather(self, order: tf.data.Dataset) -> Batches:
        """Adds the columns to batches of their "index"; index -1 takes any example."""

        def look_up(batch: Columns) -> Columns:
            where = tf.maximum(batch["index"], 0)
            found = {name: tf.gather(column, where) for name, column in self.columns.items()}
            return batch | found

        return Batches(order.map(look_up, num_parallel_calls=tf.data.AUTOTUNE), self.read)


def example_table(
    examples: Examples, spec: PreprocessSpec, cache: DecodedCache | None = None, name: str = ""
) -> Table:
    """Returns examples with their labels, hashes of their ids and images.

    Args:
        examples: the images.
        spec: size and crop of the model's images.
        cache: keeps images on disk decoded if they fit; None: no cache.
        name: name of the examples in the cache's report.

    Returns:
        The columns "labels", "id_hash" and "copy", and those of `image_table`.
    """
    with tf.device("CPU:0"):
        columns = {
            "labels": tf.constant(examples.labels),
            "id_hash": tf.constant(seeds.hash_ids(examples.ids).view(np.int64)),
            "copy": tf.zeros(len(examples), tf.int32),
        }
    images = image_table(examples, spec, cache, name)
    return Table(columns | images.columns, images.read)


def image_table(
    examples: Examples, spec: PreprocessSpec, cache: DecodedCache | None = None, name: str = ""
) -> Table:
    """Returns only the images of examples, or their places; see `example_table`."""
    with tf.device("CPU:0"):
        if isinstance(examples, EncodedExamples):
            return _encoded_images(examples, spec, cache, name)
        if not isinstance(examples, DecodedExamples):
            raise TypeError(f"{type(examples).__name__} are neither decoded nor encoded examples.")
        images = tf.constant(examples.images)
        if spec.small_image:
            return Table({"images": _fit_all(images, spec)}, None)
        return Table({"original": images}, lambda row: row["original"])


def _encoded_images(
    examples: EncodedExamples, spec: PreprocessSpec, cache: DecodedCache | None, name: str
) -> Table:
    """Returns decoded images if they are cached, else their locations."""
    places = {"file": tf.constant(examples.files.tolist(), tf.string)}
    read = _read_file
    if examples.record_files():
        places["offset"] = tf.constant(examples.offsets)
        read = _read_file_or_record
    held = None
    if cache is not None and spec.dtype == tf.uint8:  # the cache's only type

        def image(index: tf.Tensor) -> tf.Tensor:
            row = {name: tf.gather(column, index) for name, column in places.items()}
            return preprocess.eval_image(read(row), spec)

        request = Request(
            name,
            (examples, spec),
            count=len(examples),
            side=spec.image_size,
            images=lambda: tf.data.Dataset.range(len(examples)).map(
                image, num_parallel_calls=preprocess.PARALLEL
            ),
        )
        held = cache.hold(request)
    return Table(places, read) if held is None else Table({"images": held}, None)


def _read_file(row: Columns) -> tf.Tensor:
    return preprocess.decode_named(tf.io.read_file(row["file"]), row["file"])


def _read_file_or_record(row: Columns) -> tf.Tensor:
    file, offset = row["file"], row["offset"]
    place = tf.strings.join([file, ", record at byte ", tf.strings.as_string(offset)])
    encoded = tf.cond(
        offset == WHOLE_FILE,
        lambda: tf.io.read_file(file),
        lambda: tfrecord_file.read_encoded(file, offset),
    )
    return preprocess.decode_named(encoded, tf.where(offset == WHOLE_FILE, file, place))


def _fit_all(images: tf.Tensor, spec: PreprocessSpec) -> tf.Tensor:
    """Converts all images of a small-image set to the size of the model."""
    if images.shape[1:3] == (spec.image_size, spec.image_size):
        return images
    return _fitting(spec)(images)


@functools.cache
def _fitting(spec: PreprocessSpec) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that converts all images to the size of the model, traced once."""
    signature = tf.TensorSpec([spec.image_size, spec.image_size, 3], spec.dtype)
    return tf.function(
        lambda images: tf.map_fn(
            lambda image: preprocess.eval_image(image, spec), images, fn_output_signature=signature
        ),
        autograph=False,
        reduce_retracing=True,  # sets differ in length
    )
