"""Examples as tensors that batches are gathered from."""

import numpy as np
import tensorflow as tf

from data import preprocess, seeds, tfrecord_file
from data.examples import Examples
from data.pipeline.decoded import DecodedCache
from data.pipeline.order import Columns
from data.preprocess import PreprocessSpec


def example_columns(
    examples: Examples, spec: PreprocessSpec, cache: DecodedCache | None = None, name: str = ""
) -> Columns:
    """The examples as tensors: "images" in the model's size, "original" ones, or their places.

    Args:
        examples: the images.
        spec: size and crop of the model's images.
        cache: holds images on disk as "images" if they fit; None: none are held.
        name: of the examples, for people who want to know what is held.

    Returns:
        Tensors whose rows are the examples; `original` reads an element without "images".
    """
    with tf.device("CPU:0"):
        columns = {
            "labels": tf.constant(examples.labels),
            "id_hash": tf.constant(seeds.hash_ids(examples.ids).view(np.int64)),
            "copy": tf.zeros(len(examples), tf.int32),
        }
        if examples.files is not None:
            places = {"file": tf.constant(examples.files.tolist(), tf.string)}
            if examples.offsets is not None:
                places["offset"] = tf.constant(examples.offsets)
            held = None if cache is None else _held(examples, places, spec, cache, name)
            columns |= places if held is None else {"images": held}
        elif not spec.small_image:
            columns["original"] = tf.constant(examples.images)
        else:
            columns["images"] = _fit_all(tf.constant(examples.images), size=spec.image_size)
    return columns


def original(element: Columns) -> tf.Tensor:
    """The image, uint8 [H, W, 3], of an element that has it in one form or another."""
    if "original" in element:
        return element["original"]
    return preprocess.decode_image(_encoded(element))


def _encoded(element: Columns) -> tf.Tensor:
    """The encoded image, a string scalar, of an element that has it or says where it lies."""
    if "encoded" in element:
        return element["encoded"]
    file, offset = element["file"], element.get("offset")
    if offset is None:
        return tf.io.read_file(file)
    return tf.cond(
        offset < 0, lambda: tf.io.read_file(file), lambda: tfrecord_file.read_encoded(file, offset)
    )


def _held(
    examples: Examples, places: Columns, spec: PreprocessSpec, cache: DecodedCache, name: str
) -> tf.Tensor | None:
    """The images as evaluation shows them, uint8 [N, S, S, 3], if the cache holds them."""

    def read(index: tf.Tensor) -> tf.Tensor:
        element = {name: tf.gather(column, index) for name, column in places.items()}
        return preprocess.eval_image(original(element), spec)

    return cache.hold(
        name,
        (examples, spec),
        len(examples),
        spec.image_size,
        lambda: tf.data.Dataset.range(len(examples)).map(
            read, num_parallel_calls=preprocess.PARALLEL
        ),
        lambda index: f"{examples.ids[index]} ({examples.files[index]})",
    )


@tf.function(reduce_retracing=True)  # sets differ in length
def _fit_all(images: tf.Tensor, size: int) -> tf.Tensor:
    """All images of a small-image set in the size of the model."""
    if images.shape[1:3] == (size, size):
        return images
    return tf.map_fn(
        lambda image: preprocess.fit_small(image, size),
        images,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
    )
