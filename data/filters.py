"""What corruptions and perturbation sequences do to pixels: blur, light, noise, snow and water.

Every function is given its strengths; which strengths make a benchmark stands elsewhere. Images are
uint8 0..255, and results are truncated to uint8 as the published data were, unless a function says
otherwise. Nothing keeps a random state: what is random takes a generator.

Sources: the published code of Hendrycks and Dietterich (ICLR 2019) for what is done, and the
libraries it calls for how: ImageMagick for motion blur, scipy for zooming, OpenCV for water.
"""

import functools

import cv2
import numpy as np
from scipy import special

QUANTILES = 2**14  # of a noise table: their variance is 0.99992 of a normal distribution's
_SPARE_BITS = 2  # 16 - 14: numbers of 16 bits are drawn five times as fast
_HALF_A_WORD = 0.5 / 257  # ImageMagick rounds to words of 16 bits, then truncates these to bytes
_HAIR = 1e-6  # keeps whole numbers from being truncated to the one below
_WATER = (175, 238, 238)  # pale turquoise


# Blur.


def motion_blur(image: np.ndarray, radius: float, sigma: float, angle: float) -> np.ndarray:
    """Blurs along a line, as ImageMagick does: the light of a pixel comes from one side only.

    Args:
        image: uint8 [H, W] or [H, W, C].
        radius: the line's pixels are 2 * ceil(radius) + 1.
        sigma: standard deviation of the half Gaussian along the line, in pixels.
        angle: where the line goes, in degrees: 0 to the right, 90 down.

    Returns:
        uint8 of the same shape. Beyond its border the image goes on as it ends there.
    """
    weights = _half_gaussian(radius, sigma)
    steps = np.arange(len(weights))
    direction = np.radians(angle)
    columns, rows = (
        np.ceil(steps * component - 0.5).astype(int)
        for component in (np.cos(direction), np.sin(direction))
    )
    border = len(weights)
    padded = cv2.copyMakeBorder(image, *[border] * 4, cv2.BORDER_REPLICATE).astype(np.float32)
    height, width = image.shape[:2]
    blurred = np.zeros(image.shape, np.float32)
    for weight, row, column in zip(weights, rows + border, columns + border, strict=True):
        shifted = padded[row : row + height, column : column + width]
        cv2.scaleAdd(shifted, float(weight), blurred, dst=blurred)
    return (blurred + _HALF_A_WORD).astype(np.uint8)


def _half_gaussian(radius: float, sigma: float) -> np.ndarray:
    """Weights float64 [taps] of a motion blur, from its pixel outwards, with the sum 1.

    The last ones, which together move no pixel by a 20th of a gray level, are left out.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    share = np.cumsum(weights) / weights.sum()
    kept = weights[: 1 + np.searchsorted(share, 1 - 0.05 / 255)]
    return kept / kept.sum()


def enlarge_center(core: np.ndarray, factor: float, height: int, width: int) -> np.ndarray:
    """Enlarges the middle of a layer so that its outermost values stay outermost, and trims it.

    Args:
        core: float [ceil(height / factor), ceil(width / factor)].
        factor: 1 or more.
        height: of the result.
        width: of the result.

    Returns:
        float64 [height, width], bilinear: what scipy.ndimage.zoom makes of `core`, trimmed evenly.
    """
    rows = _enlarging_matrix(core.shape[0], factor, height)
    columns = _enlarging_matrix(core.shape[1], factor, width)
    return rows @ core @ columns.T


def _enlarging_matrix(size: int, factor: float, trimmed: int) -> np.ndarray:
    """float64 [trimmed, size]: what each of the `size` values adds to each enlarged one."""
    enlarged = round(size * factor)
    positions = np.linspace(0, size - 1, enlarged)
    start = (enlarged - trimmed) // 2
    positions = positions[start : start + trimmed]
    return np.maximum(1 - np.abs(positions[:, np.newaxis] - np.arange(size)), 0)


# Light.


def add_brightness(image: np.ndarray, amount: float) -> np.ndarray:
    """Adds to the value (V) of every pixel in HSV, hue and saturation kept.

    Args:
        image: uint8 [H, W, 3].
        amount: added to the value, which is 0..1 and stays there.

    Returns:
        uint8 [H, W, 3].
    """
    # With hue and saturation kept, channels grow with the value; only black is different: it has
    # neither, and turns gray.
    value = np.arange(256.0)[:, np.newaxis]
    brighter = np.clip(value + 255 * amount, 0, 255)
    table = np.arange(256) * brighter / np.maximum(value, 1)
    table[0] = brighter[0]
    table = np.minimum(table + _HAIR, 255).astype(np.uint8)
    red, green, blue = (image[..., channel] for channel in range(3))
    largest = np.maximum(np.maximum(red, green), blue)
    entries = largest[..., np.newaxis].astype(np.intp) * 256 + image
    return table.ravel().take(entries)


# Noise, drawn from tables: row k of a table holds, in rising order, equally likely values that a
# pixel of level k may take.


@functools.lru_cache(maxsize=16)
def gaussian_noise_table(sigma: float) -> np.ndarray:
    """uint8 [256, QUANTILES]: levels with normal noise, whose deviation is `sigma` of 0..1."""
    quantiles = special.ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
    values = np.arange(256, dtype=np.float32)[:, np.newaxis] + np.float32(255 * sigma * quantiles)
    return _constant(np.clip(values, 0, 255).astype(np.uint8))


@functools.lru_cache(maxsize=16)
def shot_noise_table(photons: float) -> np.ndarray:
    """uint8 [256, QUANTILES]: levels as Poisson counts, of which white has `photons` on average."""
    counts = np.arange(int(np.ceil(photons)) + 1)  # those above are white, too
    levels = np.minimum(255 * counts / photons + _HAIR, 255).astype(np.uint8)
    below = special.pdtr(counts, np.arange(256)[:, np.newaxis] * photons / 255)
    ends = np.rint(below * QUANTILES).astype(int)
    ends[:, -1] = QUANTILES
    rows = [np.repeat(levels, widths) for widths in np.diff(ends, axis=1, prepend=0)]
    return _constant(np.stack(rows))


def draw_noise(image: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A noisy version of an image, every value drawn from its row of a noise table.

    Args:
        image: uint8, of any shape.
        table: see `gaussian_noise_table` and `shot_noise_table`.
        rng: the generator, which moves on.

    Returns:
        uint8 of the same shape.
    """
    entries = image.astype(np.intp) * QUANTILES
    entries += rng.integers(2**16, size=image.shape, dtype=np.uint16) >> _SPARE_BITS
    return table.ravel().take(entries, mode="clip")


