"""Exponential moving averages of a model's weights, kept in a second instance of the model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_Pair = tuple[tf.Variable, tf.Variable]  # average, weight


def decay_at(step: int | np.ndarray | tf.Tensor, decay: float) -> float | np.ndarray | tf.Tensor:
    """Returns `min(decay, (1 + step) / (10 + step))`, TensorFlow 1's warm-up of averages.

    Args:
        step: number of weight updates, including the current one; the first gives 2/11.
        decay: maximum decay, 0..1; 0.9999 in the paper's code.

    Returns:
        A float32 tensor for a tensor, float64 for a number or array.
    """
    if tf.is_tensor(step):
        step = tf.cast(step, tf.float32)
        return tf.minimum(decay, (1.0 + step) / (10.0 + step))
    return np.minimum(decay, (1.0 + step) / (10.0 + step))


class WeightAverage:
    """Keeps in `average_model` the exponential moving averages of the weights of `model`.

    Trainable variables and batch norm's moving statistics are averaged (published code); other
    variables are copied. Under a strategy, each replica averages its own copies without
    communication. Statistics that differ between replicas stay different.
    """

    def __init__(self, model: keras.Model, average_model: keras.Model, decay: float):
        """Pairs the variables by order; call `reset` before the first update.

        Under a strategy, create it in the scope in which the models were built.

        Args:
            model: model in training, built.
            average_model: second instance of the same architecture, built in the same scope.
            decay: maximum decay, 0..1.

        Raises:
            ValueError: the models' variables differ in number, name, shape or dtype, or the decay
                is out of range.
        """
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"decay = {decay}; it must be in 0..1")
        _check_alike(model.weights, average_model.weights)
        self.decay = decay
        self._strategy = tf.distribute.get_strategy()
        self._averaged: list[_Pair] = []
        self._copied: list[_Pair] = []
        for weight, average in zip(model.weights, average_model.weights, strict=True):
            pairs = self._averaged if _is_averaged(weight) else self._copied
            pairs.append((average.value, weight.value))

    def reset(self) -> None:
        """Copies all variables, so that the averages start at the current weights."""
        self._merge(self._copy, self._averaged + self._copied)

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages by `(1 - decay_at(step)) * (weight - average)`.

        Call it after updating the weights, eagerly or in a tf.function: in the function that
        `strategy.run` runs (replica context) or after it (cross-replica context).

        Args:
            step: int scalar, number of weight updates from 1, including the current one.
        """
        rate = 1.0 - decay_at(tf.convert_to_tensor(step), self.decay)
        self._merge(self._move, rate)

    def _merge(
        self, function: Callable[[tf.distribute.Strategy, Any], None], argument: Any
    ) -> None:
        """Calls `function(strategy, argument)` once for all replicas."""
        context = tf.distribute.get_replica_context()
        if context is not None and context.strategy is self._strategy:
            context.merge_call(function, args=(argument,))
        else:
            function(self._strategy, argument)

    def _move(self, strategy: tf.distribute.Strategy, rate: tf.Tensor) -> None:
        for average, weight in self._averaged:
            strategy.extended.update(average, _move, args=(weight, rate), group=False)
        self._copy(strategy, self._copied)

    def _copy(self, strategy: tf.distribute.Strategy, pairs: list[_Pair]) -> None:
        for average, weight in pairs:
            strategy.extended.update(average, _assign, args=(weight,), group=False)


def _move(average: tf.Variable, weight: tf.Tensor, rate: tf.Tensor) -> None:
    average.assign_sub(tf.cast(rate, average.dtype) * (average - weight))


def _assign(target: tf.Variable, value: tf.Tensor) -> None:
    target.assign(value)


def _check_alike(variables: list[keras.Variable], averages: list[keras.Variable]) -> None:
    """Compares number, order, names, shapes and dtypes of the variables."""
    if len(variables) != len(averages):
        raise ValueError(
            f"the models have {len(variables)} and {len(averages)} variables; "
            "both must be the same architecture"
        )
    for variable, average in zip(variables, averages, strict=True):
        if _signature(variable) != _signature(average):
            raise ValueError(
                f"variable {variable.path} {_signature(variable)} is paired with "
                f"{average.path} {_signature(average)}; both models must be the same architecture"
            )


def _signature(variable: keras.Variable) -> tuple[str, tuple[int, ...], str]:
    return variable.name, tuple(variable.shape), variable.dtype


def _is_averaged(variable: keras.Variable) -> bool:
    return variable.trainable or variable.name in ("moving_mean", "moving_variance")
