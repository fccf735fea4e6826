"""Frames of each perturbation sequence: one function per sequence.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019), for the order of steps. Each function takes a
view of the image and a random number generator, and returns a list of uint8 [h, w, 3] frames.
"""

import numpy as np

from data.corruptions import blurs, digital, noise, weather
from data.corruptions.levels import NoiseLayer
from data.perturbations.camera import View

STEPS = np.arange(31)  # most sequences have 31 frames


def gaussian_noise(view: View, rng: np.random.Generator, sigma: float) -> list[np.ndarray]:
    """Returns the clean frame and 30 frames with independent Gaussian noise."""
    clean = view.frame()
    return [clean] + [noise.gaussian_noise(clean, rng, sigma) for _ in STEPS[1:]]


def shot_noise(view: View, rng: np.random.Generator, photons: float) -> list[np.ndarray]:
    """Returns the clean frame and 30 frames with independent shot noise."""
    clean = view.frame()
    return [clean] + [noise.shot_noise(clean, rng, photons) for _ in STEPS[1:]]


def motion_blur(
    view: View, rng: np.random.Generator, radius: float, sigma: float, degrees: np.ndarray
) -> list[np.ndarray]:
    """Rotates the direction of a motion blur."""
    clean = view.frame()
    return [blurs.blur_along(clean, radius, sigma, angle) for angle in degrees]


def zoom_blur(view: View, rng: np.random.Generator, scales: np.ndarray) -> list[np.ndarray]:
    """Averages more and more enlargements: frame i is the mean of the first i + 1."""
    total = np.zeros(view.frame().shape, np.uint32)
    frames = []
    for count, scale in enumerate(scales, start=1):
        total += view.affine(scale=scale)
        frames.append((total // count).astype(np.uint8))
    return frames


def snow(
    view: View, rng: np.random.Generator, layer: NoiseLayer, radius: float, sigma: float
) -> list[np.ndarray]:
    """Rotates the direction of one snowfall."""
    clean = view.frame()
    flakes = weather.snow_flakes(clean.shape[:2], rng, layer)
    whitened = weather.whiten(clean, weight=0.85)
    traces = (blurs.blur_along(flakes, radius, sigma, float(angle)) for angle in 4 * STEPS - 150)
    return [blurs.truncate(weather.add_snow(whitened, trace)) for trace in traces]


def spatter(
    view: View, rng: np.random.Generator, layer: NoiseLayer, strength: float
) -> list[np.ndarray]:
    """Lets drops run down by most of a pixel per frame."""
    clean = view.frame()
    liquid = weather.splashes(clean.shape[:2], rng, layer)
    frames = []
    for _ in STEPS:
        frames.append(blurs.truncate(weather.add_water(clean, liquid, strength)))
        above = np.vstack([np.zeros_like(liquid[:1]), liquid[:-1]])
        liquid = 0.2 * liquid + 0.8 * above
    return frames


def brightness(view: View, rng: np.random.Generator, amounts: np.ndarray) -> list[np.ndarray]:
    """Brightens from dark to light."""
    clean = view.frame()
    return [digital.brightness(clean, amount) for amount in amounts]


def translate(view: View, rng: np.random.Generator, pixels: np.ndarray) -> list[np.ndarray]:
    """Moves the image from left to right."""
    return [view.affine(right=distance) for distance in pixels]


def rotate(view: View, rng: np.random.Generator, degrees: np.ndarray) -> list[np.ndarray]:
    """Rotates the image clockwise."""
    return [view.affine(degrees=angle) for angle in degrees]


def tilt(view: View, rng: np.random.Generator, degrees: np.ndarray) -> list[np.ndarray]:
    """Tilts the image in perspective."""
    return [view.tilt(angle) for angle in degrees]


def scale(view: View, rng: np.random.Generator, scales: np.ndarray) -> list[np.ndarray]:
    """Enlarges the image."""
    return [view.affine(scale=factor) for factor in scales]
