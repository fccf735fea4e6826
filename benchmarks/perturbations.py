"""Time to make perturbation sequences, in milliseconds of one core.

Sequences are made of synthetic images in one thread, and what counts is the median processor time,
which other work on the machine disturbs least.

    python -m benchmarks.perturbations --native_size=224 --repeats=15
"""

import statistics
import time

import cv2
import numpy as np
from absl import app, flags
from PIL import Image

from data import perturbations

_NATIVE_SIZE = flags.DEFINE_enum("native_size", "224", ["32", "224", "299"], "Constants to use.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Images for each sequence.", lower_bound=1)
# Height and width of the images: those of CIFAR-10, and a usual photograph.
_SHAPES = {32: (32, 32), 224: (375, 500), 299: (375, 500)}


def _images(height: int, width: int, count: int) -> list[np.ndarray]:
    """Images of soft spots."""
    rng = np.random.default_rng(0)
    spots = rng.integers(0, 256, (count, height // 8, width // 8, 3)).astype(np.uint8)
    return [np.asarray(Image.fromarray(each).resize((width, height))) for each in spots]


def main(_: list[str]) -> None:
    """Prints the time of every sequence, and their sum."""
    cv2.setNumThreads(1)
    size = int(_NATIVE_SIZE.value)
    images = _images(*_SHAPES[size], _REPEATS.value)
    total = 0.0
    for name in perturbations.SEQUENCES[size]:
        perturbations.sequence(images[0], name, 0, size)  # makes the tables
        times = []
        for seed, image in enumerate(images):
            start = time.thread_time()
            frames = perturbations.sequence(image, name, seed, size)
            times.append(1000 * (time.thread_time() - start))
        total += statistics.median(times)
        print(f"{name:15} {len(frames)} frames {statistics.median(times):6.1f} ms")
    print(f"{'all ten':15} {total:16.1f} ms")


if __name__ == "__main__":
    app.run(main)
