"""RandAugment on uint8 images, at the magnitudes Noisy Student was trained with.

Sources: Cubuk et al., "RandAugment" (arXiv 1909.13719) for the policy; the public code of Noisy
Student Training for the levels, where magnitude 10 is "full" and EfficientNet-L2 uses 27.

`rand_augment_batch` is `rand_augment` compiled by XLA into one loop over the batch, and returns the
same bytes. `python -m data.randaugment --image=cat.jpg --output=grid.png` draws every operation at
several magnitudes.
"""

import math
import statistics
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image, ImageDraw

from data import cli
from data import seeds as seeds_lib
from data.randaugment import operations
from data.randaugment.operations import OPERATIONS

_FULL_MAGNITUDE = 10.0  # as published
_QUANTILES = 256  # of the normal distribution that magnitude noise draws from


def level_to_argument(
    name: str, magnitude: float, translate: float = 100, cutout: float = 40
) -> int | float | None:
    """The argument an operation takes at a magnitude.

    Two oddities of the published code are kept, because they decide what a magnitude means: its
    Solarize threshold wraps like uint8 (256 is 0, 691 is 179), and its Posterize keeps only the top
    bit where int(0.4 magnitude) is none of 1 to 8 bits.

    Args:
      name: one of OPERATIONS.
      magnitude: at least 0; 10 is "full", and nothing ends there.
      translate: pixels TranslateX and TranslateY move at magnitude 10; image_size / 8 for 32 x 32
        models.
      cutout: half the side of Cutout's square at magnitude 10, in pixels; image_size / 8 for 32 x
        32 models.

    Returns:
      The argument in effect, without the random sign that Rotate, ShearX, ShearY, TranslateX and
      TranslateY give it; None for operations without one.

    Raises:
      ValueError: for an unknown name or a magnitude below 0.
    """
    if name not in OPERATIONS:
        raise ValueError(f"Unknown operation {name!r}; valid ones: {', '.join(OPERATIONS)}.")
    if not 0 <= magnitude < math.inf:
        raise ValueError(f"magnitude must be a finite number of at least 0, not {magnitude}.")
    level = magnitude / _FULL_MAGNITUDE
    if name in operations.WITHOUT_ARGUMENT:
        return None
    if name == "Rotate":
        return level * 30.0
    if name == "Posterize":
        bits = int(level * 4)
        return bits if 1 <= bits <= 8 else 1
    if name == "Solarize":
        return int(level * 256) % 256
    if name == "SolarizeAdd":
        return int(level * 110)
    if name in ("ShearX", "ShearY"):
        return level * 0.3
    if name in ("TranslateX", "TranslateY"):
        return level * translate
    if name == "Cutout":
        return int(level * cutout)
    return level * 1.8 + 0.1  # Color, Contrast, Brightness, Sharpness


def rand_augment(
    image: tf.Tensor,
    seed: tf.Tensor,
    num_layers: int = 2,
    magnitude: float = 27,
    translate: float = 100,
    cutout: float = 40,
    magnitude_noise: float = 0.0,
) -> tf.Tensor:
    """Applies operations drawn at random to one image.

    Args:
      image: uint8 [H, W, 3].
      seed: int32 [2]; the result is a function of it and the other arguments alone.
      num_layers: how many operations to draw, at least one, uniformly and with replacement.
      magnitude: of all of them; see `level_to_argument`, also for translate and cutout.
      translate: pixels at magnitude 10.
      cutout: pixels at magnitude 10.
      magnitude_noise: standard deviation of a magnitude drawn for every operation, from the normal
        distribution around `magnitude` (not below 0); 0: always `magnitude`, as in the paper.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: for another type or rank of image, num_layers below 1, a negative magnitude or
        negative magnitude_noise.
    """
    image = operations.checked(image, rank=3)
    seed = tf.convert_to_tensor(seed, tf.int32)
    arguments = _arguments(num_layers, magnitude, translate, cutout, magnitude_noise)
    with tf.device("CPU:0"):
        return tf.ensure_shape(_augment_one(image, seed, arguments, num_layers), image.shape)


def rand_augment_batch(
    images: tf.Tensor,
    seeds: tf.Tensor,
    num_layers: int = 2,
    magnitude: float = 27,
    translate: float = 100,
    cutout: float = 40,
    magnitude_noise: float = 0.0,
) -> tf.Tensor:
    """Does to each image of a batch what `rand_augment` does with it and its seed, but fast.

    XLA compiles it once for every shape of a batch, which takes a second or two: not for images of
    many sizes.

    Args:
      images: uint8 [B, H, W, 3].
      seeds: int32 [B, 2].
      num_layers: see `rand_augment`, also for the arguments below.
      magnitude: of all operations.
      translate: pixels at magnitude 10.
      cutout: pixels at magnitude 10.
      magnitude_noise: standard deviation of the magnitudes.

    Returns:
      uint8 [B, H, W, 3].

    Raises:
      ValueError: for another type or rank of images, num_layers below 1, a negative magnitude or
        negative magnitude_noise.
    """
    images = operations.checked(images, rank=4)
    seeds = tf.convert_to_tensor(seeds, tf.int32)
    arguments = _arguments(num_layers, magnitude, translate, cutout, magnitude_noise)
    with tf.device("CPU:0"):
        return tf.ensure_shape(_augment_batch(images, seeds, arguments, num_layers), images.shape)


