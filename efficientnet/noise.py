"""Model noise: stochastic depth and dropout, reproducible on any number of replicas.

Inside a `noise_scope`, the masks are a pure function of the seed, the layer name and the example's
position in the global batch. Stateless Philox numbers are assigned to the rows of the global batch,
and each replica uses those of its rows. The noise stays the same when a run is resumed or moved to
another number of devices. Inside a `row_noise_scope`, the caller provides the numbers of each row,
which may depend on the image instead of its position. Outside of both (plain `model.fit`), masks
come from TensorFlow's global generator; under op determinism it needs `tf.random.set_seed`.
"""

import contextlib
import dataclasses
import math
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

PACKAGE = "efficientnet"
Shape = tuple[Any, ...]  # None where a size is unknown


@dataclasses.dataclass(frozen=True)
class _Scope:
    key: tf.Tensor
    positions: tf.Tensor | None
    global_batch: int | tf.Tensor | None
    runs: tuple[int, ...] | None
    noised_rows: Mapping[str, int]

    def bits(self, layer: int, batch: tf.Tensor, features: tuple[int, ...]) -> tf.Tensor:
        """Returns int32 [batch, *features] for a layer, identified by an integer below 2**32."""
        seed = tf.stack([self.key, tf.constant(layer - 2**31, tf.int32)])
        if self.runs is None or self.positions is None:
            rows = batch if self.global_batch is None else self.global_batch
            bits = _stateless_bits([rows, *features], seed)
            return bits if self.positions is None else tf.gather(bits, self.positions)
        parts, row, width = [], 0, math.prod(features)
        for length in self.runs:
            start = tf.cast(self.positions[row], tf.int64) * width
            parts.append(_stateless_bits_from(start, length * width, width, seed))
            row += length
        return tf.reshape(tf.concat(parts, axis=0), [row, *features])


@dataclasses.dataclass(frozen=True)
class _RowScope:
    draw: Callable[[int, int], tf.Tensor]

    def bits(self, layer: int, batch: tf.Tensor, features: tuple[int, ...]) -> tf.Tensor:
        """Returns the same as `_Scope.bits`."""
        return tf.reshape(self.draw(layer, math.prod(features)), [batch, *features])


_active = threading.local()  # tf.distribute traces every replica in its own thread


@contextlib.contextmanager
def noise_scope(
    seed: tf.Tensor,
    positions: tf.Tensor | None = None,
    global_batch: int | tf.Tensor | None = None,
    runs: Sequence[int] | None = None,
    noised_rows: Mapping[str, int] | None = None,
) -> Iterator[None]:
    """Derives the noise of all models called inside from `seed`.

    The scope belongs to the thread that enters it. Enter it inside the traced step; under
    tf.distribute, in the replica's function.

    Args:
        seed: int32 [2], such as (seed of the run, step).
        positions: int32 [B], rows of this replica's examples in the global batch.
        global_batch: number of examples in the global batch over all replicas. Give both
            `positions` and `global_batch`, or neither for rows 0..B-1 of a global batch of B.
        runs: lengths of the runs of consecutive values in `positions`. Only the numbers of these
            rows are then drawn, with the same result; None draws those of the whole batch.
        noised_rows: for "dropout" or "stochastic_depth", the number of this replica's examples,
            counted from the first, that get this noise; by default all. Their noise is the same as
            without this argument.

    Raises:
        ValueError: only one of `positions` and `global_batch` is given, or the lengths of `runs`
            do not add up to the length of `positions`.
    """
    if (positions is None) != (global_batch is None):
        raise ValueError("noise_scope needs both positions and global_batch, or neither.")
    if runs is not None and (positions is None or sum(runs) != positions.shape[0]):
        count = None if positions is None else positions.shape[0]
        raise ValueError(f"noise_scope needs runs of {count} positions in all, got {list(runs)}.")
    runs = None if runs is None else tuple(runs)
    key = _stateless_bits([], seed)
    with _entered(_Scope(key, positions, global_batch, runs, noised_rows or {})):
        yield


@contextlib.contextmanager
def row_noise_scope(draw: Callable[[int, int], tf.Tensor]) -> Iterator[None]:
    """Takes the noise of all models called inside from `draw`, row by row.

    Enter it like `noise_scope`.

    Args:
        draw: takes an integer from 0 to 2**32 - 1 that identifies a layer, and the count of random
            numbers per row. Returns int32 [B, count], uniform over all 2**32 values.
    """
    with _entered(_RowScope(draw)):
        yield


