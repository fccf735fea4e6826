"""Decoding, cropping and resizing: from stored images to square uint8 model inputs.

Sources: the public code of Noisy Student Training for the evaluation crop, the training crop and
the small-image crop; Szegedy et al., "Going deeper with convolutions" (section 6) for the training
crop; DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout"
(arXiv 1708.04552).
"""

import dataclasses
import os
import re
from typing import Any

import tensorflow as tf

from data import seeds as seeds_lib

# Number of images prepared in parallel. Not autotuned: its buffers may grow without bound, and
# stopping its thread took up to a minute.
PARALLEL = os.cpu_count() or 1
INTERPOLATIONS = ("bicubic_tf1", "bicubic", "bilinear")
PIXELS = ("uint8", "float32")
UNDECODABLE = "cannot be decoded as an image"
FILL = 128  # gray level of uncovered pixels, as published
_REFLECT = 4  # pixels of reflected border before the small-image crop, as published
# The Inception crop as published. A rectangle must also cover a tenth of the image; smaller ones
# are redrawn.
_INCEPTION_CROP = {
    "area_range": (0.08, 1.0),
    "min_object_covered": 0.1,
    "aspect_ratio_range": (3 / 4, 4 / 3),  # width / height
    "max_attempts": 10,
}


@dataclasses.dataclass(frozen=True)
class PreprocessSpec:
    """The steps from an image to model input; stored with a model, which always gets the same."""

    image_size: int  # side of the square images, in pixels
    small_image: bool = False  # True: images are not center cropped (see `fit_small`)
    # The center crop covers image_size / (image_size + crop_padding) of the shorter side.
    crop_padding: int = 32
    # "bicubic_tf1" is TF1's resize_bicubic (no half-pixel centers, no antialiasing), with which
    # published checkpoints were trained and evaluated; "bicubic" and "bilinear" have both.
    interpolation: str = "bicubic_tf1"
    # "float32" leaves resized images without noise as they are: with fractions, and beyond 0..255
    # where the interpolation overshoots. Published checkpoints were evaluated so. "uint8" truncates
    # them as in training. Small images are not resized, and always uint8.
    pixels: str = "uint8"
    enlarge: bool = False  # small images below the size are resized to it instead of padded

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size must be at least 1, not {self.image_size}.")
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be at least 0, not {self.crop_padding}.")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"Unknown interpolation {self.interpolation!r}; valid ones: "
                f"{', '.join(INTERPOLATIONS)}."
            )
        if self.pixels not in PIXELS:
            raise ValueError(f"Unknown pixels {self.pixels!r}; valid: {', '.join(PIXELS)}.")

    @property
    def dtype(self) -> tf.DType:
        """The dtype of clean images."""
        return tf.uint8 if self.small_image else tf.as_dtype(self.pixels)

    def in_bytes(self) -> "PreprocessSpec":
        """Returns the same preprocessing with images in uint8."""
        return dataclasses.replace(self, pixels="uint8")

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready dictionary, without `pixels` and `enlarge` at their defaults."""
        later = {"pixels": "uint8", "enlarge": False}
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if later.get(key) != value}

    def steps(self) -> list[str]:
        """Returns how an image file becomes model input, for who does it in another language."""
        size, total = self.image_size, self.image_size + self.crop_padding
        square = f"{size} x {size}"
        first = "Decode to RGB. Drop transparency, and ignore the orientation in EXIF data."
        crop = "Crop the square of side int({}the shorter side) at (length - side + 1) // 2."
        sampled = f"Resize to {square}, {{}}, with half-pixel centers and antialiasing; {{}}."
        if self.small_image:
            steps = [crop.format(""), sampled.format("bicubic", "round")]
            if not self.enlarge:
                steps[0] = f"If a side is above {size} pixels: {steps[0]}"
                steps[1] = f"If the square is above {square}: {steps[1]}"
                steps.append(f"Pad with zeros to {square}, with missing // 2 in front.")
            return [first, *steps]
        end = "keep fractions" if self.pixels == "float32" else "round and clip to 0..255"
        resize = sampled.format(self.interpolation, end)
        if self.interpolation == "bicubic_tf1":
            end = end.replace("round", "truncate")
            resize = f"Resize to {square} as tf.compat.v1.image.resize_bicubic does; {end}."
        return [first, crop.format(f"{size} / {total} * "), resize]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PreprocessSpec":
        """Reverses `to_dict`; a ValueError names what is missing or unknown."""
        valid = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(valid))
        if unknown or "image_size" not in values:
            raise ValueError(
                f"Preprocessing needs image_size and knows {', '.join(valid)}; got "
                f"{', '.join(sorted(values)) or 'nothing'}."
            )
        return cls(**values)


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes the bytes of an image file.

    Args:
      encoded: string scalar: JPEG (also gray, CMYK or progressive), PNG, GIF (its first frame),
        still WebP, or BMP (without a palette, which TensorFlow ignores).

    Returns:
      RGB uint8 [H, W, 3]. Transparency is dropped, not blended with a background: pixels have the
      stored colors. The EXIF orientation is ignored, as in the published preprocessing for
      ImageNet.
    """
    # TensorFlow drops transparency in every format but WebP, which it only decodes to 4 channels.
    image = tf.cond(
        _is_transparent_webp(encoded),
        lambda: tf.io.decode_image(encoded, channels=4, expand_animations=False)[..., :3],
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    image.set_shape([None, None, 3])
    return image


def decode_named(encoded: tf.Tensor, name: tf.Tensor) -> tf.Tensor:
    """Decodes like `decode_image`, but names the file in an InvalidArgumentError.

    Args:
      encoded: string scalar.
      name: string scalar, only used in the error message.
    """
    # A graph cannot catch the error of an operation, but a data set can skip it. This costs 0.1 to
    # 0.2 ms per image. Files are not read inside, so that other errors are raised unchanged.
    image = tf.data.Dataset.from_tensors(encoded).map(decode_image).ignore_errors()
    nothing = tf.data.Dataset.from_tensors(tf.zeros([0, 0, 3], tf.uint8))
    decoded = image.concatenate(nothing).take(1).get_single_element()
    message = tf.strings.join([name, UNDECODABLE], ": ")
    with tf.control_dependencies([tf.debugging.Assert(tf.size(decoded) > 0, [message])]):
        return tf.identity(decoded)


def undecodable(error: tf.errors.InvalidArgumentError) -> Exception:
    """Returns a ValueError that names the file for an error of `decode_named`, else the error."""
    match = re.search(rf"(?:assertion failed: \[|data: b')(.+: {UNDECODABLE})", str(error))
    return ValueError(f"{match[1]}.") if match else error


def _is_transparent_webp(encoded: tf.Tensor) -> tf.Tensor:
    """Returns the flag of transparency in the header of a WebP; False for other files."""
    head = tf.strings.substr(encoded, 0, 26)
    kind = tf.strings.substr(tf.strings.join([head, " " * 16]), 8, 8)
    flags = tf.io.decode_raw(tf.strings.join([head, "\0" * 26]), tf.uint8)
    extended = (kind == "WEBPVP8X") & (flags[20] & 0x10 != 0)
    return extended | ((kind == "WEBPVP8L") & (flags[24] & 0x10 != 0))


def eval_image(image: tf.Tensor, spec: PreprocessSpec) -> tf.Tensor:
    """Preprocesses an image without randomness.

    Args:
      image: uint8 [H, W, 3].
      spec: its crop is the central square of side int(size / (size + padding) * min(H, W)), resized
        to size; small-image models take `fit_small` instead.

    Returns:
      [size, size, 3] of the type `spec.dtype`.
    """
    if spec.small_image:
        return fit_small(image, spec.image_size, spec.enlarge)
    side = center_crop_side(tf.reduce_min(tf.shape(image)[:2]), spec)
    return _resize(_center_crop(image, side), spec)


def center_crop_side(shorter: tf.Tensor, spec: PreprocessSpec) -> tf.Tensor:
    """Returns the side of the center crop of images with the shorter side `shorter`, int32."""
    ratio = tf.constant(spec.image_size / (spec.image_size + spec.crop_padding), tf.float64)
    return tf.maximum(tf.cast(ratio * tf.cast(shorter, tf.float64), tf.int32), 1)


def fit_small(image: tf.Tensor, size: int, enlarge: bool = False) -> tf.Tensor:
    """Converts an image to the square input of a small-image model, if possible without resizing.

    Args:
      image: uint8 [H, W, 3].
      size: side of the result. An image of that size is unchanged; one that fits inside is padded
        evenly with zeros (28 to 32 by 2 on each side); a larger one is cropped to its central
        square and, if that is still larger, resized (bicubic, antialiased).
      enlarge: also resizes an image that fits inside.

    Returns:
      uint8 [size, size, 3].
    """
    image = tf.convert_to_tensor(image)
    if image.shape == (size, size, 3):
        return image
    shape = tf.shape(image)
    image = tf.cond(
        enlarge | tf.reduce_any(shape[:2] > size),
        lambda: _center_crop(image, tf.reduce_min(shape[:2])),
        lambda: image,
    )
    bicubic = PreprocessSpec(size, interpolation="bicubic")
    larger = tf.shape(image)[0] > size
    image = tf.cond(larger | enlarge, lambda: _resize(image, bicubic), lambda: image)
    missing = size - tf.shape(image)[:2]
    before = missing // 2
    padding = tf.concat([tf.stack([before, missing - before], 1), [[0, 0]]], 0)
    return tf.ensure_shape(tf.pad(image, padding), [size, size, 3])


def inception_crop(image: tf.Tensor, seed: tf.Tensor, spec: PreprocessSpec) -> tf.Tensor:
    """Crops a random rectangle and resizes it.

    Args:
      image: uint8 [H, W, 3].
      seed: int32 [2].
      spec: size and interpolation, and the center crop to use if ten drawn rectangles (8 to 100% of
        the area, width / height 3/4 to 4/3) all extend beyond the image.

    Returns:
      uint8 [size, size, 3].
    """
    spec, shape = spec.in_bytes(), tf.shape(image)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape, bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]), seed=seed, **_INCEPTION_CROP
    )
    # The op returns the whole image if no rectangle fits.
    return tf.cond(
        tf.reduce_all(size[:2] == shape[:2]),
        lambda: eval_image(image, spec),
        lambda: _resize(tf.slice(image, begin, [size[0], size[1], 3]), spec),
    )


