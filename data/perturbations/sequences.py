"""The ten perturbation sequences of ImageNet-P and CIFAR-10-P, made from any clean image.

Flip probability measures how a classifier's predictions change along a sequence. The first frame of
a noise sequence is the clean image.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), and its public code for the parameters.
"""

import zlib
from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image

from data import contact_sheet as sheets
from data.corruptions.levels import NoiseLayer, nearest_size
from data.perturbations import camera, frames
from data.perturbations.camera import View
from data.perturbations.frames import STEPS

Maker = partial[list[np.ndarray]]  # takes a view and a generator, returns the frames

# The published parameters by native size: 224 is ImageNet-P, 32 CIFAR-10-P, 299 ImageNet-P for
# larger models. Sequences have the order of the published tables.
_AT_224: dict[str, Maker] = {
    "gaussian_noise": partial(frames.gaussian_noise, sigma=0.03),
    "shot_noise": partial(frames.shot_noise, photons=300),
    "motion_blur": partial(frames.motion_blur, radius=10, sigma=3, degrees=4 * (STEPS - 30)),
    "zoom_blur": partial(frames.zoom_blur, scales=1 + 0.004 * STEPS),
    "snow": partial(frames.snow, layer=NoiseLayer(0.05, 0.3, 3, 0.5), radius=14, sigma=4),
    "brightness": partial(frames.brightness, amounts=0.02 * (STEPS - 15)),
    "translate": partial(frames.translate, pixels=np.arange(41) - 20),
    "rotate": partial(frames.rotate, degrees=STEPS - 15),
    "tilt": partial(frames.tilt, degrees=STEPS - 15),
    "scale": partial(frames.scale, scales=(2.5 * STEPS + 40) / 100),
}
_AT_299: dict[str, Maker] = _AT_224 | {
    "gaussian_noise": partial(frames.gaussian_noise, sigma=0.035),
    "shot_noise": partial(frames.shot_noise, photons=250),
    "motion_blur": partial(frames.motion_blur, radius=13, sigma=3, degrees=4 * (STEPS - 30)),
}
_AT_32: dict[str, Maker] = {
    "gaussian_noise": partial(frames.gaussian_noise, sigma=0.02),
    "shot_noise": partial(frames.shot_noise, photons=700),
    "motion_blur": partial(
        frames.motion_blur, radius=6, sigma=1.8, degrees=9 * (np.arange(21) - 20)
    ),
    "zoom_blur": partial(frames.zoom_blur, scales=1 + 0.004 * STEPS),
    "spatter": partial(frames.spatter, layer=NoiseLayer(0.6, 0.265, 1.75, 0.7), strength=0.6),
    "brightness": partial(frames.brightness, amounts=0.015 * (STEPS - 15)),
    "translate": partial(frames.translate, pixels=np.arange(16) - 7),
    "rotate": partial(frames.rotate, degrees=STEPS - 15),
    "tilt": partial(frames.tilt, degrees=0.75 * (STEPS - 15)),
    "scale": partial(frames.scale, scales=(2 * STEPS + 70) / 100),
    "snow": partial(frames.snow, layer=NoiseLayer(0.05, 0.3, 2, 0.5), radius=10, sigma=2),
}
_MAKERS = {32: _AT_32, 224: _AT_224, 299: _AT_299}
NATIVE_SIZES = tuple(_MAKERS)
# At 299 the published code moves the finished crop in these two, and the image before its crop in
# the others.
_CROP_FIRST = ("zoom_blur", "scale")
NOISE = ("gaussian_noise", "shot_noise")  # every frame is compared with the first, the clean one
# The ten evaluated sequences by native size. CIFAR-10-P has snow as an eleventh.
SEQUENCES = {size: tuple(makers)[:10] for size, makers in _MAKERS.items()}


def sequence(
    image: np.ndarray, name: str, seed: int | Sequence[int], native_size: int | None = None
) -> np.ndarray:
    """Makes one perturbation sequence of an image.

    The native size and the image decide how frames are cut from it:
      - 224: resizes the shorter side to 256, moves the image and crops the center of 224 x 224,
        as in ImageNet-P;
      - 299: moves the image, crops the center with 0.875 of its height and width, and resizes the
        crop to 299 x 299; `zoom_blur` and `scale` crop and resize first and then move the result;
      - 32, or any image that fits into the native size: moves the image in place and keeps its
        size, as in CIFAR-10-P.
    Pixels from beyond the image are black, as in the published data.

    Args:
        image: uint8 [H, W, 3].
        name: one of SEQUENCES[native_size], or "snow".
        seed: integers of at least 0, such as the run's seed and a hash of the image's id. Noise,
            snow and spatter depend only on them and on the name.
        native_size: image size of the benchmark whose parameters are used: 32, 224 or 299. None
            selects the one nearest to the image's shorter side.

    Returns:
        uint8 [F, h, w, 3] with F = `num_frames(name, native_size)`.

    Raises:
        ValueError: the image has another dtype or shape, or the name or size is unknown.
    """
    image = np.ascontiguousarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image must be uint8 [H, W, 3], got {image.dtype} {image.shape}.")
    size = nearest_native_size(*image.shape[:2]) if native_size is None else native_size
    if size not in _MAKERS:
        raise ValueError(f"native_size must be one of {NATIVE_SIZES}, got {size}.")
    makers = _MAKERS[size]
    if name not in makers:
        raise ValueError(
            f"Unknown perturbation {name!r} at native size {size}; valid: {', '.join(makers)}."
        )
    numbers = [seed] if isinstance(seed, int) else map(int, seed)
    rng = np.random.default_rng([zlib.crc32(name.encode()), *numbers])
    return np.stack(makers[name](_view(image, name, size), rng))


def num_frames(name: str, native_size: int) -> int:
    """Returns the number of frames of a sequence: 31, 41 or fewer."""
    values = _MAKERS[native_size][name].keywords.values()
    return next((len(each) for each in values if isinstance(each, np.ndarray)), len(STEPS))


def nearest_native_size(height: int, width: int) -> int:
    """Returns the native size nearest to the shorter side in pixels, the smaller of two."""
    return nearest_size(height, width, NATIVE_SIZES)


def _view(image: np.ndarray, name: str, native_size: int) -> View:
    """Returns the view that cuts frames from an image; see `sequence`."""
    if native_size == 32 or max(image.shape[:2]) <= native_size:
        return camera.in_place(image)
    if native_size == 224:
        return camera.resized_and_cropped(image, shorter=256, side=224)
    view = camera.cropped_and_resized(image, fraction=0.875, side=299)
    return camera.in_place(view.frame()) if name in _CROP_FIRST else view


def contact_sheet(
    image: np.ndarray, seed: int = 0, native_size: int | None = None, columns: int = 8
) -> Image.Image:
    """Draws evenly spaced frames (columns) of every sequence (rows) of an image.

    Args:
        image: uint8 [H, W, 3].
        seed: as in `sequence`.
        native_size: as in `sequence`.
        columns: frames to draw per sequence, at least 2.

    Returns:
        A labeled grid of images.
    """
    size = nearest_native_size(*image.shape[:2]) if native_size is None else native_size
    rows = {}
    for name in SEQUENCES[size]:
        video = sequence(image, name, seed, size)
        shown = np.linspace(0, len(video) - 1, columns).astype(int)
        rows[f"{name}\n{len(video)} frames"] = list(video[shown])
    return sheets.draw(rows)
