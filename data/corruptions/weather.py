"""Weather: snow, frost, fog and spatter.

Source: the public code of Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019). Its frost photographs are data files of the
package torch-uncertainty-assets.

Functions return float32 gray levels, which the caller clips. Flakes and drops are drawn by separate
functions, because all frames of a perturbation sequence share one snowfall.
"""

import functools
import importlib.resources
import math

import numpy as np

from data.corruptions.blurs import blur_along, enlarge, gaussian_blur
from data.corruptions.digital import decode_rgb
from data.corruptions.levels import NoiseLayer
from data.optional import LazyModule

cv2 = LazyModule("cv2")

# The five photographs of the public code by their names in the package. The second and the third
# are the same.
FROST_PACKAGE = "torch_uncertainty_assets.frost"
_FROST_FILES = ("frost1.jpg", "frost2.jpg", "frost2.jpg", "frost3.jpg", "frost4.jpg")
# RGB in 0..1 (public code).
_WATER = np.array((175 / 255, 238 / 255, 238 / 255), np.float32)
_MUD = np.array((63 / 255, 42 / 255, 20 / 255), np.float32)
_FIRST_WIBBLE = 100.0  # scale of fog's height map (public code)


def snow(
    image: np.ndarray,
    rng: np.random.Generator,
    layer: NoiseLayer,
    radius: float,
    sigma: float,
    weight: float,
) -> np.ndarray:
    """Whitens the image and adds flakes that fall in a direction drawn from -135..-45 degrees.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        layer: the flakes; see `snow_flakes`.
        radius: half the length of a flake's trace in pixels; see `blur_along`.
        sigma: standard deviation of the trace in pixels.
        weight: weight of the image; see `whiten`.

    Returns:
        float32 [H, W, 3].
    """
    flakes = snow_flakes(image.shape[:2], rng, layer)
    fallen = blur_along(flakes, radius, sigma, rng.uniform(-135, -45))
    return add_snow(whiten(image, weight), fallen)


def snow_flakes(shape: tuple[int, ...], rng: np.random.Generator, layer: NoiseLayer) -> np.ndarray:
    """Draws flakes before they fall: enlarged normal noise, black below a threshold.

    Args:
        shape: height and width in pixels.
        rng: random number generator.
        layer: the noise, where 1 is white; `scale` is the width of a flake in pixels, at least 1.

    Returns:
        uint8 [H, W].
    """
    height, width = shape
    grid = math.ceil(height / layer.scale), math.ceil(width / layer.scale)
    noise = layer.mean + np.float32(layer.std) * rng.standard_normal(grid, dtype=np.float32)
    flakes = enlarge(noise, layer.scale, height, width)
    flakes[flakes < layer.threshold] = 0
    return (255 * np.clip(flakes, 0, 1)).astype(np.uint8)


def whiten(image: np.ndarray, weight: float) -> np.ndarray:
    """Blends the image with the pale light of a snowfall.

    Args:
        image: uint8 [H, W, 3].
        weight: weight of the image, 0..1. The remaining weight goes to the image or to its
            brightened gray, whichever is lighter.

    Returns:
        float32 [H, W, 3].
    """
    image = image.astype(np.float32)
    pale = _gray_to_rgb(1.5 * cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) + 127.5)
    cv2.max(image, pale, dst=pale)
    return cv2.addWeighted(image, weight, pale, 1 - weight, 0, dst=pale)


def add_snow(whitened: np.ndarray, flakes: np.ndarray) -> np.ndarray:
    """Adds flakes and a copy of them rotated by 180 degrees.

    Args:
        whitened: float32 [H, W, 3]; see `whiten`.
        flakes: uint8 [H, W].

    Returns:
        float32 [H, W, 3].
    """
    both = flakes.astype(np.float32) + flakes[::-1, ::-1]
    return cv2.add(whitened, _gray_to_rgb(both))


def frost(
    image: np.ndarray,
    rng: np.random.Generator,
    image_weight: float,
    frost_weight: float,
    scale: float,
) -> np.ndarray:
    """Adds a random crop of a photograph of frost.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        image_weight: weight of the image.
        frost_weight: weight of the frost.
        scale: scale of the photograph, increased where the image would not fit into it.

    Returns:
        float32 [H, W, 3].

    Raises:
        ModuleNotFoundError: the package with the photographs is not installed.
    """
    height, width = image.shape[:2]
    file = _FROST_FILES[rng.integers(len(_FROST_FILES))]
    rows, columns = frost_texture(file).shape[:2]
    texture = _scaled_frost_texture(file, max(scale, height / rows, width / columns))
    top = rng.integers(texture.shape[0] - height + 1)
    left = rng.integers(texture.shape[1] - width + 1)
    part = texture[top : top + height, left : left + width]
    return cv2.addWeighted(image, image_weight, part, frost_weight, 0, dtype=cv2.CV_32F)


