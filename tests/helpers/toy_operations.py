"""RandAugment's operations, and images on which they show what they do."""

import functools

import numpy as np

NAMES = [
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd"),
    *("Color", "Contrast", "Brightness", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Cutout"),
]
GEOMETRY = ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"]


@functools.cache
def synthetic_images(height, width):
    rng = np.random.default_rng(height)
    vertical, horizontal = np.linspace(0, 255, height), np.linspace(0, 100, width)
    gradient = np.stack(
        [
            np.broadcast_to(vertical[:, np.newaxis], (height, width)),
            np.add.outer(vertical / 3, horizontal),
            np.broadcast_to(250 - horizontal, (height, width)),
        ],
        axis=-1,
    )
    two_levels = np.where(rng.random((height, width, 3)) < 0.3, 10, 201)
    few = rng.integers(0, 256, (height, width, 3))
    few[height // 4 :] = 60  # fewer pixels than 255 above the lowest level at 32 x 32
    images = {
        "random": rng.integers(0, 256, (height, width, 3)),
        "gradient": gradient,
        "constant": np.full((height, width, 3), [0, 77, 255]),
        "two levels": two_levels,
        "mostly constant": few,
    }
    return {name: image.astype(np.uint8) for name, image in images.items()}
