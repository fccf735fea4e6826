"""Milliseconds per corrupted image: this repository beside the package imagecorruptions.

Both run on one core and take turns on the same image. A corruption's time is the median over the
repeats of the mean over its five severities. Install the package (distribution
imagecorruptions-imaug) into an environment of its own, together with this repository's
requirements. Without the package, only this repository is measured.

    python -m benchmarks.corruptions --image=cat.jpg --size=224 --repeats=9
"""

import functools
import importlib
import os
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageOps

from benchmarks import harness
from data import corruptions


def read_image(path: str | None, size: int) -> np.ndarray:
    """Reads a square image, uint8 [size, size, 3]; without a path returns a noisy gradient."""
    if path:
        with Image.open(path) as image:
            fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
            return np.array(fitted)
    noise = np.random.default_rng(0).normal(0, 20, (size, size, 3))
    return np.clip(noise + np.linspace(30, 220, size)[:, np.newaxis], 0, 255).astype(np.uint8)


def _package() -> Callable[..., np.ndarray] | None:
    try:
        return importlib.import_module("imagecorruptions").corrupt
    except ImportError as error:
        print(f"imagecorruptions is not installed: {error}")
        return None


def _milliseconds(corrupt: Callable[..., np.ndarray]) -> np.ndarray:
    """Returns the mean time over the severities."""
    start = time.perf_counter()
    for severity in corruptions.SEVERITIES:
        corrupt(severity=severity)
    return np.array((time.perf_counter() - start) / len(corruptions.SEVERITIES) * 1e3)


def main() -> None:
    """Prints a row per corruption and the geometric means over the fifteen for testing."""
    options = harness.parser(
        __doc__,
        image=(None, "A photograph; unset: noise on a gradient."),
        size=(224, "Side of the image in pixels, at least 32."),
        repeats=(9, "Turns of each arm."),
    ).parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    image, package = read_image(options.image, options.size), _package()
    print(f"{'ms at ' + str(options.size) + ' px':20} {'ours':>8} {'package':>8} {'ratio':>7}")
    measured = {}
    for name in corruptions.CORRUPTIONS:
        ours = functools.partial(corruptions.corrupt, image, name, seed=0)
        arms = {"ours": functools.partial(_milliseconds, ours)}
        if package:
            theirs = functools.partial(package, image, corruption_name=name)
            arms["package"] = functools.partial(_milliseconds, theirs)
        for arm in arms.values():
            arm()  # fills tables and compiles
        times = harness.take_turns(arms, options.repeats)
        measured[name] = [np.median(times.get(arm, np.nan)) for arm in ("ours", "package")]
        _print_row(name, *measured[name])
    tested = np.array([measured[name] for name in corruptions.TEST_CORRUPTIONS])
    _print_row("geometric mean of 15", *np.exp(np.log(tested).mean(axis=0)))


def _print_row(name: str, ours: float, theirs: float) -> None:
    print(f"{name:20} {ours:8.3f} {theirs:8.3f} {theirs / ours:7.1f}")


if __name__ == "__main__":
    main()