# XLA fuses the loops over pixels of the next three, which take up to ten times as long one by one.


@tf.function(autograph=False, jit_compile=True)
def flip(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Mirrors each image, uint8 [B, H, W, 3], with probability 1/2; seeds are int32 [B, 2]."""
    mirrored = seeds_lib.uniform(seeds, 1) < 0.5
    return tf.where(mirrored[:, tf.newaxis, tf.newaxis], tf.reverse(images, [2]), images)


@tf.function(autograph=False, jit_compile=True)
def small_crop(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Shifts each image by up to four pixels each way, reflecting its border.

    Args:
      images: uint8 [B, S, S, 3], S at least 5.
      seeds: int32 [B, 2].

    Returns:
      uint8 [B, S, S, 3]: a random crop of each image after reflect padding by 4.
    """
    height, width = images.shape[1:3]
    shifts = seeds_lib.uniform_int(seeds_lib.uniform(seeds, 2), 2 * _REFLECT + 1) - _REFLECT
    rows = _reflected(shifts[:, :1] + tf.range(height), height)
    columns = _reflected(shifts[:, 1:] + tf.range(width), width)
    pixels = rows[:, :, tf.newaxis] * width + columns[:, tf.newaxis]
    flat = tf.reshape(images, [-1, height * width, 3])
    return tf.ensure_shape(tf.gather(flat, pixels, batch_dims=1), images.shape)


def _reflected(indices: tf.Tensor, size: int) -> tf.Tensor:
    """Returns indices that lie outside 0..size-1 mirrored at the first or last one."""
    return size - 1 - tf.abs(size - 1 - tf.abs(indices))


@tf.function(autograph=False, jit_compile=True)
def cutout(images: tf.Tensor, seeds: tf.Tensor, side: int) -> tf.Tensor:
    """Fills a square of each image with gray.

    Args:
      images: uint8 [B, H, W, 3].
      seeds: int32 [B, 2].
      side: side of the square in pixels. Its center is any pixel of the image; it may extend
        beyond the border.

    Returns:
      uint8 [B, H, W, 3].
    """
    shape = tf.shape(images)
    centers = seeds_lib.uniform_int(seeds_lib.uniform(seeds, 2), shape[1:3])
    rows = tf.range(shape[1]) - centers[:, :1]
    columns = tf.range(shape[2]) - centers[:, 1:]
    inside = [(offset >= -(side // 2)) & (offset < side - side // 2) for offset in (rows, columns)]
    square = inside[0][:, :, tf.newaxis, tf.newaxis] & inside[1][:, tf.newaxis, :, tf.newaxis]
    return tf.where(square, tf.constant(FILL, tf.uint8), images)


def _center_crop(image: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    top, left = tf.unstack((tf.shape(image)[:2] - side + 1) // 2)
    return tf.slice(image, [top, left, 0], [side, side, 3])


def _resize(image: tf.Tensor, spec: PreprocessSpec) -> tf.Tensor:
    size = [spec.image_size, spec.image_size]
    if spec.interpolation == "bicubic_tf1":
        # The op behind tf.compat.v1.image.resize_bicubic, without its deprecation notice. It gives
        # the same for whole numbers, more slowly.
        floats = tf.cast(image, tf.float32)
        resized = tf.raw_ops.ResizeBicubic(images=floats[tf.newaxis], size=size)[0]
    else:
        resized = tf.image.resize(image, size, spec.interpolation, antialias=True)
        if spec.pixels == "uint8":
            # Rounded rather than truncated, like the libraries with this resizing method.
            resized = tf.round(resized)
    return resized if spec.pixels == "float32" else tf.saturate_cast(resized, tf.uint8)
