"""Perturbation sequences: short films in which an image changes a little from frame to frame.

`sequence` makes the ten films of ImageNet-P or CIFAR-10-P from any clean image; what a classifier's
predictions do in the course of them is measured by flip probability.
`python -m data.perturbations --image=cat.jpg --output=grid.png` draws some frames of each.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), and its published code for the constants and the order of steps. In
noise sequences the first frame is the clean image.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image, ImageDraw

from data import cli
from data.corruptions import blurs as blurs
from data.corruptions import digital as digital
from data.corruptions import noise as noise
from data.corruptions import weather as weather
from data.perturbations import camera
from data.perturbations.camera import View

_STEPS = np.arange(31)  # most sequences have 31 frames

# The published constants by native size: 224 is ImageNet-P, 32 CIFAR-10-P, 299 ImageNet-P for
# larger models. Sequences come in the order of the published tables.
_AT_224: dict[str, dict[str, Any]] = {
    "gaussian_noise": {"sigma": 0.03},
    "shot_noise": {"photons": 300},
    "motion_blur": {"radius": 10, "sigma": 3, "degrees": 4 * (_STEPS - 30)},
    "zoom_blur": {"scales": 1 + 0.004 * _STEPS},
    "snow": {"zoom": 3, "radius": 14, "sigma": 4},
    "brightness": {"amounts": 0.02 * (_STEPS - 15)},
    "translate": {"pixels": np.arange(41) - 20},
    "rotate": {"degrees": _STEPS - 15},
    "tilt": {"degrees": _STEPS - 15},
    "scale": {"scales": (2.5 * _STEPS + 40) / 100},
}
_SETTINGS: dict[int, dict[str, dict[str, Any]]] = {
    32: {
        "gaussian_noise": {"sigma": 0.02},
        "shot_noise": {"photons": 700},
        "motion_blur": {"radius": 6, "sigma": 1.8, "degrees": 9 * (np.arange(21) - 20)},
        "zoom_blur": {"scales": 1 + 0.004 * _STEPS},
        "spatter": {"mean": 0.6, "std": 0.265, "sigma": 1.75, "threshold": 0.7, "strength": 0.6},
        "brightness": {"amounts": 0.015 * (_STEPS - 15)},
        "translate": {"pixels": np.arange(16) - 7},
        "rotate": {"degrees": _STEPS - 15},
        "tilt": {"degrees": 0.75 * (_STEPS - 15)},
        "scale": {"scales": (2 * _STEPS + 70) / 100},
        "snow": {"zoom": 2, "radius": 10, "sigma": 2},
    },
    224: _AT_224,
    299: _AT_224
    | {
        "gaussian_noise": {"sigma": 0.035},
        "shot_noise": {"photons": 250},
        "motion_blur": {"radius": 13, "sigma": 3, "degrees": 4 * (_STEPS - 30)},
    },
}
NATIVE_SIZES = tuple(_SETTINGS)
NOISE = ("gaussian_noise", "shot_noise")  # every frame is compared with the first, the clean one
# The ten sequences that are evaluated, by native size. At 32 there is snow besides.
SEQUENCES = {size: tuple(settings)[:10] for size, settings in _SETTINGS.items()}


def sequence(
    image: np.ndarray, name: str, seed: int | Sequence[int], native_size: int | None = None
) -> np.ndarray:
    """Makes one perturbation sequence of an image.

    How frames are cut from the image depends on the native size and on the image:
      - 224: the shorter side is resized to 256, the image is moved, and the center of 224 x 224 is
        the frame, as in ImageNet-P;
      - 299: the image is moved, and its center with 0.875 of the height and width is resized to
        299 x 299;
      - 32, or an image that fits into the native size: the image is moved in place, and frames have
        its own size, as in CIFAR-10-P.
    Wherever a frame shows what lies beyond the image, it is black, as in the published data.

    Args:
        image: uint8 [H, W, 3].
        name: one of SEQUENCES[native_size], or "snow".
        seed: whole numbers, 0 or above, such as the run's seed and a hash of the image's id. What
            is random depends on them and the name alone: noise, snow and spatter.
        native_size: 32, 224 or 299, whose constants to use; None: the one nearest to the image's
            shorter side.

    Returns:
        uint8 [F, h, w, 3] with 31 frames, but 41 of "translate", and at native size 32 16 of
        "translate" and 21 of "motion_blur".

    Raises:
        ValueError: an image of another kind, or an unknown name or size.
    """
    image = np.ascontiguousarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image must be uint8 [H, W, 3], not {image.dtype} {image.shape}.")
    size = nearest_native_size(*image.shape[:2]) if native_size is None else native_size
    if size not in _SETTINGS:
        raise ValueError(f"native_size must be one of {list(NATIVE_SIZES)}, not {size}.")
    if name not in _SETTINGS[size]:
        raise ValueError(
            f"Unknown perturbation {name!r} at native size {size}; valid: "
            f"{', '.join(_SETTINGS[size])}."
        )
    numbers = [seed] if isinstance(seed, int) else map(int, seed)
    rng = np.random.default_rng([zlib.crc32(name.encode()), *numbers])
    return np.stack(_MAKERS[name](_view(image, size), rng, **_SETTINGS[size][name]))


def num_frames(name: str, native_size: int) -> int:
    """How many frames a sequence has that `sequence` makes with the constants of a native size."""
    counts = [np.size(value) for value in _SETTINGS[native_size][name].values()]
    return max(counts) if max(counts) > 1 else len(_STEPS)


def nearest_native_size(height: int, width: int) -> int:
    """The native size nearest to the shorter side of an image, in pixels; of two, the smaller."""
    return min(NATIVE_SIZES, key=lambda size: (abs(size - min(height, width)), size))


def _view(image: np.ndarray, native_size: int) -> View:
    """How frames are cut from an image, see `sequence`."""
    if native_size == 32 or max(image.shape[:2]) <= native_size:
        return camera.in_place(image)
    if native_size == 224:
        return camera.resized_and_cropped(image, shorter=256, side=224)
    return camera.cropped_and_resized(image, share=0.875, side=299)


# One function per sequence, to a list of frames.


def _gaussian_noise(view: View, rng: np.random.Generator, sigma: float) -> list[np.ndarray]:
    clean = view.frame()
    return [clean] + [noise.gaussian_noise(clean, rng, sigma) for _ in _STEPS[1:]]


def _shot_noise(view: View, rng: np.random.Generator, photons: float) -> list[np.ndarray]:
    clean = view.frame()
    return [clean] + [noise.shot_noise(clean, rng, photons) for _ in _STEPS[1:]]


def _motion_blur(
    view: View, rng: np.random.Generator, radius: float, sigma: float, degrees: np.ndarray
) -> list[np.ndarray]:
    clean = view.frame()
    return [blurs.blur_along(clean, radius, sigma, angle) for angle in degrees]


def _zoom_blur(view: View, rng: np.random.Generator, scales: np.ndarray) -> list[np.ndarray]:
    """Frame i is the mean of the zooms up to i."""
    total = np.zeros(view.frame().shape, np.uint32)
    frames = []
    for count, scale in enumerate(scales, start=1):
        total += view.affine(scale=scale)
        frames.append((total // count).astype(np.uint8))
    return frames


def _snow(
    view: View, rng: np.random.Generator, zoom: float, radius: float, sigma: float
) -> list[np.ndarray]:
    """One snowfall whose direction turns."""
    clean = view.frame()
    flakes = weather.snow_flakes(clean.shape[:2], rng, mean=0.05, std=0.3, zoom=zoom, threshold=0.5)
    whitened = weather.whiten(clean, weight=0.85)
    falls = (blurs.blur_along(flakes, radius, sigma, angle) for angle in 4 * _STEPS - 150)
    return [blurs.truncate(weather.add_snow(whitened, fallen)) for fallen in falls]


def _spatter(
    view: View, rng: np.random.Generator, strength: float, **layer: float
) -> list[np.ndarray]:
    """Drops that run down by most of a pixel from frame to frame."""
    clean = view.frame()
    liquid = weather.splashes(clean.shape[:2], rng, **layer)
    frames = []
    for _ in _STEPS:
        frames.append(blurs.truncate(weather.add_water(clean, liquid, strength)))
        above = np.vstack([np.zeros_like(liquid[:1]), liquid[:-1]])
        liquid = 0.2 * liquid + 0.8 * above
    return frames


def _brightness(view: View, rng: np.random.Generator, amounts: np.ndarray) -> list[np.ndarray]:
    clean = view.frame()
    return [digital.brightness(clean, amount) for amount in amounts]


def _translate(view: View, rng: np.random.Generator, pixels: np.ndarray) -> list[np.ndarray]:
    return [view.affine(right=distance) for distance in pixels]


def _rotate(view: View, rng: np.random.Generator, degrees: np.ndarray) -> list[np.ndarray]:
    return [view.affine(degrees=angle) for angle in degrees]


def _tilt(view: View, rng: np.random.Generator, degrees: np.ndarray) -> list[np.ndarray]:
    return [view.tilt(angle) for angle in degrees]


def _scale(view: View, rng: np.random.Generator, scales: np.ndarray) -> list[np.ndarray]:
    return [view.affine(scale=scale) for scale in scales]


_MAKERS: dict[str, Callable[..., list[np.ndarray]]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "spatter": _spatter,
    "brightness": _brightness,
    "translate": _translate,
    "rotate": _rotate,
    "tilt": _tilt,
    "scale": _scale,
}


def contact_sheet(
    image: np.ndarray, seed: int = 0, native_size: int | None = None, columns: int = 8
) -> Image.Image:
    """Draws every sequence (rows) of an image, some of its frames from first to last (columns).

    Args:
        image: uint8 [H, W, 3].
        seed: see `sequence`.
        native_size: see `sequence`.
        columns: frames to draw, at least 2.

    Returns:
        A labeled grid of images.
    """
    size = nearest_native_size(*image.shape[:2]) if native_size is None else native_size
    films = {name: sequence(image, name, seed, size) for name in SEQUENCES[size]}
    height, width = films["gaussian_noise"].shape[1:3]
    margin, gap = 90, 4
    sheet = Image.new(
        "RGB", (margin + (width + gap) * columns, gap + (height + gap) * len(films)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for row, (name, frames) in enumerate(films.items()):
        top = gap + row * (height + gap)
        draw.text((gap, top + height // 2 - 12), f"{name}\n{len(frames)} frames", "black")
        for column, index in enumerate(np.linspace(0, len(frames) - 1, columns).astype(int)):
            sheet.paste(Image.fromarray(frames[index]), (margin + column * (width + gap), top))
    return sheet


def _main() -> None:
    image = cli.read_picture(flags.FLAGS.image)
    sheet = contact_sheet(image, flags.FLAGS.seed, flags.FLAGS.native_size, flags.FLAGS.columns)
    sheet.save(flags.FLAGS.output)


def command() -> None:
    """Runs the command."""
    flags.DEFINE_string("image", None, "The image to draw.", required=True)
    flags.DEFINE_string("output", "perturbations.png", "Where the contact sheet goes.")
    flags.DEFINE_integer("columns", 8, "Frames to draw of each sequence.", lower_bound=2)
    flags.DEFINE_integer("seed", 0, "Decides noise, snow and spatter.", lower_bound=0)
    flags.DEFINE_integer("native_size", None, "32, 224 or 299; not given: the nearest.")
    cli.run(_main)
