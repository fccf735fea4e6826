"""Keras callbacks that observe a training without changing its result.

An epoch is the interval between two validations, regardless of the passes over the images.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import keras
import tensorflow as tf
from absl import logging

from noisy_student.artifacts.json_files import LogRow
from noisy_student.train import step
from noisy_student.train.learner import Learner

# These steer a training by what they see; what they ask for would be ignored.
_STEERING = (
    *("BackupAndRestore", "EarlyStopping", "LearningRateScheduler"),
    *("ReduceLROnPlateau", "SwapEMAWeights"),
)


def check(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Refuses objects that are not Keras callbacks, and Keras callbacks that change a training.

    Raises:
        ValueError: names the class of the first such object.
    """
    steering = tuple(getattr(keras.callbacks, name) for name in _STEERING)
    for callback in callbacks:
        name = type(callback).__name__
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(f"callbacks: {name} is not a keras.callbacks.Callback.")
        if isinstance(callback, steering):
            raise ValueError(
                f"callbacks: {name} changes a training, and callbacks only observe it here. Use "
                "options: schedule, learning_rate, student_steps, stop_when_worse."
            )


class Callbacks:
    """Context manager that calls the callbacks of one training from its first to its last step.

    `model` of a callback is the averaged network, the one that is validated and saved, with the
    optimizer of the training. `params` has "training" (such as "student 1"), "epochs" and "steps".
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        learner: Learner,
        history: Sequence[LogRow],
        last_step: int,
        validate_every: int,
    ):
        """Prepares the callbacks.

        Args:
            callbacks: the callbacks, in the order in which they are called.
            learner: the training.
            history: rows logged before, if it continues.
            last_step: number of steps at its end.
            validate_every: steps between validations.
        """
        check(callbacks)
        self._names = step.metric_names(learner)
        self._done, self._last_step = learner.finished_steps, last_step
        self._epoch = self._done // validate_every
        self._logs = _logs(history[-1]) if history else {}
        self._sees_batches = any(map(_sees_batches, callbacks))
        self._list = keras.callbacks.CallbackList(
            list(callbacks),
            model=_observed(learner) if callbacks else None,
            training=learner.name,
            epochs=-(-last_step // validate_every),
            steps=last_step,
            verbose=0,
        )

    def __enter__(self) -> Self:
        if self._list.callbacks:
            self._list.on_train_begin()
            self._list.on_epoch_begin(self._epoch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._list.callbacks and kind is None and self._done == self._last_step:
            self._list.on_train_end(self._logs)

    def after_steps(self, done: int, metrics: tf.Tensor) -> None:
        """Ends a batch, after one call of the devices: `done` steps are finished.

        `metrics` are those of the steps of the call, float32 [steps, metrics].
        """
        if self._sees_batches:
            self._list.on_train_batch_begin(self._done)
            means = dict(zip(self._names, metrics.numpy().mean(axis=0).tolist(), strict=True))
            self._list.on_train_batch_end(done - 1, _logs(means))
        self._done = done

    def after_validation(self, row: LogRow) -> None:
        """Ends an epoch with a row of ``metrics.jsonl``."""
        if not self._list.callbacks:
            return
        self._logs = _logs(row)
        self._list.on_epoch_end(self._epoch, dict(self._logs))
        self._epoch += 1
        if self._list.model.stop_training:
            self._list.model.stop_training = False
            logging.warning("a callback set stop_training, which is not supported here: ignored")
        if self._done < self._last_step:
            self._list.on_epoch_begin(self._epoch)


def _sees_batches(callback: keras.callbacks.Callback) -> bool:
    """Returns True for a callback that overrides a method for the end of a batch."""
    hooks = ("on_train_batch_end", "on_batch_end")
    default = keras.callbacks.Callback
    methods = ((getattr(callback, hook), getattr(default, hook)) for hook in hooks)
    return any(getattr(own, "__func__", None) is not inherited for own, inherited in methods)


def _observed(learner: Learner) -> keras.Model:
    """Returns a separate model of the averaged network, compiled as callbacks expect."""
    network = learner.average_model
    with learner.devices.strategy.scope():
        model = keras.Model(network.input, network.output, name=network.name)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(learner.optimizer, loss, metrics=["accuracy"])
    model.stop_training = False  # as `fit` sets it
    return model


def _logs(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns logs as in Keras: loss, accuracy (0..1), val_accuracy, learning_rate."""
    logs = {"loss": row["loss"], "accuracy": row["labeled_accuracy"]}
    if "validation_top1" in row:
        logs["val_accuracy"] = row["validation_top1"] / 100
    if "learning_rate" in row:
        logs["learning_rate"] = row["learning_rate"]
    return logs
