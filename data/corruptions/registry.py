"""The common corruptions of image classification benchmarks, on images of any size.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), and its public code. Fifteen corruptions are for testing, four for
tuning; each has five severities, whose constants depend on the size the images are made for.

`python -m data.corruptions --image=cat.jpg --output=grid.png` draws all of them.
"""

import zlib

import numpy as np
from absl import flags
from PIL import Image, ImageDraw

from data import cli
from data.corruptions import blurs as blurs
from data.corruptions import digital as digital
from data.corruptions import noise as noise
from data.corruptions import weather as weather
from data.corruptions.levels import LEVELS, NATIVE_SIZES, SEVERITIES, parameters

MIN_SIDE = 32  # pixels

# Corruptions that draw random numbers, and those that do not.
_RANDOM = {
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
_FIXED = {
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
    """Corrupts an image; the same arguments give the same bytes.

    May be called from several threads at once.

    Args:
        image: uint8 [H, W, 3], RGB, each side at least 32 pixels.
        name: one of CORRUPTIONS.
        severity: 1 to 5.
        seed: at least 0. Corruptions, severities and native sizes of one seed are independent.
        native_size: 32, 64, 224 or 299, the image size of the benchmark whose constants are used;
            None: see `nearest_native_size`.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: for any other argument.
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
    """The native size that is nearest, in pixels, to the shorter side; of two the smaller."""
    side = min(height, width)
    return min(NATIVE_SIZES, key=lambda size: (abs(size - side), size))


def _check(image: np.ndarray, name: str, severity: int, seed: int, native_size: int | None) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}.")
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"image is {image.shape[0]} x {image.shape[1]} pixels; each side must be at least "
            f"{MIN_SIDE}."
        )
    if name not in CORRUPTIONS:
        raise ValueError(f"Unknown corruption {name!r}; valid ones: {', '.join(CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}, not {severity!r}.")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}.")
    if native_size is not None and native_size not in NATIVE_SIZES:
        raise ValueError(f"native_size must be one of {NATIVE_SIZES} or None, not {native_size!r}.")


def contact_sheet(image: np.ndarray, seed: int = 0, native_size: int | None = None) -> Image.Image:
    """Draws every corruption (rows) at every severity (columns), the image itself on the left.

    Args:
        image: uint8 [H, W, 3], each side at least 32 pixels.
        seed: see `corrupt`.
        native_size: see `corrupt`.

    Returns:
        A labeled grid of images.
    """
    height, width = image.shape[:2]
    margin, line, gap = 110, 14, 4
    columns, rows = 1 + len(SEVERITIES), len(CORRUPTIONS)
    sheet = Image.new(
        "RGB", (margin + (width + gap) * columns, line + (height + gap) * rows), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for column in range(columns):
        left = margin + column * (width + gap)
        draw.text((left, 1), f"severity {column}" if column else "clean", "black")
        for row, name in enumerate(CORRUPTIONS):
            top = line + row * (height + gap)
            result = corrupt(image, name, column, seed, native_size) if column else image
            sheet.paste(Image.fromarray(result), (left, top))
            draw.text((gap, top + height // 2), name, "black")
    return sheet


def _main() -> None:
    image = cli.read_picture(flags.FLAGS.image, flags.FLAGS.size)
    contact_sheet(image, flags.FLAGS.seed, flags.FLAGS.native_size).save(flags.FLAGS.output)


def command() -> None:
    """Runs the command."""
    flags.DEFINE_string("image", None, "The image to draw.", required=True)
    flags.DEFINE_string("output", "corruptions.png", "Where the contact sheet goes.")
    flags.DEFINE_integer("native_size", None, "32, 64, 224 or 299; the nearest if not given.")
    flags.DEFINE_integer("size", 224, "The longer side of each image in pixels.", lower_bound=32)
    flags.DEFINE_integer("seed", 0, "Decides what is random.", lower_bound=0)
    cli.run(_main)