@functools.cache
def frost_texture(file: str) -> np.ndarray:
    """Reads a photograph of frost, RGB uint8 [H, W, 3]; raises as `frost` does."""
    try:
        encoded = importlib.resources.files(FROST_PACKAGE).joinpath(file).read_bytes()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Frost needs the photographs of torch-uncertainty-assets: "
            "pip install 'noisy-student[robustness]'"
        ) from error
    return decode_rgb(np.frombuffer(encoded, np.uint8))


@functools.lru_cache(maxsize=32)
def _scaled_frost_texture(file: str, scale: float) -> np.ndarray:
    texture = frost_texture(file)
    size = round(texture.shape[1] * scale), round(texture.shape[0] * scale)
    return cv2.resize(texture, size, interpolation=cv2.INTER_LINEAR)


def fog(
    image: np.ndarray, rng: np.random.Generator, strength: float, decay: float, map_size: int
) -> np.ndarray:
    """Adds a fractal height map and rescales so that the brightest value is preserved.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        strength: strength of the fog; 1 is white.
        decay: roughness decay of the map; see `height_map`.
        map_size: side of the map in pixels, a power of two; doubled until the image fits.

    Returns:
        float32 [H, W, 3].
    """
    height, width = image.shape[:2]
    while map_size < max(height, width):
        map_size *= 2
    heights = _gray_to_rgb(height_map(rng, map_size, decay)[:height, :width])
    brightest = float(image.max()) / 255
    share = brightest / (brightest + strength)
    return cv2.addWeighted(image, share, heights, 255 * strength * share, 0, dtype=cv2.CV_32F)


def height_map(rng: np.random.Generator, size: int, decay: float) -> np.ndarray:
    """Returns a periodic fractal landscape, made by the diamond-square algorithm.

    Args:
        rng: random number generator.
        size: side of the map in pixels, a power of two.
        decay: divides the wibble whenever the distance halves. Noise is uniform between minus and
            plus the square of the wibble.

    Returns:
        float32 [size, size] from 0 to 1.
    """
    corners = np.zeros((1, 1), np.float32)
    wibble = _FIRST_WIBBLE
    while (count := len(corners)) < size:
        noise = rng.random((3, count, count), dtype=np.float32)
        noise -= 0.5
        noise *= 2 * wibble**2
        below, right = np.roll(corners, -1, 0), np.roll(corners, -1, 1)
        centers = (corners + below + right + np.roll(below, -1, 1)) / 4 + noise[0]
        tops = (corners + right + centers + np.roll(centers, 1, 0)) / 4 + noise[1]
        lefts = (corners + below + centers + np.roll(centers, 1, 1)) / 4 + noise[2]
        finer = np.empty((2 * count, 2 * count), np.float32)
        finer[::2, ::2], finer[::2, 1::2] = corners, tops
        finer[1::2, ::2], finer[1::2, 1::2] = lefts, centers
        corners = finer
        wibble /= decay
    corners -= corners.min()
    corners /= corners.max()
    return corners


def spatter(
    image: np.ndarray, rng: np.random.Generator, layer: NoiseLayer, strength: float, kind: int
) -> np.ndarray:
    """Splashes water or mud on the image where blurred noise exceeds a threshold.

    Args:
        image: uint8 [H, W, 3].
        rng: random number generator.
        layer: the liquid; see `splashes`.
        strength: for water, see `add_water`; for mud, sigma of the outline's blur in pixels.
        kind: 0 for water, 1 for mud.

    Returns:
        float32 [H, W, 3].
    """
    liquid = splashes(image.shape[:2], rng, layer)
    if kind == 0:
        return add_water(image, liquid, strength)
    mask = gaussian_blur((liquid > 0).astype(np.float32), strength)
    mask[mask < 0.8] = 0
    mask = _gray_to_rgb(mask)
    return image * (1 - mask) + mask * (np.float32(255) * _MUD)


def splashes(shape: tuple[int, ...], rng: np.random.Generator, layer: NoiseLayer) -> np.ndarray:
    """Draws liquid: blurred normal noise, 0 below a threshold.

    Args:
        shape: height and width in pixels.
        rng: random number generator.
        layer: the noise, with a threshold above 0; `scale` is sigma of its blur in pixels.

    Returns:
        float32 [H, W].
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    liquid = gaussian_blur(layer.mean + np.float32(layer.std) * noise, layer.scale)
    liquid[liquid < layer.threshold] = 0
    return liquid


def add_water(image: np.ndarray, liquid: np.ndarray, strength: float) -> np.ndarray:
    """Adds light where there is liquid, embossed by the distance to the nearest edge.

    Args:
        image: uint8 [H, W, 3].
        liquid: float32 [H, W], clipped to 0..1; see `splashes`.
        strength: strength of the brightest drop, 0..1.

    Returns:
        float32 [H, W, 3].
    """
    drops = (np.clip(liquid, 0, 1) * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
    relief = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, emboss)
    light = drops * cv2.blur(relief, (3, 3)).astype(np.float32)
    light *= np.float32(255 * strength / max(light.max(), 1))
    return image + _gray_to_rgb(light) * _WATER


def _gray_to_rgb(gray: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
