"""Blurs: defocus, glass, motion, zoom and Gaussian.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019). Its motion blur is ImageMagick's.

Functions that return float32 gray levels leave the conversion to pixels to `truncate`.
"""

import functools
import math

import numpy as np

from data.optional import LazyModule

cv2 = LazyModule("cv2")

# A sum of float32 products may fall short of a whole gray level by this much.
_ROUNDING_ERROR = 1e-3
# ImageMagick rounds to 16-bit words, 257 per gray level, and then truncates them to bytes.
_HALF_A_WORD = 0.5 / 257


def truncate(values: np.ndarray, shortfall: float = _ROUNDING_ERROR) -> np.ndarray:
    """Rounds gray levels down to pixels, like the public code.

    Args:
        values: floats of any shape, clipped to 0..255.
        shortfall: values at most this far below a whole gray level are rounded up to it.

    Returns:
        uint8 of the same shape.
    """
    values = values + values.dtype.type(shortfall)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves with a Gaussian that is cut off at four sigma; edge pixels are replicated.

    Args:
        image: uint8 or float32 [H, W] or [H, W, 3].
        sigma: standard deviation in pixels.

    Returns:
        float32 with the image's shape.
    """
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    return cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def defocus_blur(image: np.ndarray, radius: float, smoothing: float) -> np.ndarray:
    """Convolves with a disk.

    Args:
        image: uint8 [H, W, 3].
        radius: radius of the disk in pixels.
        smoothing: sigma in pixels of the Gaussian that softens the disk's edge.

    Returns:
        float32 [H, W, 3].
    """
    return cv2.filter2D(image.astype(np.float32), -1, disk(radius, smoothing))


@functools.cache
def disk(radius: float, smoothing: float) -> np.ndarray:
    """Returns the kernel of `defocus_blur`, float32 [K, K] with odd K and no zero border."""
    half, window = (8, 3) if radius <= 8 else (math.floor(radius), 5)
    distance = np.arange(-half, half + 1) ** 2
    kernel = (distance + distance[:, np.newaxis] <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(kernel / kernel.sum(), (window, window), smoothing)
    border = max(half - math.floor(radius) - window // 2, 0)
    kernel = kernel[border : len(kernel) - border, border : len(kernel) - border].copy()
    kernel.flags.writeable = False
    return kernel


def glass_blur(
    image: np.ndarray, rng: np.random.Generator, sigma: float, delta: int, rounds: int
) -> np.ndarray:
    """Shuffles neighboring pixels between two Gaussian blurs.

    Each round visits the pixels from the bottom right to the top left and replaces each by a
    neighbor, drawn from -delta..delta-1 in x and y. The neighbor may have been replaced before.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        sigma: standard deviation of both blurs in pixels.
        delta: largest move in pixels, at least 1.
        rounds: number of rounds.

    Returns:
        float32 [H, W, 3].
    """
    height, width = image.shape[:2]
    moves = rng.integers(
        -delta, delta, (rounds, 2, height - 2 * delta, width - 2 * delta), dtype=np.int8
    )
    origins = shuffled_origins(moves, height, width)
    shuffled = truncate(gaussian_blur(image, sigma)).reshape(-1, 3).take(origins, axis=0)
    return gaussian_blur(shuffled.reshape(image.shape), sigma)


def shuffled_origins(moves: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the position that each pixel of an image shuffled by `glass_blur` comes from.

    Args:
        moves: int8 [rounds, 2, height - 2 * delta, width - 2 * delta], moves in y and x of the
            pixels from row and column delta + 1 on.
        height: image height in pixels.
        width: image width in pixels.

    Returns:
        int64 [height * width], positions in the flattened image.
    """
    delta = (height - moves.shape[2]) // 2
    inner = np.s_[delta + 1 : height - delta + 1, delta + 1 : width - delta + 1]
    positions = np.arange(height * width)
    is_inner = np.zeros((height, width), bool)
    is_inner[inner] = True
    moved = is_inner.reshape(-1)
    origins = positions
    for move_y, move_x in moves:
        offsets = np.zeros((height, width), np.intp)
        offsets[inner] = move_y * np.intp(width) + move_x
        neighbors = positions + offsets.reshape(-1)
        # A neighbor at a later position was replaced before this pixel, so follow its own neighbor.
        unfinished = np.flatnonzero(neighbors > positions)
        unfinished = unfinished[moved[neighbors[unfinished]]]
        continues = np.zeros(len(neighbors), bool)
        continues[unfinished] = True
        sources = neighbors.copy()
        while len(unfinished):
            passed = sources[unfinished]
            sources[unfinished] = neighbors[passed]
            unfinished = unfinished[continues[passed]]
        origins = origins[sources]
    return origins


