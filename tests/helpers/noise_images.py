"""Images of random pixels, and seeds to draw noise for them."""

import numpy as np


def noise_image(height, width, seed=0):
    """Returns pixels below 128, so that the gray of cutout stands out: uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 128, (height, width, 3)).astype(np.uint8)


def seed_grid(count, salt=0):
    """Returns seeds (0, salt), (1, salt), ...: int32 [count, 2]."""
    return np.stack([np.arange(count), np.full(count, salt)], axis=1).astype(np.int32)
