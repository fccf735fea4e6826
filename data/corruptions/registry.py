"""Common corruptions by name, on images of any size.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), and its public code. Fifteen corruptions are for testing and four for
validation. Each has five severities, whose parameters depend on the benchmark's image size.
"""

import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from data import contact_sheet as sheets
from data.corruptions import blurs, digital, noise, weather
from data.corruptions.levels import LEVELS, NATIVE_SIZES, SEVERITIES, nearest_size, parameters

MIN_SIDE = 32  # pixels

# Name -> function of the image, for _RANDOM also a generator, and `levels.parameters`.
_RANDOM: dict[str, Callable[..., np.ndarray]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "glass_blur": blurs.glass_blur,
    "motion_blur": blurs.motion_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "elastic_transform": digital.elastic_transform,
    "speckle_noise": noise.speckle_noise,
    "spatter": weather.spatter,
}
_FIXED: dict[str, Callable[..., np.ndarray]] = {
    "defocus_blur": blurs.defocus_blur,
    "zoom_blur": blurs.zoom_blur,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "gaussian_blur": blurs.gaussian_blur,
    "saturate": digital.saturate,
}

CORRUPTIONS = tuple(LEVELS)
TEST_CORRUPTIONS, VALIDATION_CORRUPTIONS = CORRUPTIONS[:15], CORRUPTIONS[15:]


def corrupt(
    image: np.ndarray, name: str, severity: int, seed: int, native_size: int | None = None
) -> np.ndarray:
    """Corrupts an image. The same arguments give the same bytes; thread-safe.

    Args:
        image: uint8 [H, W, 3], RGB, each side at least 32 pixels.
        name: one of CORRUPTIONS.
        severity: 1 to 5.
        seed: at least 0. Each corruption, severity and native size draws independent numbers.
        native_size: image size of the benchmark whose parameters are used: 32, 64, 224 or 299.
            None selects the nearest; see `nearest_native_size`.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: an argument is invalid; the message names it and the valid values.
    """
    _check(image, name, severity, seed, native_size)
    if native_size is None:
        native_size = nearest_native_size(*image.shape[:2])
    level = parameters(name, severity, native_size)
    image = np.ascontiguousarray(image)
    if name in _FIXED:
        result = _FIXED[name](image, *level)
    else:
        entropy = (zlib.crc32(name.encode()), severity, native_size, seed)
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))
        result = _RANDOM[name](image, rng, *level)
    return result if result.dtype == np.uint8 else blurs.truncate(result)


def nearest_native_size(height: int, width: int) -> int:
    """Returns the native size nearest to the shorter side in pixels, the smaller of two."""
    return nearest_size(height, width, NATIVE_SIZES)


def _check(image: np.ndarray, name: str, severity: int, seed: int, native_size: int | None) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}.")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"image is {image.shape[0]} x {image.shape[1]} pixels; each side must be at least "
            f"{MIN_SIDE}."
        )
    if name not in CORRUPTIONS:
        raise ValueError(f"Unknown corruption {name!r}; valid: {', '.join(CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}, got {severity!r}.")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}.")
    if native_size is not None and native_size not in NATIVE_SIZES:
        raise ValueError(f"native_size must be one of {NATIVE_SIZES} or None, got {native_size!r}.")


def contact_sheet(image: np.ndarray, seed: int = 0, native_size: int | None = None) -> Image.Image:
    """Draws the clean image and every corruption of it (rows) at every severity (columns).

    Args:
        image: uint8 [H, W, 3], each side at least 32 pixels.
        seed: as in `corrupt`.
        native_size: as in `corrupt`.

    Returns:
        A labeled grid of images.
    """
    rows = {
        name: [image, *(corrupt(image, name, each, seed, native_size) for each in SEVERITIES)]
        for name in CORRUPTIONS
    }
    return sheets.draw(rows, ["clean", *(f"severity {severity}" for severity in SEVERITIES)])