def motion_blur(
    image: np.ndarray, rng: np.random.Generator, radius: float, sigma: float
) -> np.ndarray:
    """Blurs along a direction drawn from -45..45 degrees; see `blur_along`."""
    return blur_along(image, radius, sigma, rng.uniform(-45, 45))


def blur_along(image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Averages along a line that starts at the pixel, weighted by half a Gaussian.

    Samples the same pixels as ImageMagick. Edge pixels are replicated.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        radius: half the length of the line in pixels, rounded up.
        sigma: standard deviation of the Gaussian in pixels.
        angle: direction of the line in degrees; 0 is right, 90 is down.

    Returns:
        uint8 with the image's shape.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    # Drop the last steps, which together carry a millionth of the weight.
    steps = steps[np.cumsum(weights[::-1])[::-1] > 1e-6 * weights.sum()]
    weights = weights[steps]
    down = np.ceil(steps * math.sin(math.radians(angle)) - 0.5).astype(int)
    right = np.ceil(steps * math.cos(math.radians(angle)) - 0.5).astype(int)
    top, left = max(-down.min(), 0), max(-right.min(), 0)
    padded = cv2.copyMakeBorder(
        image, top, max(down.max(), 0), left, max(right.max(), 0), cv2.BORDER_REPLICATE
    )
    height, width = image.shape[:2]
    average = np.zeros(image.shape, np.float32)
    # A running average: after the last step it is the weighted average of all.
    for y, x, share in zip(top + down, left + right, weights / np.cumsum(weights), strict=True):
        cv2.accumulateWeighted(padded[y : y + height, x : x + width], average, share)
    return truncate(average, _HALF_A_WORD)


def zoom_blur(image: np.ndarray, stop: float, step: float) -> np.ndarray:
    """Averages the image with enlargements of its center.

    Args:
        image: uint8 [H, W, 3].
        stop: end of the zoom factors, exclusive; they start at 1.
        step: difference between two zoom factors.

    Returns:
        float32 [H, W, 3].
    """
    height, width = image.shape[:2]
    image = image.astype(np.float32)
    total = image.copy()
    factors = np.arange(1, stop, step)  # rounding includes some stops, as in the public code
    for factor in factors:
        rows, columns = math.ceil(height / factor), math.ceil(width / factor)
        top, left = (height - rows) // 2, (width - columns) // 2
        center = image[top : top + rows, left : left + columns]
        cv2.accumulate(enlarge(center, factor, height, width), total)
    return total / np.float32(len(factors) + 1)


def enlarge(image: np.ndarray, factor: float, height: int, width: int) -> np.ndarray:
    """Enlarges an image bilinearly, with aligned corner pixels, and crops its center.

    Args:
        image: float32 [rows, columns] or [rows, columns, C].
        factor: zoom factor, at least 1.
        height: output height, at most round(rows * factor), which must be at least 2.
        width: output width, at most round(columns * factor), which must be at least 2.

    Returns:
        float32 [height, width] or [height, width, C].
    """
    rows, columns = image.shape[:2]
    full_height, full_width = round(rows * factor), round(columns * factor)
    down, right = (rows - 1) / (full_height - 1), (columns - 1) / (full_width - 1)
    top, left = (full_height - height) // 2, (full_width - width) // 2
    back = np.array([[right, 0, right * left], [0, down, down * top]])
    return cv2.warpAffine(
        image,
        back,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