@contextlib.contextmanager
def _entered(scope: _Scope | _RowScope) -> Iterator[None]:
    previous = getattr(_active, "scope", None)
    _active.scope = scope
    try:
        yield
    finally:
        _active.scope = previous


def _random_bits(name: str, batch: tf.Tensor, features: tuple[int, ...]) -> tf.Tensor:
    """Returns int32 [batch, *features], uniform over all 2**32 values, for the layer called `name`.

    Draws integers because stateless floats differ with and without XLA.
    """
    scope = getattr(_active, "scope", None)
    if scope is None:
        return tf.random.uniform([batch, *features], tf.int32.min, tf.int32.max, tf.int32)
    return scope.bits(zlib.crc32(name.encode()), batch, features)


def _stateless_bits(shape: list, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )


def _stateless_bits_from(start: tf.Tensor, count: int, width: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns int32 [count], equal to `_stateless_bits([...], seed)[start : start + count]`.

    Philox generates blocks of four numbers, block k from the counter plus k (Salmon et al., 2011).

    Args:
        start: int64 scalar, a multiple of `width`.
        count: number of values.
        width: values per row.
        seed: int32 [2].
    """
    # StatelessRandomGetKeyCounter cannot be used: for negative seeds, its state under XLA differs
    # from that on the CPU (TensorFlow 2.21).
    scramble = tf.constant([0x02461E293EC8F720], tf.uint64)  # constant of tf.random
    mixed = _philox(4, scramble, tf.cast(seed, tf.uint64), tf.uint32)
    key, upper = tf.split(tf.bitcast(tf.reshape(mixed, [2, 2]), tf.uint64), 2)
    counter = tf.concat([tf.cast([start // 4], tf.uint64), upper], axis=0)
    before = 0 if width % 4 == 0 else 3  # values of other rows in the first block
    bits = _philox(count + before, key, counter, tf.int32)
    return tf.slice(bits, [start % 4], [count]) if before else bits


def _philox(count: int, key: tf.Tensor, counter: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[count], key=key, counter=counter, alg=tf.random.Algorithm.PHILOX.value, dtype=dtype
    )


class _Noise(keras.layers.Layer):
    """Zeroes random parts of its input and scales the rest by 1 / (1 - rate).

    Active only with `training=True`. A frozen layer (`trainable=False`) is in inference mode, like
    frozen batch normalization. `kind` is its name for `noise_scope`.

    Args:
        rate: probability of dropping, 0 <= rate < 1.

    Raises:
        ValueError: `rate` is out of range.
    """

    kind: str

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"{type(self).__name__} needs 0 <= rate < 1, got {rate!r}.")
        self.rate = rate
        self.built = True

    def mask_features(self, inputs: tf.Tensor) -> tuple[int, ...]:
        """Returns the shape of the mask without the batch dimension."""
        raise NotImplementedError

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Applies the noise to `inputs` [B, ...]; keeps shape and dtype."""
        if not (training and self.trainable) or self.rate == 0:
            return inputs
        bits = _random_bits(self.name, tf.shape(inputs)[0], self.mask_features(inputs))
        kept = tf.cast(bits >= int(self.rate * 2**32) - 2**31, inputs.dtype)
        factor = kept / (1 - self.rate)
        rows = getattr(getattr(_active, "scope", None), "noised_rows", {}).get(self.kind)
        if rows is not None:
            factor = tf.concat([factor[:rows], tf.ones_like(factor[rows:])], axis=0)
        return inputs * factor

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(PACKAGE)
class StochasticDepth(_Noise):
    """Drops the whole residual branch of an example (Huang et al., 2016)."""

    kind = "stochastic_depth"

    def mask_features(self, inputs: tf.Tensor) -> tuple[int, ...]:
        return (1,) * (len(inputs.shape) - 1)


@keras.saving.register_keras_serializable(PACKAGE)
class Dropout(_Noise):
    """Drops single activations (Srivastava et al., 2014)."""

    kind = "dropout"

    def mask_features(self, inputs: tf.Tensor) -> tuple[int, ...]:
        return tuple(inputs.shape[1:])