def _constant(table: np.ndarray) -> np.ndarray:
    table.flags.writeable = False
    return table


# Weather.


def snow_flakes(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
) -> np.ndarray:
    """A layer of flakes: enlarged normal noise, black below a threshold.

    Args:
        shape: height and width.
        rng: the generator, which moves on.
        mean: of the noise, where white is 1.
        std: of the noise.
        zoom: how much it is enlarged.
        threshold: below it there is no snow.

    Returns:
        uint8 [H, W].
    """
    height, width = shape
    core = rng.normal(mean, std, (int(np.ceil(height / zoom)), int(np.ceil(width / zoom))))
    layer = enlarge_center(core, zoom, height, width)
    layer[layer < threshold] = 0
    return (255 * np.clip(layer, 0, 1)).astype(np.uint8)


def whiten(image: np.ndarray, share: float) -> np.ndarray:
    """The pale light of a snowfall.

    Args:
        image: uint8 [H, W, 3].
        share: of the image in the result; the rest is the image or its brightened gray, whichever
            is lighter.

    Returns:
        float32 [H, W, 3], 0 and above.
    """
    image = image.astype(np.float32)
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    return share * image + (1 - share) * np.maximum(image, 1.5 * gray + 127.5)


def add_snow(whitened: np.ndarray, flakes: np.ndarray) -> np.ndarray:
    """Lays flakes, uint8 [H, W], and the same turned by 180 degrees on a `whiten`ed image.

    Returns:
        uint8 [H, W, 3].
    """
    both = flakes.astype(np.float32) + flakes[::-1, ::-1]
    snowy = whitened + cv2.merge([both] * 3)  # twice as fast as broadcasting
    return np.minimum(snowy, 255, out=snowy).astype(np.uint8)


def splashes(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    mean: float,
    std: float,
    sigma: float,
    threshold: float,
) -> np.ndarray:
    """A layer of liquid: blurred normal noise, 0 below a threshold.

    Args:
        shape: height and width.
        rng: the generator, which moves on.
        mean: of the noise.
        std: of the noise.
        sigma: of the Gaussian blur, in pixels.
        threshold: below it there is no liquid.

    Returns:
        float64 [H, W].
    """
    side = 2 * int(4 * sigma + 0.5) + 1  # four deviations to each side
    layer = rng.normal(mean, std, shape)
    layer = cv2.GaussianBlur(layer, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)
    layer[layer < threshold] = 0
    return layer


def add_water(image: np.ndarray, liquid: np.ndarray, strength: float) -> np.ndarray:
    """Wets an image: light, embossed by the distance to the nearest edge of the liquid.

    Args:
        image: uint8 [H, W, 3].
        liquid: float [H, W], 0..1, see `splashes`.
        strength: of the brightest drop, 0..1.

    Returns:
        uint8 [H, W, 3]; the image itself where there is no liquid at all.
    """
    drops = (255 * liquid).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    relief = np.float32([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    embossed = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, relief)
    light = drops * cv2.blur(embossed, (3, 3)).astype(np.float32)
    brightest = light.max()
    if brightest == 0:
        return image.copy()
    added = (strength / brightest * light)[..., np.newaxis] * np.float32(_WATER)
    return np.clip(image + added, 0, 255).astype(np.uint8)
