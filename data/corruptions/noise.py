"""Noise that changes every value of an image on its own.

Source of the four kinds: the public code of Hendrycks and Dietterich, "Benchmarking neural network
robustness to common corruptions and perturbations" (ICLR 2019).

What such noise makes of a value depends on nothing but the value, so that its whole law is a table:
the distribution of the outcome for each of the 256 gray levels. Tables are computed once; noise is
then one look-up per value, at a random quantile.
"""

import functools

import numpy as np
from scipy import special

# Quantiles per gray level. Every cumulative probability is right to 1/8192, and with it, at all
# published levels, the mean to 0.03 and the standard deviation to 0.1 gray levels (of Gaussian
# noise to 0.01). Such a table of 1 MiB fits a core's cache.
_QUANTILE_BITS = 12
_GRAYS = np.arange(256)


def gaussian_noise(image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Adds normal noise.

    Args:
        image: uint8 [H, W, 3].
        rng: the source of randomness.
        sigma: standard deviation; 1 is the full range.

    Returns:
        uint8 [H, W, 3].
    """
    return _draw(image, rng, _gaussian_quantiles(sigma))


def speckle_noise(image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Adds normal noise in proportion to the value.

    Args:
        image: uint8 [H, W, 3].
        rng: the source of randomness.
        sigma: standard deviation; 1 is the value itself.

    Returns:
        uint8 [H, W, 3].
    """
    return _draw(image, rng, _speckle_quantiles(sigma))


def shot_noise(image: np.ndarray, rng: np.random.Generator, photons: float) -> np.ndarray:
    """Replaces values by Poisson counts around them.

    Args:
        image: uint8 [H, W, 3].
        rng: the source of randomness.
        photons: the count expected of white.

    Returns:
        uint8 [H, W, 3].
    """
    return _draw(image, rng, _shot_quantiles(photons))


def impulse_noise(image: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """Replaces values by 0 or 255.

    Args:
        image: uint8 [H, W, 3].
        rng: the source of randomness.
        amount: share of the values replaced, half of them by 255.

    Returns:
        uint8 [H, W, 3].
    """
    uniform = _uint16(rng, image.shape)
    result = np.where(uniform < round(amount * 65536), np.uint8(0), image)
    result[uniform < round(amount / 2 * 65536)] = 255
    return result


def _uint16(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 65536, shape, dtype=np.uint16)


def _draw(image: np.ndarray, rng: np.random.Generator, quantiles: np.ndarray) -> np.ndarray:
    """One outcome for each value, out of quantiles: uint8 [256, 2**_QUANTILE_BITS]."""
    index = image.astype(np.intp)
    index <<= _QUANTILE_BITS
    index |= _uint16(rng, image.shape) >> (16 - _QUANTILE_BITS)
    # No index is out of bounds; "clip" saves the search for one.
    return quantiles.reshape(-1).take(index, mode="clip")


@functools.cache
def _gaussian_quantiles(sigma: float) -> np.ndarray:
    # An outcome is rounded down: it is at most g where the sum is below g + 1.
    above = _GRAYS[np.newaxis, :-1] + 1 - _GRAYS[:, np.newaxis]
    return _quantiles(special.ndtr(above / (255 * sigma)))


@functools.cache
def _speckle_quantiles(sigma: float) -> np.ndarray:
    above = _GRAYS[np.newaxis, :-1] + 1 - _GRAYS[:, np.newaxis]
    spread = np.maximum(_GRAYS[:, np.newaxis], 1e-9)  # black stays black
    return _quantiles(special.ndtr(above / (spread * sigma)))


@functools.cache
def _shot_quantiles(photons: float) -> np.ndarray:
    counts = np.arange(int(photons) + 1)
    outcomes = np.minimum(counts / photons, 1) * 255
    largest_count = np.searchsorted(outcomes.astype(np.uint8), _GRAYS[:-1], side="right") - 1
    expected = _GRAYS[:, np.newaxis] / 255 * photons
    return _quantiles(special.pdtr(largest_count[np.newaxis], expected))


def _quantiles(cumulative: np.ndarray) -> np.ndarray:
    """Tabulates the quantiles of 256 distributions.

    Args:
        cumulative: float64 [256, 255], the probabilities of outcomes up to 0, 1, ..., 254.

    Returns:
        uint8 [256, 2**_QUANTILE_BITS], read-only: as much of each outcome as it is probable.
    """
    size = 2**_QUANTILE_BITS
    edges = np.rint(cumulative * size).astype(np.intp)
    counts = np.diff(edges, axis=1, prepend=0, append=size)
    outcomes = np.broadcast_to(_GRAYS.astype(np.uint8), counts.shape)
    table = np.repeat(outcomes.reshape(-1), counts.reshape(-1)).reshape(256, size)
    table.flags.writeable = False
    return table
