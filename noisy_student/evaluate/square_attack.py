"""The Square attack: a random search that reads logits, not gradients.

A model may resist FGSM and PGD because its gradients are uninformative. Such gradient masking does
not help against this attack, so the two kinds of attack together tell masking from robustness.

Source: Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box
adversarial attack via random search" (ECCV 2020), algorithm 1 with the L-infinity sampling of
section 3.3.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from data import seeds as seeds_lib

# Fraction of the pixels that the first squares cover, and the shares of the queries after which it
# is halved (section 3.2, for 10,000 queries: 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000).
_FIRST_FRACTION = 0.8
_HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square(
    model: Callable[..., tf.Tensor],
    images: tf.Tensor,
    labels: tf.Tensor,
    epsilon: float | tf.Tensor,
    *,
    num_queries: int,
    seeds: tf.Tensor,
) -> tf.Tensor:
    """Searches for adversarial images within `epsilon` of each image.

    The search starts at vertical stripes of +-epsilon. Each query sets a random square of each
    image to the clean pixels +-epsilon, one sign per channel, and keeps it if the margin of the
    true class shrinks. Misclassified images stay unchanged. Each image has its own random
    numbers, so replicas may share the rows of a batch. May be called inside a `tf.function`.

    Args:
        model: RGB 0..255 [B, H, W, 3] -> logits [B, C].
        images: uint8 or float32 [B, H, W, 3], 0..255.
        labels: int [B], the true classes.
        epsilon: largest change of a pixel, in pixel units.
        num_queries: forward passes per image, at least 1, without the one on the clean image.
        seeds: int32 [B, 2], one for each image.

    Returns:
        float32 [B, H, W, 3], 0..255.
    """
    images, epsilon = tf.cast(images, tf.float32), tf.cast(epsilon, tf.float32)
    lowest = tf.maximum(images - epsilon, 0.0)
    highest = tf.minimum(images + epsilon, 255.0)
    height, width, channels = images.shape[1:]
    sides = tf.constant(square_sides(num_queries, height, width))

    def margin(candidates: tf.Tensor) -> tf.Tensor:
        return _margin(model(candidates, training=False), labels)

    def search(
        query: tf.Tensor, attacked: tf.Tensor, smallest: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        drawn = seeds_lib.uniform(seeds_lib.fold(seeds, tf.cast(query, tf.uint64)), 2 + channels)
        side = tf.gather(sides, query)
        rows = _within(drawn[:, 0], side, height)[:, :, tf.newaxis, tf.newaxis]
        columns = _within(drawn[:, 1], side, width)[:, tf.newaxis, :, tf.newaxis]
        upward = drawn[:, tf.newaxis, tf.newaxis, 2:] < 0.5
        candidates = tf.where(rows & columns, tf.where(upward, highest, lowest), attacked)
        margins = margin(candidates)
        better = (margins < smallest) & (smallest > 0)
        kept = tf.where(better[:, tf.newaxis, tf.newaxis, tf.newaxis], candidates, attacked)
        return query + 1, kept, tf.where(better, margins, smallest)

    def goes_on(query: tf.Tensor, attacked: tf.Tensor, smallest: tf.Tensor) -> tf.Tensor:
        return (query < num_queries) & (epsilon > 0) & tf.reduce_any(smallest > 0)

    stripes = seeds_lib.uniform(seeds_lib.fold(seeds, 0), width * channels) < 0.5
    stripes = tf.reshape(stripes, [-1, 1, width, channels])
    # An image that is misclassified already needs no attack.
    clean = margin(images)
    is_correct = clean[:, tf.newaxis, tf.newaxis, tf.newaxis] > 0
    start = tf.where(is_correct, tf.where(stripes, highest, lowest), images)
    margins = tf.where(clean > 0, margin(start), clean)
    return tf.while_loop(goes_on, search, (tf.constant(1), start, margins))[1]


def square_sides(num_queries: int, height: int, width: int) -> list[int]:
    """Returns the side in pixels of the square of each query; the first query has none (0)."""
    sides = [0]
    for query in range(1, num_queries):
        halvings = sum(query > share * num_queries for share in _HALVED_AT)
        side = round(math.sqrt(_FIRST_FRACTION / 2**halvings * height * width))
        sides.append(min(max(side, 1), height, width))
    return sides


def _within(uniforms: tf.Tensor, side: tf.Tensor, length: int) -> tf.Tensor:
    """Returns which positions, bool [B, length], are in a window of `side` placed at random."""
    first = seeds_lib.uniform_int(uniforms, length - side + 1)[:, tf.newaxis]
    positions = tf.range(length)[tf.newaxis]
    return (positions >= first) & (positions < first + side)


def _margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the logit of the true class minus the largest other one, float32 [B]."""
    logits = tf.cast(logits, tf.float32)
    is_true = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    true = tf.reduce_max(tf.where(is_true, logits, -math.inf), -1)
    return true - tf.reduce_max(tf.where(is_true, -math.inf, logits), -1)
