"""Digital corruptions: brightness, contrast, saturation, elastic transform, pixelation and JPEG.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019).
"""

import functools

import numpy as np
from PIL import Image
from scipy import fft

from data.corruptions.blurs import truncate
from data.optional import LazyModule

cv2 = LazyModule("cv2")


def brightness(image: np.ndarray, amount: float) -> np.ndarray:
    """Adds to V of HSV, which is the largest of a pixel's three values.

    Args:
        image: uint8 [H, W, 3].
        amount: may be negative; 1 is the full range. V is clipped to its range.

    Returns:
        uint8 [H, W, 3].
    """
    largest = cv2.cvtColor(_extremes(image)[1], cv2.COLOR_GRAY2RGB)
    index = largest.astype(np.intp)
    index <<= 8
    index |= image
    return _brighter(amount).reshape(-1).take(index, mode="clip")


@functools.cache
def _brighter(amount: float) -> np.ndarray:
    """Returns the new value for a pixel's largest value and its old value, uint8 [256, 256]."""
    largest = np.arange(256.0)[:, np.newaxis]
    brighter = np.clip(largest + 255 * amount, 0, 255)
    # Multiplying all three values by the same number preserves hue and saturation.
    table = np.arange(256) * brighter / np.maximum(largest, 1)
    table[0] = brighter[0]  # black has no hue and becomes gray
    return truncate(table, shortfall=1e-6)  # float64


def saturate(image: np.ndarray, factor: float, summand: float) -> np.ndarray:
    """Multiplies S of HSV and adds to it; gray, which has no hue, counts as red.

    Args:
        image: uint8 [H, W, 3].
        factor: multiplies S.
        summand: added to S, whose range is 0..1.

    Returns:
        float32 [H, W, 3].
    """
    smallest, largest = _extremes(image)
    value = largest.astype(np.float32)
    chroma = value - smallest
    saturation = chroma / np.maximum(value, 1)
    new_chroma = value * np.clip(saturation * factor + summand, 0, 1)
    # Distances from the largest value are proportional to the chroma.
    growth = cv2.cvtColor(new_chroma / np.maximum(chroma, 1), cv2.COLOR_GRAY2RGB)
    value_rgb = cv2.cvtColor(value, cv2.COLOR_GRAY2RGB)
    result = value_rgb - (value_rgb - image) * growth
    result[..., 1:] -= np.where(chroma == 0, new_chroma, 0)[..., np.newaxis]
    return result


def _extremes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and the largest value of each pixel, uint8 [H, W] each."""
    red, green, blue = cv2.split(image)
    return cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies each channel's distance from its mean.

    Args:
        image: uint8 [H, W, 3].
        factor: multiplies the distances, 0..1.

    Returns:
        uint8 [H, W, 3].
    """
    means = np.array(cv2.mean(image)[:3])
    table = (np.arange(256)[:, np.newaxis] - means) * factor + means
    return cv2.LUT(image, truncate(table)[np.newaxis])


def pixelate(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrinks the image and enlarges it again with box filters.

    Args:
        image: uint8 [H, W, 3].
        factor: scale of the small image, 0..1.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    small_size = int(width * factor), int(height * factor)
    small = Image.fromarray(image).resize(small_size, Image.Resampling.BOX)
    # When enlarging, the box filter takes the pixel that contains the center.
    rows, columns = (
        ((np.arange(side) + 0.5) * (small_side / side)).astype(np.intp)
        for side, small_side in ((height, small.height), (width, small.width))
    )
    return np.asarray(small).take(columns, axis=1).take(rows, axis=0)


def jpeg_compression(image: np.ndarray, quality: int) -> np.ndarray:
    """Encodes the image as JPEG and decodes it.

    Args:
        image: uint8 [H, W, 3].
        quality: 1..100; chroma has half the resolution.

    Returns:
        uint8 [H, W, 3].
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, int(quality)))
    return decode_rgb(encoded)


def decode_rgb(encoded: np.ndarray) -> np.ndarray:
    """Decodes the bytes of an image file, uint8 [N], to RGB uint8 [H, W, 3].

    Raises:
        ValueError: OpenCV cannot decode the image.
    """
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("OpenCV cannot decode the image: it is damaged or not an image.")
    return image


def elastic_transform(
    image: np.ndarray, rng: np.random.Generator, alpha: float, sigma: float, displacement: float
) -> np.ndarray:
    """Distorts the image by a random affine map and then by a smooth random field.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        alpha: multiplies the field, which is uniform noise of -1..1 pixels before smoothing.
        sigma: standard deviation in pixels of the Gaussian that smooths the field.
        displacement: largest move in x and y of the affine map's three points, in pixels.

    Returns:
        float32 [H, W, 3].
    """
    height, width = image.shape[:2]
    center = np.array([width // 2, height // 2])
    corners = center + min(height, width) // 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + rng.uniform(-displacement, displacement, corners.shape)
    affine = cv2.getAffineTransform(np.float32(corners), np.float32(moved))
    result = cv2.warpAffine(
        image.astype(np.float32), affine, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    if alpha == 0:
        return result
    x, y = displacement_field(rng, height, width, alpha, sigma)
    x += np.arange(width, dtype=np.float32)
    y += np.arange(height, dtype=np.float32)[:, np.newaxis]
    return cv2.remap(result, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def displacement_field(
    rng: np.random.Generator, height: int, width: int, alpha: float, sigma: float
) -> np.ndarray:
    """Returns uniform noise of -1..1, convolved with a Gaussian and multiplied by alpha.

    Args:
        rng: random number generator.
        height: height of the field in pixels.
        width: width of the field in pixels.
        alpha: multiplies the smoothed noise.
        sigma: standard deviation of the Gaussian in pixels.

    Returns:
        float32 [2, height, width].
    """
    noise = 2 * rng.random((2, height, width), dtype=np.float32) - 1
    # For noise mirrored at its edges, the cosine transform turns the convolution into a product,
    # even where sigma exceeds the image.
    response = _gaussian_response(height, sigma)[:, np.newaxis] * _gaussian_response(width, sigma)
    spectrum = fft.dctn(noise, axes=(1, 2)) * (np.float32(alpha) * response)
    return fft.idctn(spectrum, axes=(1, 2))


@functools.lru_cache(maxsize=64)
def _gaussian_response(size: int, sigma: float) -> np.ndarray:
    """Returns the response of a Gaussian, cut off at three sigma, to each cosine.

    The result is float32 [size] and read-only.
    """
    radius = int(3 * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    frequencies = np.pi * np.arange(size) / size
    response = np.cos(frequencies[:, np.newaxis] * steps) @ (kernel / kernel.sum())
    response = response.astype(np.float32)
    response.flags.writeable = False
    return response
