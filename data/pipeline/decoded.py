"""Images of files and records decoded once and held in memory, as far as they fit.

What is held of an image is what it is without noise, in the size of the model: where training
crops at random, the crop needs the original, and the image is decoded again in every pass.
"""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import tensorflow as tf

_AT_ONCE = 256  # images copied at once
_ALIGNMENT = 64  # bytes, of TensorFlow's own tensors
_MIB = 1 << 20


class DecodedCache:
    """Sets of decoded images: each is held whole, or not at all.

    A set is decided on before any of its images is decoded, by their number and size alone: it is
    held if it fits in what the sets asked for earlier have left. So memory is bounded, and what is
    held does not depend on time.
    """

    def __init__(self, num_bytes: int):
        """An empty cache.

        Args:
            num_bytes: largest size of all that is held; 0: nothing is.

        Raises:
            ValueError: it is below 0.
        """
        if num_bytes < 0:
            raise ValueError(f"A cache of decoded images cannot have {num_bytes} bytes.")
        self._budget = self._left = num_bytes
        self._held: dict[Hashable, tf.Tensor | None] = {}
        self._sets: list[dict[str, Any]] = []

    def hold(
        self,
        name: str,
        source: Hashable,
        count: int,
        side: int,
        images: Callable[[], tf.data.Dataset],
        place: Callable[[int], str],
    ) -> tf.Tensor | None:
        """The images of a set; they are decoded at the first call for it alone.

        Args:
            name: of the set, for people.
            source: the set and how its images are prepared, told from others by equality.
            count: how many images it has (N).
            side: their side in pixels (S).
            images: makes a data set of them in their order, uint8 [S, S, 3].
            place: where the image of a number lies, for people.

        Returns:
            uint8 [N, S, S, 3] in main memory, or None if they do not fit.

        Raises:
            ValueError: naming the place of an image that cannot be decoded.
        """
        if source in self._held or not count or not self._budget:
            return self._held.get(source)
        num_bytes = count * side * side * 3
        fits = num_bytes <= self._left
        self._held[source] = _decode(count, side, images, place) if fits else None
        self._left -= num_bytes if fits else 0
        self._sets.append(
            {"name": name, "images": count, "mib": round(num_bytes / _MIB, 1), "held": fits}
        )
        return self._held[source]

    def report(self) -> dict[str, Any]:
        """Ready for JSON: "budget_mib", and of every set asked for name, size and whether held."""
        return {"budget_mib": self._budget // _MIB, "sets": [dict(entry) for entry in self._sets]}

    def in_words(self) -> str:
        """What is held and what is not; empty where nothing was asked for."""
        parts = []
        for held, begin in ((True, "decoded once"), (False, "decoded in every pass")):
            names = [_described(entry) for entry in self._sets if entry["held"] == held]
            if names:
                parts.append(f"{begin}: {', '.join(names)}")
        return "; ".join(parts)


def _described(entry: dict[str, Any]) -> str:
    return f"{entry['images']:,} {entry['name']} images ({entry['mib']:,.1f} MiB)"


def _decode(
    count: int, side: int, images: Callable[[], tf.data.Dataset], place: Callable[[int], str]
) -> tf.Tensor:
    """All images as one tensor, at no time more than that and a batch of them in memory."""
    # Lent to TensorFlow rather than copied, and aligned as its own memory is.
    memory = np.empty(count * side * side * 3 + _ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % _ALIGNMENT
    array = memory[begin : begin + count * side * side * 3].reshape(count, side, side, 3)
    options = tf.data.Options()
    options.autotune.enabled = False
    start = 0
    try:
        for batch in images().batch(_AT_ONCE).with_options(options):
            array[start : start + len(batch)] = batch.numpy()
            start += len(batch)
    except tf.errors.InvalidArgumentError as error:
        where = place(_first_undecodable(images()))
        raise ValueError(f"{where}: cannot be decoded as an image.") from error
    if start != count:
        raise RuntimeError(f"{start} of {count} images were there to be decoded.")
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _first_undecodable(images: tf.data.Dataset) -> int:
    """The number of the first image that raises an error."""
    number = 0
    try:
        for _ in images:
            number += 1
    except tf.errors.InvalidArgumentError:
        pass
    return number