def _arguments(
    num_layers: int, magnitude: float, translate: float, cutout: float, magnitude_noise: float
) -> tf.Tensor:
    """The arguments of the operations at equally likely magnitudes, float32 [magnitudes, 16]."""
    if num_layers < 1:
        raise ValueError(f"num_layers must be at least 1, not {num_layers}.")
    if not 0 <= magnitude_noise < math.inf:
        raise ValueError(f"magnitude_noise must be at least 0, not {magnitude_noise}.")
    magnitudes = [magnitude]
    if magnitude_noise:
        normal = statistics.NormalDist(magnitude, magnitude_noise)
        quantiles = [(i + 0.5) / _QUANTILES for i in range(_QUANTILES)]
        magnitudes = [max(normal.inv_cdf(quantile), 0.0) for quantile in quantiles]
    values = [
        [level_to_argument(name, each, translate, cutout) or 0.0 for name in operations.NAMES]
        for each in magnitudes
    ]
    return tf.constant(values, tf.float32)


@tf.function(autograph=False, reduce_retracing=True)
def _augment_one(
    image: tf.Tensor, seed: tf.Tensor, arguments: tf.Tensor, num_layers: int
) -> tf.Tensor:
    return _augment(image, _draws(seed, num_layers), arguments)


@tf.function(autograph=False, jit_compile=True)
def _augment_batch(
    images: tf.Tensor, seeds: tf.Tensor, arguments: tf.Tensor, num_layers: int
) -> tf.Tensor:
    return tf.map_fn(
        lambda pair: _augment(*pair, arguments),
        (images, _draws(seeds, num_layers)),
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8),
    )


def _draws(seeds: tf.Tensor, num_layers: int) -> tf.Tensor:
    """Four uniform numbers for each layer, float32 [..., num_layers, 4]."""
    numbers = seeds_lib.uniform(seeds, 4 * num_layers)
    return tf.reshape(numbers, tf.concat([tf.shape(seeds)[:-1], [num_layers, 4]], 0))


def _augment(image: tf.Tensor, draws: tf.Tensor, arguments: tf.Tensor) -> tf.Tensor:
    """Applies an operation for each row of draws: its number (and magnitude), sign, and center."""
    has_sign = tf.constant([name in operations.SIGNED for name in operations.NAMES])

    def layer(image: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        operation = seeds_lib.uniform_int(draw[0], len(operations.NAMES))
        # What the operation leaves of the number is uniform, too, and independent of it.
        fraction = tf.math.mod(draw[0] * len(operations.NAMES), 1.0)
        quantile = seeds_lib.uniform_int(fraction, tf.shape(arguments)[0])
        place = quantile * len(operations.NAMES) + operation
        argument = tf.gather(tf.reshape(arguments, [-1]), place)
        negative = tf.gather(has_sign, operation) & (draw[1] < 0.5)
        argument = tf.where(negative, -argument, argument)
        center = seeds_lib.uniform_int(draw[2:], tf.shape(image)[:2])
        return operations.apply(image, operation, argument, center)

    return tf.foldl(layer, draws, initializer=image)


def contact_sheet(image: np.ndarray, magnitudes: Sequence[float]) -> Image.Image:
    """Draws what every operation (rows) does to an image at several magnitudes (columns).

    Args:
      image: uint8 [H, W, 3].
      magnitudes: see `level_to_argument`.

    Returns:
      A labeled grid of images.
    """
    height, width = image.shape[:2]
    margin, line, gap = 90, 14, 4
    size = (margin + (width + gap) * len(magnitudes), line + (height + gap) * len(OPERATIONS))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, magnitude in enumerate(magnitudes):
        left = margin + column * (width + gap)
        draw.text((left, 1), f"M = {magnitude:g}", "black")
        for row, (name, operation) in enumerate(OPERATIONS.items()):
            top = line + row * (height + gap)
            draw.text((gap, top + height // 2), name, "black")
            result = operation(image, level_to_argument(name, magnitude))
            sheet.paste(Image.fromarray(result.numpy()), (left, top))
    return sheet


def _main() -> None:
    try:
        magnitudes = [float(each) for each in flags.FLAGS.magnitudes]
    except ValueError:
        given = ",".join(flags.FLAGS.magnitudes)
        raise ValueError(f"--magnitudes={given}: must be numbers, as in 5,10,27.") from None
    image = cli.read_picture(flags.FLAGS.image, flags.FLAGS.size)
    contact_sheet(image, magnitudes).save(flags.FLAGS.output)


def command() -> None:
    """Runs the command."""
    flags.DEFINE_string("image", None, "The image to draw.", required=True)
    flags.DEFINE_string("output", "randaugment.png", "Where the contact sheet goes.")
    flags.DEFINE_list("magnitudes", ["3", "5", "10", "15", "20", "24", "27"], "Columns to draw.")
    flags.DEFINE_integer("size", 224, "The longer side of each image in pixels.", lower_bound=1)
    cli.run(_main)
