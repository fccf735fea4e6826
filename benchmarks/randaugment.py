"""RandAugment images per second: this repository beside keras_cv and keras.

Every arm maps over batches of uint8 images in a tf.data pipeline, as in training, and draws two
operations for each image. The arms take turns, several times over; what counts is the median of
the ratios within a turn, which other work on the machine disturbs least, and that of the CPU time
used even less.

    python -m benchmarks.randaugment --sizes=32,224 --repeats=5
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import app, flags

from data import randaugment

_SIZES = flags.DEFINE_list("sizes", ["32", "224"], "Sides of the images in pixels.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "How often each arm has its turn.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Length of a turn.", lower_bound=0.1)

Batch = Callable[[tf.Tensor], tf.Tensor]


def _batch_size(size: int) -> int:
    return 128 if size < 100 else 32


def _ours(size: int, parallel: int) -> tf.data.Dataset:
    """Numbered batches, because the numbers are the seeds."""
    shift = {"translate": size / 8, "cutout": size / 8} if size < 100 else {}

    def augment(images: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        count = tf.shape(images)[0]
        seeds = tf.stack([tf.fill([count], tf.cast(number, tf.int32)), tf.range(count)], axis=1)
        return randaugment.rand_augment_batch(images, seeds, num_layers=2, magnitude=27, **shift)

    return _images(size).enumerate().map(lambda i, x: augment(x, i), num_parallel_calls=parallel)


def _keras_cv(size: int, parallel: int) -> tf.data.Dataset:
    import keras_cv

    layer = keras_cv.layers.RandAugment(
        value_range=(0, 255), augmentations_per_image=2, magnitude=0.5
    )
    return _images(size).map(lambda x: layer(x, training=True), num_parallel_calls=parallel)


def _keras(size: int, parallel: int) -> tf.data.Dataset:
    import keras

    layer = keras.layers.RandAugment(value_range=(0, 255), num_ops=2, factor=0.5)
    return _images(size).map(lambda x: layer(x, training=True), num_parallel_calls=parallel)


def _images(size: int) -> tf.data.Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (_batch_size(size), size, size, 3)).astype(np.uint8)
    return tf.data.Dataset.from_tensors(images).cache().repeat()


def _rate(batches: tf.data.Dataset, batch_size: int, seconds: float) -> tuple[float, float]:
    """Images per second, and per second of CPU time.

    The iterator ends with its turn, and works ahead in no other's.
    """
    iterator = iter(batches)
    next(iterator)
    count, start, used = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - start) < seconds or count == 0:
        next(iterator)
        count += 1
    count *= batch_size
    return count / elapsed, count / (time.process_time() - used)


def _compare(size: int) -> None:
    arms = {}
    for name, make in {"ours": _ours, "keras_cv": _keras_cv, "keras": _keras}.items():
        try:
            arms[name] = make(size, tf.data.AUTOTUNE)
        except (ImportError, AttributeError) as error:
            print(f"{size} px: {name} is not here: {error}")
            continue
        start = time.perf_counter()
        next(iter(arms[name]))
        print(f"{size} px: {name}: first batch after {time.perf_counter() - start:.1f} s")
    turns = []
    for _ in range(_REPEATS.value):
        turns.append(
            {
                name: _rate(batches, _batch_size(size), _SECONDS.value)
                for name, batches in arms.items()
            }
        )
    for name in arms:
        for kind, unit in enumerate(("images/s", "images per second of CPU time")):
            rate = statistics.median(turn[name][kind] for turn in turns)
            ratio = statistics.median(turn["ours"][kind] / turn[name][kind] for turn in turns)
            print(f"{size} px: {name}: {rate:,.0f} {unit}; ours is {ratio:.2f}x")


def main(_: list[str]) -> None:
    """Prints a comparison for every size."""
    for size in _SIZES.value:
        _compare(int(size))


if __name__ == "__main__":
    app.run(main)
