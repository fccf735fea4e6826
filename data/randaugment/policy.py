"""The RandAugment policy: randomly drawn operations, all at one magnitude.

Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
space" (arXiv 1909.13719).

`rand_augment_batch` is `rand_augment`, compiled by XLA into one loop over the batch. The results
are bit-identical.
"""

import functools
import math
import statistics
from collections.abc import Sequence
from typing import TypedDict, Unpack

import numpy as np
import tensorflow as tf
from PIL import Image

from data import contact_sheet as sheets
from data import seeds as seeds_lib
from data.randaugment import operations, registered
from data.randaugment.magnitude import level_to_argument

_QUANTILES = 256  # of the normal distribution that random magnitudes are drawn from


class Variant(TypedDict, total=False):
    """Deviations of a policy from the paper or from PIL.

    Attributes:
      magnitude_noise: standard deviation of the normal distribution around the magnitude, clipped
        at 0, from which each operation draws its magnitude. 0 (default): no noise, as in the paper.
      contrast: gray level that Contrast blends toward. "true_mean" (default): that of the image, as
        in PIL. "published": the number of pixels / 256, at most 255, as in the public code of Noisy
        Student (196 at 224 x 224 pixels).
    """

    magnitude_noise: float
    contrast: str


def rand_augment(
    image: tf.Tensor,
    seed: tf.Tensor,
    num_layers: int = 2,
    magnitude: float = 27,
    translate: float = 100,
    cutout: float = 40,
    **variant: Unpack[Variant],
) -> tf.Tensor:
    """Applies randomly drawn operations to one image.

    Args:
      image: uint8 [H, W, 3].
      seed: int32 [2]; the result depends only on it and on the other arguments.
      num_layers: number of operations, at least 1, drawn uniformly with replacement.
      magnitude: magnitude of every operation; see `level_to_argument`.
      translate: pixels that translations move at magnitude 10.
      cutout: half the side of Cutout's square at magnitude 10, in pixels.
      **variant: see `Variant`.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: the image has another dtype or rank, num_layers is below 1, magnitude or
        magnitude_noise is negative, or contrast is unknown.
    """
    image = operations.checked(image, rank=3)
    seed = tf.convert_to_tensor(seed, tf.int32)
    noise, contrast = checked_variant(variant)
    table = arguments(num_layers, magnitude, translate, cutout, noise)
    with tf.device("CPU:0"):
        added = registered.functions()
        augmented = _augment_one(image, seed, table, num_layers, contrast, added)
        return tf.ensure_shape(augmented, image.shape)


def rand_augment_batch(
    images: tf.Tensor,
    seeds: tf.Tensor,
    num_layers: int = 2,
    magnitude: float = 27,
    translate: float = 100,
    cutout: float = 40,
    **variant: Unpack[Variant],
) -> tf.Tensor:
    """Applies `rand_augment` to each image of a batch with its own seed, compiled.

    XLA compiles once per batch shape, which takes one or two seconds. Use `rand_augment` for images
    of many sizes.

    Args:
      images: uint8 [B, H, W, 3].
      seeds: int32 [B, 2].
      num_layers: as in `rand_augment`, like all arguments below.
      magnitude: magnitude of every operation.
      translate: pixels that translations move at magnitude 10.
      cutout: half the side of Cutout's square at magnitude 10, in pixels.
      **variant: see `Variant`.

    Returns:
      uint8 [B, H, W, 3].

    Raises:
      ValueError: as in `rand_augment`.
    """
    images = operations.checked(images, rank=4)
    seeds = tf.convert_to_tensor(seeds, tf.int32)
    noise, contrast = checked_variant(variant)
    table = arguments(num_layers, magnitude, translate, cutout, noise)
    with tf.device("CPU:0"):
        added = registered.functions()
        augmented = _augment_batch(images, seeds, table, num_layers, contrast, added)
        return tf.ensure_shape(augmented, images.shape)


def checked_variant(variant: Variant) -> tuple[float, str]:
    """Returns magnitude_noise and contrast."""
    noise, contrast = variant.get("magnitude_noise", 0.0), variant.get("contrast", "true_mean")
    if unknown := variant.keys() - Variant.__annotations__.keys():
        raise TypeError(f"Unknown arguments: {', '.join(sorted(unknown))}.")
    if not 0 <= noise < math.inf:
        raise ValueError(f"magnitude_noise must be at least 0, got {noise}.")
    if contrast not in operations.CONTRASTS:
        raise ValueError(
            f"contrast must be one of {', '.join(operations.CONTRASTS)}, got {contrast!r}."
        )
    return noise, contrast


