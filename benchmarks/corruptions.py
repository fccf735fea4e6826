"""Milliseconds per corrupted image: this repository beside the package imagecorruptions.

Both run on one core of this machine and take turns, image by image, on the same image; a
corruption's time is the median over the repeats of the mean over its five severities. Install the
package (distribution imagecorruptions-imaug) into an environment of its own that also has this
repository's requirements; without it only our own times are printed.

    python -m benchmarks.corruptions --image=cat.jpg --size=224 --repeats=9
"""

import importlib
import os
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from absl import app, flags
from PIL import Image, ImageOps

from data import corruptions

_IMAGE = flags.DEFINE_string("image", None, "A photograph; noise on a gradient if not given.")
_SIZE = flags.DEFINE_integer("size", 224, "Side of the image in pixels.", lower_bound=32)
_REPEATS = flags.DEFINE_integer("repeats", 9, "Turns of each arm.", lower_bound=1)


def _photograph(path: str | None, size: int) -> np.ndarray:
    if path:
        with Image.open(path) as stored:
            return np.array(ImageOps.fit(stored.convert("RGB"), (size, size), Image.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 20, (size, size, 3))
    return np.clip(noise + np.linspace(30, 220, size)[:, np.newaxis], 0, 255).astype(np.uint8)


def _stay_on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)


def _package() -> Callable | None:
    try:
        return importlib.import_module("imagecorruptions").corrupt
    except ImportError as error:
        print(f"imagecorruptions is not here: {error}")
        return None


def _milliseconds(call: Callable[[int], np.ndarray]) -> float:
    start = time.perf_counter()
    for severity in corruptions.SEVERITIES:
        call(severity)
    return (time.perf_counter() - start) / len(corruptions.SEVERITIES) * 1e3


def _compare(name: str, image: np.ndarray, package: Callable | None) -> tuple[float, float]:
    """Median milliseconds of both, nan where there is none."""
    arms = {"ours": lambda severity: corruptions.corrupt(image, name, severity, 0)}
    if package:
        arms["package"] = lambda severity: package(image, severity=severity, corruption_name=name)
    times = {arm: [] for arm in arms}
    for call in arms.values():
        _milliseconds(call)  # tables, textures and compilation
    for _ in range(_REPEATS.value):
        for arm, call in arms.items():
            times[arm].append(_milliseconds(call))
    medians = {arm: statistics.median(values) for arm, values in times.items()}
    return medians["ours"], medians.get("package", float("nan"))


def main(_: list[str]) -> None:
    """Prints a row for every corruption and the geometric means over the fifteen for testing."""
    _stay_on_one_core()
    image = _photograph(_IMAGE.value, _SIZE.value)
    package = _package()
    print(f"{'ms at ' + str(_SIZE.value) + ' px':20} {'ours':>8} {'package':>8} {'ratio':>7}")
    measured = {}
    for name in corruptions.CORRUPTIONS:
        measured[name] = ours, theirs = _compare(name, image, package)
        print(f"{name:20} {ours:8.3f} {theirs:8.3f} {theirs / ours:7.1f}")
    tested = np.array([measured[name] for name in corruptions.TEST_CORRUPTIONS])
    ours, theirs = np.exp(np.log(tested).mean(axis=0))
    print(f"{'geometric mean of 15':20} {ours:8.3f} {theirs:8.3f} {theirs / ours:7.1f}")


if __name__ == "__main__":
    app.run(main)
