"""User-defined operations, which RandAugment draws in addition to its own sixteen."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from data.randaugment import operations

Function = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Registered:
    """An operation of a user."""

    # Image uint8 [H, W, 3] and argument float32 [] -> uint8 [H, W, 3], of TensorFlow's operations.
    function: Function
    level_to_argument: Callable[[float], float]  # magnitude, of which 10 is "full" -> argument


REGISTERED: dict[str, Registered] = {}


def register(name: str, function: Function, level_to_argument: Callable[[float], float]) -> None:
    """Adds an operation to those that RandAugment draws, in this process.

    Stages record the names of added operations; a training cannot be continued with others.

    Args:
      name: its name; an operation registered earlier under this name is replaced.
      function: image uint8 [H, W, 3] and argument float32 [] -> uint8 [H, W, 3]. It must consist of
        TensorFlow operations that XLA can compile; any randomness must be derived from the image.
      level_to_argument: takes the magnitude (10 is "full"), returns the argument.

    Raises:
      ValueError: the name is that of one of the sixteen operations.
    """
    if name in operations.NAMES:
        raise ValueError(f"{name} is one of RandAugment's operations: choose another name.")
    REGISTERED[name] = Registered(function, level_to_argument)


def unregister(name: str) -> None:
    """Removes an operation that `register` added."""
    del REGISTERED[name]


def functions() -> tuple[Function, ...]:
    """Returns the functions of the added operations, in order of their registration."""
    return tuple(each.function for each in REGISTERED.values())


def names() -> tuple[str, ...]:
    """Returns the names of all operations, the sixteen first."""
    return (*operations.NAMES, *REGISTERED)


def apply(function: Function, image: tf.Tensor, argument: tf.Tensor) -> tf.Tensor:
    """Applies an added operation; raises a ValueError if the image changes its size or dtype."""
    result = tf.convert_to_tensor(function(image, argument))
    if result.dtype != tf.uint8 or not result.shape.is_compatible_with(image.shape):
        raise ValueError(
            f"{getattr(function, '__name__', function)} must return uint8 {image.shape}, not "
            f"{result.dtype.name} {result.shape}."
        )
    return tf.ensure_shape(result, image.shape)
