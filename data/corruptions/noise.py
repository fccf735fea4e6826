"""Noise that is independent for every value of an image.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019).

The distribution of a noisy value depends only on the value. A table holds its quantiles for each of
the 256 gray levels and is computed once. Drawing noise is then one look-up per value.
"""

import functools

import numpy as np
from scipy import special

# Quantiles per gray level. Cumulative probabilities are accurate to 1/8192. At all published levels
# the mean is accurate to 0.03 gray levels and the standard deviation to 0.1 (Gaussian noise: 0.01).
# A table takes 1 MiB and fits a core's cache.
_QUANTILE_BITS = 12
_GRAYS = np.arange(256)


def gaussian_noise(image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Adds normal noise.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        sigma: standard deviation; 1 is the full range.

    Returns:
        uint8 [H, W, 3].
    """
    return draw(image, rng, gaussian_quantiles(sigma))


def speckle_noise(image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Adds normal noise in proportion to the value.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        sigma: standard deviation; 1 is the value itself.

    Returns:
        uint8 [H, W, 3].
    """
    return draw(image, rng, _speckle_quantiles(sigma))


def shot_noise(image: np.ndarray, rng: np.random.Generator, photons: float) -> np.ndarray:
    """Replaces values by Poisson counts around them.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        photons: expected count for white.

    Returns:
        uint8 [H, W, 3].
    """
    return draw(image, rng, shot_quantiles(photons))


def impulse_noise(image: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """Replaces values by 0 or 255.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        amount: fraction of the values that are replaced, half of them by 255.

    Returns:
        uint8 [H, W, 3].
    """
    uniform = _uint16(rng, image.shape)
    result = np.where(uniform < round(amount * 65536), np.uint8(0), image)
    result[uniform < round(amount / 2 * 65536)] = 255
    return result


def _uint16(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 65536, shape, dtype=np.uint16)


def draw(image: np.ndarray, rng: np.random.Generator, quantiles: np.ndarray) -> np.ndarray:
    """Draws a noisy value for each value of an image.

    Args:
        image: uint8 of any shape.
        rng: random number generator.
        quantiles: uint8 [256, 4096], the quantiles of the noisy value for each gray level.

    Returns:
        uint8 with the image's shape.
    """
    index = image.astype(np.intp)
    index <<= _QUANTILE_BITS
    index |= _uint16(rng, image.shape) >> (16 - _QUANTILE_BITS)
    # All indices are in bounds; "clip" skips the check.
    return quantiles.reshape(-1).take(index, mode="clip")


@functools.cache
def gaussian_quantiles(sigma: float) -> np.ndarray:
    """Returns the quantiles of `gaussian_noise`; see `draw`."""
    # Values are rounded down: a value is at most g where the sum is below g + 1.
    above = _GRAYS[np.newaxis, :-1] + 1 - _GRAYS[:, np.newaxis]
    return _quantiles(special.ndtr(above / (255 * sigma)))


@functools.cache
def _speckle_quantiles(sigma: float) -> np.ndarray:
    above = _GRAYS[np.newaxis, :-1] + 1 - _GRAYS[:, np.newaxis]
    spread = np.maximum(_GRAYS[:, np.newaxis], 1e-9)  # black stays black
    return _quantiles(special.ndtr(above / (spread * sigma)))


@functools.cache
def shot_quantiles(photons: float) -> np.ndarray:
    """Returns the quantiles of `shot_noise`; see `draw`."""
    counts = np.arange(int(photons) + 1)
    outcomes = np.minimum(counts / photons, 1) * 255
    largest_count = np.searchsorted(outcomes.astype(np.uint8), _GRAYS[:-1], side="right") - 1
    expected = _GRAYS[:, np.newaxis] / 255 * photons
    return _quantiles(special.pdtr(largest_count[np.newaxis], expected))


def _quantiles(cumulative: np.ndarray) -> np.ndarray:
    """Tabulates the quantiles of 256 distributions.

    Args:
        cumulative: float64 [256, 255], probabilities of values up to 0, 1, ..., 254.

    Returns:
        uint8 [256, 4096], read-only; repeats each value in proportion to its probability.
    """
    size = 2**_QUANTILE_BITS
    edges = np.rint(cumulative * size).astype(np.intp)
    counts = np.diff(edges, axis=1, prepend=0, append=size)
    outcomes = np.broadcast_to(_GRAYS.astype(np.uint8), counts.shape)
    table = np.repeat(outcomes.reshape(-1), counts.reshape(-1)).reshape(256, size)
    table.flags.writeable = False
    return table
