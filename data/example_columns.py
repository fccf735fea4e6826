"""Examples as tensors that batches are gathered from."""

import numpy as np
import tensorflow as tf

from data import preprocess, seeds
from data.examples import Examples
from data.order import Columns
from data.preprocess import PreprocessSpec


def example_columns(examples: Examples, spec: PreprocessSpec) -> Columns:
    """The examples as tensors: "images" in the model's size, "original" ones, or their places."""
    with tf.device("CPU:0"):
        columns = {
            "labels": tf.constant(examples.labels),
            "id_hash": tf.constant(seeds.hash_ids(examples.ids).view(np.int64)),
            "copy": tf.zeros(len(examples), tf.int32),
        }
        if examples.files is not None:
            columns["file"] = tf.constant(examples.files.tolist(), tf.string)
            if examples.offsets is not None:
                columns["offset"] = tf.constant(examples.offsets)
        elif not spec.small_image:
            columns["original"] = tf.constant(examples.images)
        else:
            columns["images"] = _fit_all(tf.constant(examples.images), size=spec.image_size)
    return columns


@tf.function
def _fit_all(images: tf.Tensor, size: int) -> tf.Tensor:
    """All images of a small-image set in the size of the model."""
    if images.shape[1:3] == (size, size):
        return images
    return tf.map_fn(
        lambda image: preprocess.fit_small(image, size),
        images,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
    )
