"""Stateless random numbers with one seed per image.

``tf.random.stateless_uniform`` takes one seed per call, but a batch needs one per image: an image's
noise depends only on its own seed, not on its position in the batch, its neighbors or the number of
threads. This module implements the same generator, Philox 4x32-10, vectorized over seeds.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), the
algorithm behind ``alg="philox"`` of ``tf.random``; tests check that both are bit-identical.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

_WORD = 0xFFFFFFFF
_ROUNDS = 10
# The multipliers and key increments of Philox 4x32 (Salmon et al., section 4.3).
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
# The last counter word distinguishes the two kinds of numbers of a seed.
_UNIFORM, _FOLD = 0, 1


@tf.function(autograph=False)  # traced only once
def _philox(key: tuple[tf.Tensor, ...], counter: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """Computes Philox 4x32-10: two key words and four counter words to four random words.

    All words are uint64 tensors below 2**32 whose shapes broadcast.
    """
    words = list(counter)
    for round_index in range(_ROUNDS):
        # Every product is below 2**64: its high and low words are one 32 x 32 bit multiplication.
        first, second = words[0] * _MULTIPLIERS[0], words[2] * _MULTIPLIERS[1]
        keys = [
            _low(word + (round_index * increment & _WORD))
            for word, increment in zip(key, _INCREMENTS, strict=True)
        ]
        words = [
            _high(second) ^ words[1] ^ keys[0],
            _low(second),
            _high(first) ^ words[3] ^ keys[1],
            _low(first),
        ]
    return tuple(words)


def _low(values: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(values, tf.constant(_WORD, tf.uint64))


def _high(values: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.right_shift(values, tf.constant(32, tf.uint64))


def _words(values: tf.Tensor) -> tf.Tensor:
    """Returns the low 32 bits of int32 or int64 values as uint64."""
    return _low(tf.cast(values, tf.uint64))


def uniform(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """Draws uniform random numbers for every seed.

    Args:
      seeds: int32 [..., 2].
      count: numbers per seed.

    Returns:
      float32 [..., count] in [0, 1), multiples of 2**-23. Row i depends on ``seeds[i]`` alone, and
      equals what ``tf.raw_ops.StatelessRandomUniformV2`` (Philox) gives for that seed as its key
      and the counter 0.
    """
    mantissa = tf.bitwise.bitwise_and(_numbers(seeds, count), tf.constant(0x7FFFFF, tf.uint64))
    return tf.cast(mantissa, tf.float32) * 2.0**-23


def _numbers(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """Draws the first words of every seed, int32 [..., 2]: uint64 [..., count] below 2**32."""
    seeds = tf.convert_to_tensor(seeds, tf.int32)
    first, second = tf.unstack(_words(seeds)[..., tf.newaxis], axis=-2)
    zero = tf.zeros([], tf.uint64)
    block = tf.constant(np.arange(-(-count // 4)), tf.uint64)  # a counter gives four words
    words = tf.stack(_philox((first, second), (block, zero, zero, zero + _UNIFORM)), axis=-1)
    words = tf.reshape(words, tf.concat([tf.shape(seeds)[:-1], [4 * block.shape[0]]], 0))
    return words[..., :count]


def bits(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """Draws random bits for every seed.

    Args:
      seeds: int32 [N, 2].
      count: numbers per seed.

    Returns:
      int32 [N, count], uniform over all 2**32 values; row i depends on ``seeds[i]`` alone. They are
      the bits behind the numbers of ``uniform``.
    """
    return tf.bitcast(tf.cast(_numbers(seeds, count), tf.uint32), tf.int32)


def uniform_int(uniforms: tf.Tensor, limit: tf.Tensor | int) -> tf.Tensor:
    """Turns numbers uniform in [0, 1) into int32, uniform in [0, limit), limit below 2**16."""
    # The largest number, 1 - 2**-23, times the limit is below the limit even after rounding.
    return tf.cast(uniforms * tf.cast(limit, tf.float32), tf.int32)


def fold(seeds: tf.Tensor, n: int | tf.Tensor) -> tf.Tensor:
    """Derives seeds for another purpose.

    Args:
      seeds: int32 [..., 2].
      n: at least 0 and below 2**32, naming the purpose; a tensor is a uint64 scalar.

    Returns:
      int32 [..., 2], independent of the seeds given and of those of another n.
    """
    first, second = tf.unstack(_words(tf.convert_to_tensor(seeds, tf.int32)), axis=-1)
    zero = tf.zeros_like(first)
    return _as_seeds(_philox((first, second), (zero + n, zero, zero, zero + _FOLD)))


def example_seeds(
    seed: int, pass_index: tf.Tensor, id_hash: tf.Tensor, copy: tf.Tensor
) -> tf.Tensor:
    """Derives the seed of each example of a batch, for one pass over the data.

    Args:
      seed: seed of the run.
      pass_index: int64 [B], number of the pass over the data.
      id_hash: int64 [B], the bit pattern of the example's ``hash_ids``.
      copy: int32 [B], number of the duplicate of the example.

    Returns:
      int32 [B, 2]: a function of the four values alone.
    """
    seed = tf.cast(seed, tf.int64)
    key = (_words(seed), _high(tf.cast(seed, tf.uint64)))
    bits = tf.cast(id_hash, tf.uint64)
    return _as_seeds(_philox(key, (_low(bits), _high(bits), _words(copy), _words(pass_index))))


def _as_seeds(words: tuple[tf.Tensor, ...]) -> tf.Tensor:
    # Cast by way of uint32, because a value out of range of int32 has no defined cast.
    pair = tf.cast(tf.stack(words[:2], axis=-1), tf.uint32)
    return tf.bitcast(pair, tf.int32)


def hash_ids(ids: Iterable[str]) -> np.ndarray:
    """Computes stable 64-bit hashes of example ids.

    Args:
      ids: N strings.

    Returns:
      np.uint64 [N]: BLAKE2b of 8 bytes of the UTF-8 id, little-endian. View it as int64 for
      TensorFlow.
    """
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)
