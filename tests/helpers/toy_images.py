"""Images for filters, and how far two images are apart."""

import numpy as np
from scipy import ndimage


def generator(seed=0):
    return np.random.default_rng(seed)


def picture(height=96, width=96, seed=0):
    """Smooth colors with edges and fine texture, as photographs have them."""
    rng = generator(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (8, 8, 0))
    image = 128 + 45 * smooth / smooth.std() + rng.normal(0, 6, (height, width, 3))
    image[height // 4 : height // 2, width // 3 :] += 40
    return np.clip(image, 0, 255).astype(np.uint8)


def flat(value, height=96, width=96):
    return np.full((height, width, 3), value, np.uint8)


def mean_difference(image, other):
    return np.abs(np.asarray(image, float) - np.asarray(other, float)).mean()


def largest_difference(image, other):
    return np.abs(np.asarray(image, float) - np.asarray(other, float)).max()
