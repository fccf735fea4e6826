"""RandAugment images per second: this repository beside keras_cv and keras.

Every arm maps over batches of uint8 images in a tf.data pipeline, as in training, and draws two
operations per image. Ratios by CPU time are less disturbed by other work than those by wall time.

    python -m benchmarks.randaugment --sizes=32,224 --repeats=5
"""

import functools
import time

import numpy as np
import tensorflow as tf

from benchmarks import harness
from data import randaugment


def _batch_size(size: int) -> int:
    return 128 if size < 100 else 32


def _images(size: int) -> tf.data.Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (_batch_size(size), size, size, 3)).astype(np.uint8)
    return tf.data.Dataset.from_tensors(images).cache().repeat()


def _ours(size: int) -> tf.data.Dataset:
    """Augments numbered batches; the numbers are the seeds."""
    distances = {"translate": size / 8, "cutout": size / 8} if size < 100 else {}

    def augment(number: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        seeds = tf.stack([tf.fill([count], tf.cast(number, tf.int32)), tf.range(count)], axis=1)
        return randaugment.rand_augment_batch(
            images, seeds, num_layers=2, magnitude=27, **distances
        )

    return _images(size).enumerate().map(augment, num_parallel_calls=tf.data.AUTOTUNE)


def _keras_cv(size: int) -> tf.data.Dataset:
    import keras_cv

    layer = keras_cv.layers.RandAugment(
        value_range=(0, 255), augmentations_per_image=2, magnitude=0.5
    )
    return _images(size).map(functools.partial(layer, training=True), tf.data.AUTOTUNE)


def _keras(size: int) -> tf.data.Dataset:
    import keras

    layer = keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.5)
    return _images(size).map(functools.partial(layer, training=True), tf.data.AUTOTUNE)


def _compare(size: int, repeats: int, seconds: float) -> None:
    arms = {}
    for name, build in {"ours": _ours, "keras_cv": _keras_cv, "keras": _keras}.items():
        try:
            batches = build(size)
        except (ImportError, AttributeError) as error:
            print(f"{size} px: {name} is not installed: {error}")
            continue
        start = time.perf_counter()
        next(iter(batches))
        print(f"{size} px: {name}: first batch after {time.perf_counter() - start:.1f} s")
        arms[name] = functools.partial(harness.batch_rate, batches, _batch_size(size), seconds)
    rates = harness.take_turns(arms, repeats)
    for name in arms:
        for kind, unit in enumerate(("images/s", "images per second of CPU time")):
            rate = np.median(rates[name][:, kind])
            ratio = np.median(rates["ours"][:, kind] / rates[name][:, kind])
            print(f"{size} px: {name}: {rate:,.0f} {unit}; ours is {ratio:.2f}x")


def main() -> None:
    """Prints a comparison per image size."""
    options = harness.parser(
        __doc__,
        sizes=([32, 224], "Sides of the images in pixels."),
        repeats=(5, "Turns of each arm."),
        seconds=(2.0, "Length of a turn."),
    ).parse_args()
    for size in options.sizes:
        _compare(size, options.repeats, options.seconds)


if __name__ == "__main__":
    main()
