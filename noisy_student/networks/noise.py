"""Noise of Keras' own layers, such as dropout, as a function of seed, step and replica.

Keras draws it from seed generators, whose states count the calls and are no part of a checkpoint.
Inside a `seed_scope` the generators of a model prepared by `make_reproducible` take their seeds
from the scope instead: a resumed training continues with the same masks. Each replica draws
its own, so another number of replicas gives other masks. Layers that draw from TensorFlow's global
generator are out of reach.
"""

import collections
import contextlib
import functools
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from noisy_student.networks import contract

_active = threading.local()  # tf.distribute traces every replica in its own thread


class _Scope:
    def __init__(self, seed: tf.Tensor, *parts: tf.Tensor | int):
        self._seed, self._parts = seed, parts
        self._calls: collections.Counter = collections.Counter()

    def seed(self, number: int) -> tf.Tensor:
        """Returns int32 [2] for the next call of a generator."""
        self._calls[number] += 1
        seed = self._seed
        for part in (*self._parts, number, self._calls[number]):
            seed = tf.random.experimental.stateless_fold_in(seed, part)
        return seed


@contextlib.contextmanager
def seed_scope(
    seed: tf.Tensor, replica: tf.Tensor | int, micro_batch: tf.Tensor | int
) -> Iterator[None]:
    """Derives the seeds of all generators of models called inside.

    Enter it inside the traced step; under tf.distribute, in the replica's function.

    Args:
        seed: int32 [2], such as (seed of the run, step).
        replica: number of the replica, from 0.
        micro_batch: number of the micro-batch, from 0.
    """
    previous = getattr(_active, "scope", None)
    _active.scope = _Scope(seed, replica, micro_batch)
    try:
        yield
    finally:
        _active.scope = previous


def make_reproducible(model: keras.Model) -> None:
    """Makes the seed generators of a model's layers take their seeds from a `seed_scope`."""
    found: dict[int, keras.random.SeedGenerator] = {}
    for layer in contract.layers_of(model):
        generators = (v for v in vars(layer).values() if isinstance(v, keras.random.SeedGenerator))
        found.update({id(generator): generator for generator in generators})
    for number, generator in enumerate(found.values()):
        generator.next = functools.partial(_next, generator, number)


def _next(generator: keras.random.SeedGenerator, number: int, ordered: bool = True) -> tf.Tensor:
    scope = getattr(_active, "scope", None)
    if scope is None:
        return keras.random.SeedGenerator.next(generator, ordered)
    return tf.cast(scope.seed(number), generator.state.dtype)
