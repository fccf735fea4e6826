"""Common corruptions as a tf.data transformation."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from data.corruptions.registry import corrupt
from data.preprocess import PARALLEL


def transform(
    name: str, severity: int, seed: int = 0, native_size: int | None = None
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Returns a transformation, as in ``dataset.apply(corruptions.transform("fog", 3))``.

    Elements are uint8 images [H, W, 3], or tuples that start with one; the rest of a tuple is
    unchanged. Image i is corrupted with ``seed + i``, in every pass.

    Args:
        name: as in `corrupt`.
        severity: as in `corrupt`.
        seed: seed of the first image.
        native_size: as in `corrupt`.

    Raises:
        ValueError: as in `corrupt`, except for invalid images.
    """
    corrupt(np.zeros([64, 64, 3], np.uint8), name, severity, seed, native_size)
    function = functools.partial(_corrupted, name, severity, native_size)

    def apply(dataset: tf.data.Dataset) -> tf.data.Dataset:
        return dataset.enumerate(seed).map(function, num_parallel_calls=PARALLEL)

    return apply


def _corrupted(
    name: str, severity: int, native_size: int | None, seed: tf.Tensor, element: Any
) -> Any:
    image, rest = (element[0], element[1:]) if isinstance(element, tuple) else (element, ())

    def of_arrays(image: np.ndarray, seed: np.ndarray) -> np.ndarray:
        return corrupt(image, name, severity, int(seed), native_size)

    corrupted = tf.numpy_function(of_arrays, [image, seed], tf.uint8, stateful=False)
    corrupted = tf.ensure_shape(corrupted, image.shape)
    return (corrupted, *rest) if isinstance(element, tuple) else corrupted
