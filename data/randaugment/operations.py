"""The sixteen RandAugment operations on uint8 images, bit-identical to PIL.

Contrast also exists in the form of the public code, which only `policy` uses.

Sources: PIL (ImageOps, ImageEnhance, Image.transform) for the pixels that an operation returns;
the public code of Noisy Student Training for SolarizeAdd, Cutout and the gray of uncovered pixels.

Every operation is written once, for one image: as a lookup table of the 256 levels, an affine map
of the coordinates, or a filter. It rounds exactly like PIL, with and without XLA.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from data.preprocess import FILL

# Tables: new values of the 256 levels of each channel, int32 [3, 256] or broadcastable to it.


def _auto_contrast_table(image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    del argument
    # Reducing rows and then columns is twice as fast as reducing both at once.
    low, high = (
        tf.cast(reduce(reduce(image, 0), 0), tf.float64)[:, tf.newaxis]
        for reduce in (tf.reduce_min, tf.reduce_max)
    )
    scale = 255.0 / tf.maximum(high - low, 1.0)
    stretched = _rounded(all_levels(tf.float64) * scale) - _rounded(low * scale)
    stretched = tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.int32)
    return tf.where(high > low, stretched, all_levels(tf.int32))


def _equalize_table(image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    del argument
    indices = tf.reshape(_table_indices(image), [-1])
    histogram = tf.math.unsorted_segment_sum(tf.ones_like(indices), indices, 3 * 256)
    below = tf.cumsum(tf.reshape(histogram, [3, 256]), axis=1, exclusive=True)
    # PIL's step: the number of pixels below the brightest level present, divided by 255.
    dimmer = tf.where(below < tf.size(image) // 3, below, 0)
    step = tf.reduce_max(dimmer, 1, keepdims=True) // 255
    equalized = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    return tf.where(step > 0, equalized, all_levels(tf.int32))


def _invert_table(image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    del image, argument
    return 255 - all_levels(tf.int32)


def _posterize_table(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    del image
    shift = 8 - tf.cast(bits, tf.int32)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(all_levels(tf.int32), shift), shift)


def _solarize_table(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    del image
    levels = all_levels(tf.int32)
    return tf.where(levels < tf.cast(threshold, tf.int32), levels, 255 - levels)


def _solarize_add_table(image: tf.Tensor, addition: tf.Tensor) -> tf.Tensor:
    del image
    levels = all_levels(tf.int32)
    added = tf.clip_by_value(levels + tf.cast(addition, tf.int32), 0, 255)
    return tf.where(levels < 128, added, levels)


def _contrast_table(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    total = tf.cast(tf.reduce_sum(tf.cast(_luminance(image), tf.int32)), tf.int64)
    count = tf.size(image, tf.int64) // 3
    mean = (2 * total + count) // (2 * count)  # rounded half up
    return tf.cast(_blend(tf.cast(mean, tf.float32), all_levels(tf.float32), factor), tf.int32)


def _published_contrast_table(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends toward H * W / 256, which the public code uses as the mean gray level."""
    gray = tf.minimum(tf.size(image) // (3 * 256), 255)
    return tf.cast(_blend(tf.cast(gray, tf.float32), all_levels(tf.float32), factor), tf.int32)


def _brightness_table(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    del image
    return tf.cast(_blend(tf.constant(0.0), all_levels(tf.float32), factor), tf.int32)


def all_levels(dtype: tf.DType) -> tf.Tensor:
    """Returns the levels 0..255, [1, 256]."""
    return tf.constant(np.arange(256)[np.newaxis], dtype)


def _table_indices(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(image, tf.int32) + tf.constant([0, 256, 512])


def apply_table(image: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """Replaces the levels of an image, uint8 [H, W, 3], by a table, int32 [3, 256]."""
    table = tf.cast(tf.broadcast_to(table, [3, 256]), tf.uint8)
    return tf.gather(tf.reshape(table, [-1]), _table_indices(image))


# Affine maps, float64 [6]: output pixel (x, y) shows input (a x + b y + c, d x + e y + f).


def _rotate_map(height: tf.Tensor, width: tf.Tensor, degrees: tf.Tensor) -> tf.Tensor:
    cos, sin = tf.cos(degrees * (math.pi / 180)), tf.sin(degrees * (math.pi / 180))
    x, y = width / 2, height / 2
    return tf.stack([cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y])


def _shear_x_map(height: tf.Tensor, width: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    del height, width
    return tf.stack([1, slope, 0, 0, 1, 0])


def _shear_y_map(height: tf.Tensor, width: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    del height, width
    return tf.stack([1, 0, 0, slope, 1, 0])


def _translate_x_map(height: tf.Tensor, width: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    del height, width
    return tf.stack([1, 0, pixels, 0, 1, 0])


def _translate_y_map(height: tf.Tensor, width: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    del height, width
    return tf.stack([1, 0, 0, 0, 1, pixels])


def apply_map(image: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Samples nearest neighbors at pixel centers, in the 16.16 fixed point of Image.transform."""
    height, width = tf.unstack(tf.shape(image)[:2])
    a, b, c, d, e, f = tf.unstack(matrix)
    fixed = tf.stack([a, b, c + (a + b) / 2, d, e, f + (d + e) / 2]) * 65536
    a, b, c, d, e, f = tf.unstack(tf.cast(tf.floor(fixed + 0.5), tf.int32))
    x, y = tf.range(width), tf.range(height)[:, tf.newaxis]
    column = tf.bitwise.right_shift(x * a + (y * b + c), 16)
    row = tf.bitwise.right_shift(x * d + (y * e + f), 16)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = tf.where(inside, row * width + column, 0)
    pixels = tf.gather(tf.reshape(image, [-1, 3]), source)
    return tf.where(inside[..., tf.newaxis], pixels, tf.constant(FILL, tf.uint8))


# Filters: operations that need neighboring pixels, several channels or a position.


def color_filter(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends an image, uint8 [H, W, 3], with its gray version."""
    return _blend(_luminance(image)[..., tf.newaxis], tf.cast(image, tf.float32), factor)


def sharpness_filter(rows: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Blends rows, uint8 [H, 3 W], with PIL's SMOOTH filter: 3 x 3 ones with a 5 in the middle.

    Border pixels keep their values.
    """
    pixels = tf.cast(rows, tf.float32)
    size = tf.shape(rows)
    padded = tf.pad(pixels, [[1, 1], [3, 3]])
    neighbors = [tf.slice(padded, [y, x], size) for y in (0, 1, 2) for x in (0, 3, 6)]
    smooth = tf.floor((tf.add_n(neighbors) + 4 * pixels) / 13 + 0.5)
    y, x = tf.range(size[0])[:, tf.newaxis], tf.range(size[1])
    inside = (y >= 1) & (y < size[0] - 1) & (x >= 3) & (x < size[1] - 3)
    return _blend(tf.where(inside, smooth, pixels), pixels, factor)


def _rows(image: tf.Tensor) -> tf.Tensor:
    return tf.reshape(image, [tf.shape(image)[0], 3 * tf.shape(image)[1]])


def cutout_filter(image: tf.Tensor, half_side: tf.Tensor, center: tf.Tensor) -> tf.Tensor:
    """Fills a square of an image, uint8 [H, W, 3], around `center`, int32 [2], with gray."""
    half_side = tf.cast(half_side, tf.int32)
    y = tf.range(tf.shape(image)[0])[:, tf.newaxis, tf.newaxis] - center[0]
    x = tf.range(tf.shape(image)[1])[:, tf.newaxis] - center[1]
    inside = (y >= -half_side) & (y < half_side) & (x >= -half_side) & (x < half_side)
    return tf.where(inside, tf.constant(FILL, tf.uint8), image)


def _luminance(image: tf.Tensor) -> tf.Tensor:
    """Returns PIL's convert("L") as float32 [H, W]; sums stay below 2**24 and are exact."""
    weighted = tf.cast(image, tf.float32) * tf.constant([19595.0, 38470.0, 7471.0])
    return tf.floor((tf.reduce_sum(weighted, -1) + 32768.0) * 2.0**-16)


def _blend(degenerate: tf.Tensor, pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns degenerate + factor * (pixels - degenerate), truncated to uint8, like Image.blend."""
    blended = degenerate + _rounded(factor * (pixels - degenerate))
    return tf.cast(tf.clip_by_value(blended, 0.0, 255.0), tf.uint8)


def _rounded(product: tf.Tensor) -> tf.Tensor:
    """Prevents compilers from fusing product and sum, which would round once instead of twice."""
    return tf.minimum(product, product.dtype.max)


TABLES = {
    "AutoContrast": _auto_contrast_table,
    "Equalize": _equalize_table,
    "Invert": _invert_table,
    "Posterize": _posterize_table,
    "Solarize": _solarize_table,
    "SolarizeAdd": _solarize_add_table,
    "Contrast": _contrast_table,
    "Brightness": _brightness_table,
}
MAPS = {
    "Rotate": _rotate_map,
    "ShearX": _shear_x_map,
    "ShearY": _shear_y_map,
    "TranslateX": _translate_x_map,
    "TranslateY": _translate_y_map,
}
NAMES = (*TABLES, *MAPS, "Color", "Sharpness", "Cutout")
KINDS = (*[0] * len(TABLES), *[1] * len(MAPS), 2, 3, 4)
CONTRASTS = {"true_mean": _contrast_table, "published": _published_contrast_table}
WITHOUT_ARGUMENT = ("AutoContrast", "Equalize", "Invert")
SIGNED = tuple(MAPS)  # RandAugment draws the sign of their argument


def apply(
    image: tf.Tensor,
    operation: tf.Tensor,
    argument: tf.Tensor,
    center: tf.Tensor,
    contrast: str = "true_mean",
) -> tf.Tensor:
    """Applies one operation, selected at run time, and computes no other.

    Args:
      image: uint8 [H, W, 3].
      operation: int32 scalar, an index into NAMES.
      argument: float32 scalar; operations without an argument ignore it.
      center: int32 [2], row and column of Cutout's center; other operations ignore it.
      contrast: form of Contrast, a key of CONTRASTS.

    Returns:
      uint8 [H, W, 3].
    """
    tables = TABLES | {"Contrast": CONTRASTS[contrast]}
    rows = _rows(image)  # outside of its branch, where XLA would divide for every pixel

    def table() -> tf.Tensor:
        def branch(make: Callable[..., tf.Tensor]) -> tf.Tensor:
            return tf.broadcast_to(make(image, argument), [3, 256])

        branches = [functools.partial(branch, make) for make in tables.values()]
        return apply_table(image, tf.switch_case(operation, branches))

    def affine() -> tf.Tensor:
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float64))
        wide = tf.cast(argument, tf.float64)
        branches = [functools.partial(make, height, width, wide) for make in MAPS.values()]
        return apply_map(image, tf.switch_case(operation - len(TABLES), branches))

    def sharpness() -> tf.Tensor:
        return tf.reshape(sharpness_filter(rows, argument), tf.shape(image))

    color = functools.partial(color_filter, image, argument)
    cutout = functools.partial(cutout_filter, image, argument, center)
    kind = tf.gather(KINDS, operation)
    result = tf.switch_case(kind, [table, affine, color, sharpness, cutout])
    return tf.ensure_shape(result, image.shape)


def checked(images: tf.Tensor, rank: int) -> tf.Tensor:
    """Converts images to a tensor.

    Raises:
      ValueError: it is not uint8, or has the wrong static rank or number of channels.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8 or images.shape.rank != rank or images.shape[-1] != 3:
        shape = "[H, W, 3]" if rank == 3 else "[B, H, W, 3]"
        raise ValueError(f"images must be uint8 {shape}, got {images.dtype.name} {images.shape}.")
    return images


def _operation(name: str) -> Callable[..., tf.Tensor]:
    number = NAMES.index(name)

    def operation(
        image: tf.Tensor, argument: float | tf.Tensor | None = None, center: tf.Tensor | None = None
    ) -> tf.Tensor:
        image = checked(image, rank=3)
        if argument is None and name not in WITHOUT_ARGUMENT:
            raise ValueError(f"{name} needs an argument; level_to_argument returns one.")
        argument = tf.cast(0 if argument is None else argument, tf.float32)
        center = tf.shape(image)[:2] // 2 if center is None else tf.cast(center, tf.int32)
        return apply(image, tf.constant(number), argument, center)

    return operation


# Name -> f(image, argument=None, center=None): uint8 [H, W, 3] to uint8 [H, W, 3]. The argument is
# PIL's, as a number or a scalar tensor: degrees counterclockwise, number of bits, threshold,
# addition, enhancement factor, slope, or pixels that the content moves left or up. Cutout's is half
# the side of a square around the pixel `center`, int32 [2] (row, column), by default the middle.
# AutoContrast, Equalize and Invert ignore the argument.
OPERATIONS: dict[str, Callable[..., tf.Tensor]] = {name: _operation(name) for name in NAMES}