def arguments(
    num_layers: int, magnitude: float, translate: float, cutout: float, magnitude_noise: float
) -> tf.Tensor:
    """Returns all operations' arguments at equally likely magnitudes, float32 [magnitudes, N]."""
    if num_layers < 1:
        raise ValueError(f"num_layers must be at least 1, got {num_layers}.")
    magnitudes = [magnitude]
    if magnitude_noise:
        normal = statistics.NormalDist(magnitude, magnitude_noise)
        quantiles = [(i + 0.5) / _QUANTILES for i in range(_QUANTILES)]
        magnitudes = [max(normal.inv_cdf(quantile), 0.0) for quantile in quantiles]
    values = [
        [level_to_argument(name, each, translate, cutout) or 0.0 for name in registered.names()]
        for each in magnitudes
    ]
    return tf.constant(values, tf.float32)


@tf.function(autograph=False, reduce_retracing=True)
def _augment_one(
    image: tf.Tensor,
    seed: tf.Tensor,
    table: tf.Tensor,
    num_layers: int,
    contrast: str,
    added: tuple[registered.Function, ...],
) -> tf.Tensor:
    return _augment(image, draws(seed, num_layers), table, contrast, added)


@tf.function(autograph=False, jit_compile=True)
def _augment_batch(
    images: tf.Tensor,
    seeds: tf.Tensor,
    table: tf.Tensor,
    num_layers: int,
    contrast: str,
    added: tuple[registered.Function, ...],
) -> tf.Tensor:
    return tf.map_fn(
        lambda pair: _augment(pair[0], pair[1], table, contrast, added),
        (images, draws(seeds, num_layers)),
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8),
    )


def draws(seeds: tf.Tensor, num_layers: int) -> tf.Tensor:
    """Draws four uniform numbers per layer, float32 [..., num_layers, 4]."""
    numbers = seeds_lib.uniform(seeds, 4 * num_layers)
    return tf.reshape(numbers, tf.concat([tf.shape(seeds)[:-1], [num_layers, 4]], 0))


def drawn(
    numbers: tf.Tensor, table: tf.Tensor, size: tf.Tensor, num_added: int = 0
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Converts the random numbers of a layer into operation, argument and center.

    Args:
      numbers: float32 [..., 4], uniform in [0, 1): operation and magnitude, sign, center (2).
      table: float32 [magnitudes, operations]; see `arguments`.
      size: int32 [2], height and width of the images.
      num_added: number of operations besides the sixteen.

    Returns:
      int32 [...], index of the operation; float32 [...], its argument; int32 [..., 2], row and
      column of Cutout's center.
    """
    count = len(operations.NAMES) + num_added
    signed = [name in operations.SIGNED for name in operations.NAMES]
    has_sign = tf.constant([*signed, *[False] * num_added])
    operation = seeds_lib.uniform_int(numbers[..., 0], count)
    # The fraction is uniform as well, and independent of the operation.
    fraction = tf.math.mod(numbers[..., 0] * count, 1.0)
    quantile = seeds_lib.uniform_int(fraction, tf.shape(table)[0])
    argument = tf.gather(tf.reshape(table, [-1]), quantile * count + operation)
    negative = tf.gather(has_sign, operation) & (numbers[..., 1] < 0.5)
    center = seeds_lib.uniform_int(numbers[..., 2:], size)
    return operation, tf.where(negative, -argument, argument), center


def _augment(
    image: tf.Tensor,
    numbers: tf.Tensor,
    table: tf.Tensor,
    contrast: str,
    added: tuple[registered.Function, ...],
) -> tf.Tensor:
    """Applies one operation per row of the random numbers.

    Args:
      image: uint8 [H, W, 3].
      numbers: float32 [num_layers, 4]; see `drawn`.
      table: float32 [magnitudes, operations]; see `arguments`.
      contrast: form of Contrast.
      added: operations besides the sixteen.
    """
    own = len(operations.NAMES)

    def layer(image: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
        operation, argument, center = drawn(row, table, tf.shape(image)[:2], len(added))
        apply_own = functools.partial(
            operations.apply, image, operation, argument, center, contrast
        )
        if not added:
            return apply_own()
        others = [functools.partial(registered.apply, each, image, argument) for each in added]
        return tf.switch_case(tf.maximum(operation - own + 1, 0), [apply_own, *others])

    return tf.foldl(layer, numbers, initializer=image)


def contact_sheet(image: np.ndarray, magnitudes: Sequence[float]) -> Image.Image:
    """Draws an image after every operation (rows) at several magnitudes (columns).

    Args:
      image: uint8 [H, W, 3].
      magnitudes: one per column; see `level_to_argument`.

    Returns:
      A labeled grid of images.
    """
    rows = {
        name: [operation(image, level_to_argument(name, each)).numpy() for each in magnitudes]
        for name, operation in operations.OPERATIONS.items()
    }
    return sheets.draw(rows, [f"M = {magnitude:g}" for magnitude in magnitudes])
