"""CPU milliseconds per perturbation sequence, on one core.

Makes the sequences of synthetic images in one thread and prints the median CPU time, which other
work on the machine disturbs least.

    python -m benchmarks.perturbations --native_size=224 --repeats=15
"""

import statistics
import time

import cv2
import numpy as np
from PIL import Image

from benchmarks import harness
from data import perturbations

# Height and width of the images: those of CIFAR-10, and a common photograph.
_SHAPES = {32: (32, 32), 224: (375, 500), 299: (375, 500)}


def make_images(height: int, width: int, count: int) -> list[np.ndarray]:
    """Returns images of soft spots, uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    spots = rng.integers(0, 256, (count, height // 8, width // 8, 3)).astype(np.uint8)
    return [np.asarray(Image.fromarray(each).resize((width, height))) for each in spots]


def main() -> None:
    """Prints the time of every sequence, and the sum."""
    options = harness.parser(
        __doc__,
        native_size=(224, "Benchmark to imitate: 32, 224 or 299."),
        repeats=(15, "Images per sequence."),
    ).parse_args()
    cv2.setNumThreads(1)
    size, total = options.native_size, 0.0
    images = make_images(*_SHAPES[size], options.repeats)
    for name in perturbations.SEQUENCES[size]:
        frames = perturbations.sequence(images[0], name, 0, size)  # fills tables
        times = []
        for seed, image in enumerate(images):
            start = time.thread_time()
            perturbations.sequence(image, name, seed, size)
            times.append(1000 * (time.thread_time() - start))
        total += statistics.median(times)
        print(f"{name:15} {len(frames)} frames {statistics.median(times):6.1f} ms")
    print(f"{'all ten':15} {total:16.1f} ms")


if __name__ == "__main__":
    main()
