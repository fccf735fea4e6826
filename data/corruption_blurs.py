"""Blurs: defocus, glass, motion, zoom and Gaussian.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019). Its motion blur is ImageMagick's.

Functions return gray levels as float32, 0..255; `truncate` makes pixels of them.
"""

import functools
import math

import cv2
import numpy as np

# Sums of float32 products may fall short of a whole gray level by this much.
_ROUNDING_ERROR = 1e-3


def truncate(values: np.ndarray) -> np.ndarray:
    """Rounds gray levels down to pixels, as the published images are.

    Args:
        values: float32, clipped to 0..255.

    Returns:
        uint8 of the same shape.
    """
    values = values + np.float32(_ROUNDING_ERROR)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves with a Gaussian, cut off at four sigma; the edge pixels go on beyond the edge.

    Args:
        image: uint8 or float32 [H, W] or [H, W, 3].
        sigma: in pixels.

    Returns:
        float32 of the image's shape.
    """
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    return cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def defocus_blur(image: np.ndarray, radius: float, smoothing: float) -> np.ndarray:
    """Convolves with a disk.

    Args:
        image: uint8 [H, W, 3].
        radius: of the disk, in pixels.
        smoothing: sigma of the Gaussian that softens the disk's edge, in pixels.

    Returns:
        float32 [H, W, 3].
    """
    return cv2.filter2D(image.astype(np.float32), -1, disk(radius, smoothing))


@functools.cache
def disk(radius: float, smoothing: float) -> np.ndarray:
    """The kernel of `defocus_blur`, float32 [K, K], K odd, without borders of zeros."""
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
    """Moves pixels about, between two Gaussian blurs.

    In every round the pixels, from the bottom right to the top left, are replaced by a neighbor
    drawn from -delta..delta-1 in x and y, which may have been replaced itself.

    Args:
        image: uint8 [H, W, 3].
        rng: the source of randomness.
        sigma: of the blurs, in pixels.
        delta: how far pixels move, at least 1.
        rounds: how often.

    Returns:
        float32 [H, W, 3].
    """
    height, width = image.shape[:2]
    moves = rng.integers(
        -delta, delta, (rounds, 2, height - 2 * delta, width - 2 * delta), dtype=np.int8
    )
    origins = _origins(moves, height, width)
    shuffled = truncate(gaussian_blur(image, sigma)).reshape(-1, 3).take(origins, axis=0)
    return gaussian_blur(shuffled.reshape(image.shape), sigma)


def _origins(moves: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where the pixels of a shuffled image come from.

    Args:
        moves: int8 [rounds, 2, height - 2 * delta, width - 2 * delta], the moves in y and x of the
            pixels from row and column delta + 1 on.
        height: of the image.
        width: of the image.

    Returns:
        int64 [height * width], positions in the flattened image.
    """
    delta = (height - moves.shape[2]) // 2
    inner = np.s_[delta + 1 : height - delta + 1, delta + 1 : width - delta + 1]
    pixels = np.arange(height * width).reshape(height, width)
    moved = np.zeros((height, width), bool)
    moved[inner] = True
    moved = moved.reshape(-1)
    origins = pixels.reshape(-1)
    for move_y, move_x in moves:
        neighbors = pixels.copy()
        neighbors[inner] += move_y * np.intp(width) + move_x
        # A neighbor further on was replaced before, by its own neighbor: one has to go on there.
        unfinished = np.flatnonzero(neighbors > pixels)
        neighbors = neighbors.reshape(-1)
        unfinished = unfinished[moved[neighbors[unfinished]]]
        goes_on = np.zeros(len(neighbors), bool)
        goes_on[unfinished] = True
        sources = neighbors.copy()
        while len(unfinished):
            passed = sources[unfinished]
            sources[unfinished] = neighbors[passed]
            unfinished = unfinished[goes_on[passed]]
        origins = origins[sources]
    return origins


def motion_blur(
    image: np.ndarray, rng: np.random.Generator, radius: int, sigma: float
) -> np.ndarray:
    """`blur_along` a direction drawn from -45..45 degrees; takes and returns what that does."""
    return blur_along(image, radius, sigma, rng.uniform(-45, 45))


def blur_along(image: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Averages along a line that starts at the pixel, with the weights of half a Gaussian.

    The edge pixels go on beyond the edge.

    Args:
        image: uint8 or float32 [H, W] or [H, W, 3].
        radius: half the length of the line, in pixels.
        sigma: of the Gaussian, in pixels.
        angle: where the line goes, in degrees; 0 is to the right, 90 is down.

    Returns:
        float32 of the image's shape.
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    down = np.ceil(steps * math.sin(math.radians(angle)) - 0.5).astype(int)
    right = np.ceil(steps * math.cos(math.radians(angle)) - 0.5).astype(int)
    top, left = max(-down.min(), 0), max(-right.min(), 0)
    padded = cv2.copyMakeBorder(
        image, top, max(down.max(), 0), left, max(right.max(), 0), cv2.BORDER_REPLICATE
    )
    height, width = image.shape[:2]
    average = np.zeros(image.shape, np.float32)
    # A running average; the last step's is the weighted average of all.
    for y, x, share in zip(top + down, left + right, weights / np.cumsum(weights), strict=True):
        cv2.accumulateWeighted(padded[y : y + height, x : x + width], average, share)
    return average


def zoom_blur(image: np.ndarray, stop: float, step: float) -> np.ndarray:
    """Averages the image with enlargements of its center.

    Args:
        image: uint8 [H, W, 3].
        stop: where the zoom factors, which start at 1, end; itself left out.
        step: from one factor to the next.

    Returns:
        float32 [H, W, 3].
    """
    height, width = image.shape[:2]
    image = image.astype(np.float32)
    total = image.copy()
    factors = np.arange(1, stop, step)  # in floats; some stops slip in, as published
    for factor in factors:
        rows, columns = math.ceil(height / factor), math.ceil(width / factor)
        top, left = (height - rows) // 2, (width - columns) // 2
        center = image[top : top + rows, left : left + columns]
        cv2.accumulate(enlarge(center, factor)[:height, :width], total)
    return total / np.float32(len(factors) + 1)


def enlarge(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges an image bilinearly; its corner pixels are those of the result.

    Args:
        image: float32 [H, W] or [H, W, C].
        factor: at least 1.

    Returns:
        float32 [round(H * factor), round(W * factor)] or as much with a trailing C.
    """
    rows, columns = image.shape[:2]
    height, width = round(rows * factor), round(columns * factor)
    back = np.array(
        [[(columns - 1) / (width - 1), 0, 0], [0, (rows - 1) / (height - 1), 0]], np.float64
    )
    return cv2.warpAffine(
        image,
        back,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
