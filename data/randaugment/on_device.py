"""RandAugment within the training step on an accelerator: all images at once, without a loop.

For each image, `policy` only computes the operation that was drawn, which suits CPU cores. On an
accelerator this would launch thousands of small kernels. Here, each of the five kinds of operations
is computed for the whole batch, and each image selects its result. The images are bit-identical.
"""

from collections.abc import Callable
from typing import Unpack

import tensorflow as tf

from data.randaugment import operations, policy, registered


def rand_augment_on_device(
    images: tf.Tensor,
    seeds: tf.Tensor,
    num_layers: int = 2,
    magnitude: float = 27,
    translate: float = 100,
    cutout: float = 40,
    **variant: Unpack[policy.Variant],
) -> tf.Tensor:
    """Applies `rand_augment` to each image of a batch, on the caller's device.

    Args:
      images: uint8 [B, H, W, 3].
      seeds: int32 [B, 2].
      num_layers: as in `rand_augment`, like all others.
      magnitude: 10 is "full".
      translate: in pixels.
      cutout: in pixels.
      **variant: see `policy.Variant`.

    Returns:
      uint8 [B, H, W, 3].

    Raises:
      ValueError: as in `rand_augment`, or if operations were registered.
    """
    images = operations.checked(images, rank=4)
    if added := [name for name in registered.names() if name not in operations.NAMES]:
        raise ValueError(f"Registered operations only run on the host: {', '.join(added)}.")
    noise, contrast = policy.checked_variant(variant)
    table = policy.arguments(num_layers, magnitude, translate, cutout, noise)
    size = tf.shape(images)[1:3]

    def layer(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        return _apply(images, *policy.drawn(numbers, table, size), contrast)

    numbers = policy.draws(tf.convert_to_tensor(seeds, tf.int32), num_layers)
    return tf.foldl(layer, tf.transpose(numbers, [1, 0, 2]), initializer=images)


def _apply(
    images: tf.Tensor, operation: tf.Tensor, argument: tf.Tensor, center: tf.Tensor, contrast: str
) -> tf.Tensor:
    """Applies `operations.apply` to batches by computing every kind of operation for all images.

    All but `contrast` have a leading dimension B.
    """
    shape = tf.shape(images)
    height, width = tf.unstack(tf.cast(shape[1:3], tf.float64))
    wide = tf.cast(argument, tf.float64)
    tables = tf.broadcast_to(operations.all_levels(tf.int32), [shape[0], 3, 256])
    for name, make in (operations.TABLES | {"Contrast": operations.CONTRASTS[contrast]}).items():
        made = _each(lambda image, x, make=make: tf.broadcast_to(make(image, x), [3, 256]))
        tables = _chosen(operation, operations.NAMES.index(name), made(images, argument), tables)
    maps = tf.zeros([shape[0], 6], tf.float64)
    for name, make_map in operations.MAPS.items():
        matrices = _each(lambda x, make=make_map: make(height, width, x))(wide)
        maps = _chosen(operation, operations.NAMES.index(name), matrices, maps)
    rows = tf.reshape(images, [shape[0], shape[1], 3 * shape[2]])
    sharp = tf.reshape(_each(operations.sharpness_filter)(rows, argument), shape)
    results = (
        _each(operations.apply_table)(images, tables),
        _each(operations.apply_map)(images, maps),
        _each(operations.color_filter)(images, argument),
        sharp,
        _each(operations.cutout_filter)(images, argument, center),
    )
    kind, found = tf.gather(operations.KINDS, operation), images
    for number, result in enumerate(results):
        found = _chosen(kind, number, result, found)
    return tf.ensure_shape(found, images.shape)


def _each(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Returns a function of batches from one of single images, without a loop."""
    return lambda *batches: tf.vectorized_map(
        lambda rows: function(*rows), batches, fallback_to_while_loop=False
    )


def _chosen(numbers: tf.Tensor, number: int, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """Returns the rows of `new` where `numbers` [B] is `number`, elsewhere those of `old`."""
    is_chosen = tf.reshape(numbers == number, [-1, *[1] * (new.shape.rank - 1)])
    return tf.where(is_chosen, new, old)
