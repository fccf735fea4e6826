"""Blurs: defocus, glass, motion, zoom and Gaussian.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019). Its motion blur is ImageMagick's.

Functions that return gray levels as float32 leave it to `truncate` to make pixels of them.
"""

import functools
import math

import cv2
import numpy as np

# Sums of float32 products may fall short of a whole gray level by this much.
_ROUNDING_ERROR = 1e-3
# ImageMagick rounds to words of 16 bits, of which 257 are a gray level; then bytes are cut off.
_HALF_A_WORD = 0.5 / 257


def truncate(values: np.ndarray, shortfall: float = _ROUNDING_ERROR) -> np.ndarray:
    """Rounds gray levels down to pixels, as the published images are.

    Args:
        values: floats, clipped to 0..255.
        shortfall: a value that is below a whole gray level by no more than this counts as it.

    Returns:
        uint8 of the same shape.
    """
    values = values + values.dtype.type(shortfall)
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
    image: np.ndarray, rng: np.random.Generator, radius: float, sigma: float
) -> np.ndarray:
    """`blur_along` a direction drawn from -45..45 degrees; takes and returns what that does."""
    return blur_along(image, radius, sigma, rng.uniform(-45, 45))


def blur_along(image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Averages along a line that starts at the pixel, with the weights of half a Gaussian.

    The pixels are those of ImageMagick. The edge pixels go on beyond the edge.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        radius: half the length of the line, in pixels, rounded up.
        sigma: of the Gaussian, in pixels.
        angle: where the line goes, in degrees; 0 is to the right, 90 is down.

    Returns:
        uint8 of the image's shape.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    # The last steps, which together have a millionth of the weight, are left out.
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
    # A running average; the last step's is the weighted average of all.
    for y, x, share in zip(top + down, left + right, weights / np.cumsum(weights), strict=True):
        cv2.accumulateWeighted(padded[y : y + height, x : x + width], average, share)
    return truncate(average, _HALF_A_WORD)


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
        cv2.accumulate(enlarge(center, factor, height, width), total)
    return total / np.float32(len(factors) + 1)


def enlarge(image: np.ndarray, factor: float, height: int, width: int) -> np.ndarray:
    """Enlarges an image bilinearly, corner pixels onto corner pixels, and trims it evenly.

    Args:
        image: float32 [rows, columns] or [rows, columns, C].
        factor: at least 1.
        height: of the result, at most round(rows * factor), which is at least 2.
        width: of the result; likewise.

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
