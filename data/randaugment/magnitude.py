"""Maps a magnitude to the argument of each operation.

Source: the public code of Noisy Student Training (Xie et al., CVPR 2020), where magnitude 10 is
"full" and EfficientNet-L2 uses 27.
"""

import math
from collections.abc import Callable

from data.randaugment import operations, registered

_FULL_MAGNITUDE = 10.0


def _bits(level: float) -> int:
    """Returns the number of bits that Posterize keeps; the public code keeps 1 if not in 1..8."""
    bits = int(level * 4)
    return bits if 1 <= bits <= 8 else 1


def _enhancement(level: float) -> float:
    return level * 1.8 + 0.1


# Operation -> its argument at a level, which is the magnitude divided by 10.
_ARGUMENTS: dict[str, Callable[[float], int | float]] = {
    "Rotate": lambda level: level * 30.0,
    "Posterize": _bits,
    "Solarize": lambda level: int(level * 256) % 256,  # a uint8 wraps in the public code
    "SolarizeAdd": lambda level: int(level * 110),
    "Color": _enhancement,
    "Contrast": _enhancement,
    "Brightness": _enhancement,
    "Sharpness": _enhancement,
    "ShearX": lambda level: level * 0.3,
    "ShearY": lambda level: level * 0.3,
}


def level_to_argument(
    name: str, magnitude: float, translate: float = 100, cutout: float = 40
) -> int | float | None:
    """Returns the argument that an operation takes at a magnitude.

    Two quirks of the public code are kept, because they define what a magnitude means. Its
    Solarize threshold wraps like uint8: 256 becomes 0, and 691 becomes 179. Its Posterize keeps
    only the top bit if int(0.4 * magnitude) is not between 1 and 8.

    Args:
      name: a key of OPERATIONS, or the name of a registered operation.
      magnitude: at least 0; 10 is "full" but not a limit.
      translate: pixels that TranslateX and TranslateY move at magnitude 10; use image_size / 8 for
        32 x 32 models.
      cutout: half the side of Cutout's square at magnitude 10, in pixels; use image_size / 8 for
        32 x 32 models.

    Returns:
      The argument, before the random sign that Rotate, ShearX, ShearY, TranslateX and TranslateY
      receive. None for operations without an argument.

    Raises:
      ValueError: the name is unknown, or the magnitude is negative or not finite.
    """
    if name not in registered.names():
        raise ValueError(f"Unknown operation {name!r}; valid: {', '.join(registered.names())}.")
    if not 0 <= magnitude < math.inf:
        raise ValueError(f"magnitude must be a finite number of at least 0, got {magnitude}.")
    if name in registered.REGISTERED:
        return registered.REGISTERED[name].level_to_argument(magnitude)
    level = magnitude / _FULL_MAGNITUDE
    if name in operations.WITHOUT_ARGUMENT:
        return None
    if name in ("TranslateX", "TranslateY"):
        return level * translate
    if name == "Cutout":
        return int(level * cutout)
    return _ARGUMENTS[name](level)
