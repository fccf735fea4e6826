"""A cache of decoded images, as far as they fit in memory.

It holds images without noise, in the size of the model. Where training crops at random, the crop
needs the original, and the image is decoded again in every pass.
"""

import dataclasses
from collections.abc import Callable, Hashable
from typing import TypedDict

import numpy as np
import tensorflow as tf

from data import preprocess

_AT_ONCE = 256  # images copied at once
_ALIGNMENT = 64  # bytes, of TensorFlow's own tensors
_MIB = 1 << 20


class CachedSet(TypedDict):
    """A requested set of images: its size, and whether it is cached."""

    name: str
    images: int
    mib: float
    held: bool


class CacheReport(TypedDict):
    """The size of a cache, and the requested sets."""

    budget_mib: int
    sets: list[CachedSet]


@dataclasses.dataclass(frozen=True)
class Request:
    """A set of images for the cache."""

    name: str  # name of the set in the report
    key: Hashable  # identifies the set and how its images are prepared
    count: int  # number of images (N)
    side: int  # side of the images in pixels (S)
    # Makes a data set of the images in their order, uint8 [S, S, 3].
    images: Callable[[], tf.data.Dataset]


class DecodedCache:
    """Sets of decoded images, each cached completely or not at all.

    The number and size of the images decide before any is decoded: a set is cached if it fits into
    the memory that sets requested earlier have left. So memory is bounded, and what is cached does
    not depend on timing.
    """

    def __init__(self, num_bytes: int):
        """Makes an empty cache.

        Args:
            num_bytes: maximum total size; 0: cache nothing.

        Raises:
            ValueError: num_bytes is below 0.
        """
        if num_bytes < 0:
            raise ValueError(f"A cache of decoded images cannot have {num_bytes} bytes.")
        self._budget = self._left = num_bytes
        self._held: dict[Hashable, tf.Tensor | None] = {}
        self._sets: list[CachedSet] = []

    def hold(self, request: Request) -> tf.Tensor | None:
        """Returns the images of a set; only the first request for it decodes them.

        Returns:
            uint8 [N, S, S, 3] in main memory, or None if they do not fit.

        Raises:
            ValueError: names the place of an image that cannot be decoded.
        """
        if request.key in self._held or not request.count or not self._budget:
            return self._held.get(request.key)
        num_bytes = request.count * request.side**2 * 3
        fits = num_bytes <= self._left
        self._held[request.key] = _decode(request) if fits else None
        self._left -= num_bytes if fits else 0
        mib = round(num_bytes / _MIB, 1)
        self._sets.append({"name": request.name, "images": request.count, "mib": mib, "held": fits})
        return self._held[request.key]

    def report(self) -> CacheReport:
        """Returns the size of the cache and all sets that were requested, ready for JSON."""
        return {"budget_mib": self._budget // _MIB, "sets": [entry.copy() for entry in self._sets]}

    def describe(self) -> str:
        """Returns a line about what is cached and what is not; empty if nothing was requested."""
        parts = []
        for held, begin in ((True, "decoded once"), (False, "decoded in every pass")):
            names = [_described(entry) for entry in self._sets if entry["held"] == held]
            if names:
                parts.append(f"{begin}: {', '.join(names)}")
        return "; ".join(parts)


def _described(entry: CachedSet) -> str:
    return f"{entry['images']:,} {entry['name']} images ({entry['mib']:,.1f} MiB)"


def _decode(request: Request) -> tf.Tensor:
    """Decodes all images into one tensor, with at most one additional batch in memory."""
    count, side = request.count, request.side
    # Shared with TensorFlow instead of copied, so aligned like its own memory.
    memory = np.empty(count * side * side * 3 + _ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % _ALIGNMENT
    array = memory[begin : begin + count * side * side * 3].reshape(count, side, side, 3)
    options = tf.data.Options()
    options.autotune.enabled = False
    start = 0
    try:
        for batch in request.images().batch(_AT_ONCE).with_options(options):
            array[start : start + len(batch)] = batch.numpy()
            start += len(batch)
    except tf.errors.InvalidArgumentError as error:
        raise preprocess.undecodable(error) from error
    if start != count:
        raise RuntimeError(f"{start} of {count} images were decoded.")
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
