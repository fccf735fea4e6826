"""Keras callbacks of a training: when they are called, with what, and what they cannot do."""

import csv
import json

import keras
import numpy as np
import pytest

from data import sources
from noisy_student import config, train
from noisy_student.runtime.devices import make_devices
from noisy_student.train.callbacks import check
from tests.helpers import toy_batches

SETTINGS = config.Config(
    model_fn="tests.helpers.foreign_models:self_scaling_cnn",
    image_size=32,
    small_image=True,
    augment="none",
    teacher_steps=7,
    teacher_batch_size=8,
    log_every=2,
    validate_every=4,
    checkpoint_every=3,
    steps_per_execution=2,
    ema_decay=0.5,
)


class Recorder(keras.callbacks.Callback):
    """Notes every call."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append(("begin", self.params["training"], self.params["steps"]))

    def on_train_end(self, logs=None):
        self.calls.append(("end", logs))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("batch", batch, logs))

    def on_epoch_end(self, epoch, logs=None):
        network = keras.ops.convert_to_numpy(self.model(np.zeros([1, 32, 32, 3])))
        logs = logs | {"optimizer": float(self.model.optimizer.learning_rate)}
        self.calls.append(("epoch", epoch, logs, network))
        self.model.stop_training = True


def run(directory, *callbacks):
    images = toy_batches.textured(24, side=32)
    splits = sources.Splits(images, images, images, images, class_names=images.class_names, info={})
    return train.run(
        SETTINGS.teacher, splits, directory, make_devices(), SETTINGS.log, None, callbacks
    )


def calls_of(calls, name):
    return [call for call in calls if call[0] == name]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A watched training: directory, recorder, log of Keras' own logger, and what is warned of."""
    directory = tmp_path_factory.mktemp("watched")
    recorder, log = Recorder(), directory / "log.csv"
    run(directory / "run", recorder, keras.callbacks.CSVLogger(log, append=True))
    return directory / "run", recorder.calls, list(csv.DictReader(log.read_text().splitlines()))


def test_the_calls_are_those_of_keras(watched):
    directory, calls, _ = watched
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert calls[0] == ("begin", "teacher", 7)
    # Two steps to a call, but none goes beyond a log line, a validation or a checkpoint.
    assert [batch for name, batch, *_ in calls if name == "batch"] == [1, 2, 3, 5, 6]
    epochs = [call[1:] for call in calls_of(calls, "epoch")]
    assert [epoch for epoch, *_ in epochs] == [0, 1]
    validated = [row for row in rows if "validation_top1" in row]
    for (_, logs, _), row in zip(epochs, validated, strict=True):
        assert logs["loss"] == row["loss"] and logs["accuracy"] == row["labeled_accuracy"]
        assert logs["val_accuracy"] == pytest.approx(row["validation_top1"] / 100)
        assert logs["learning_rate"] == row["learning_rate"]
    assert calls[-1][0] == "end" and calls[-1][1]["loss"] == rows[-1]["loss"]
    losses = {batch + 1: logs["loss"] for name, batch, logs in calls_of(calls, "batch")}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in rows})


def test_the_model_is_the_one_that_is_saved(watched):
    directory, calls, _ = watched
    model = keras.models.load_model(directory / "model.keras")
    last = calls_of(calls, "epoch")[-1]
    np.testing.assert_allclose(last[3], model(np.zeros([1, 32, 32, 3])), rtol=1e-4, atol=1e-5)


def test_loggers_of_keras_work(watched):
    _, calls, rows = watched
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    losses = [call[2]["loss"] for call in calls_of(calls, "epoch")]
    assert [float(row["loss"]) for row in rows] == pytest.approx(losses)


@pytest.mark.slow
def test_callbacks_change_no_byte(watched, tmp_path):
    """Neither of a whole training nor of one that an error in a callback interrupts."""

    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise RuntimeError("as a kill would")

    with pytest.raises(RuntimeError, match="as a kill would"):
        run(tmp_path, Fails())
    recorder = Recorder()
    run(tmp_path, recorder)
    assert [batch for name, batch, *_ in recorder.calls if name == "batch"] == [3, 5, 6]
    assert [epoch for name, epoch, *_ in recorder.calls if name == "epoch"] == [0, 1]
    for name in ("model.keras", "best.keras"):
        assert (tmp_path / name).read_bytes() == (watched[0] / name).read_bytes()
    calls = len(recorder.calls)
    run(tmp_path, recorder)
    assert len(recorder.calls) == calls, "a finished training calls none"


@pytest.mark.parametrize(
    ("callback", "problem"),
    [
        (keras.callbacks.EarlyStopping(), "EarlyStopping changes a training"),
        (keras.callbacks.LearningRateScheduler(float), "LearningRateScheduler changes"),
        (print, "builtin_function_or_method is not a keras.callbacks.Callback"),
    ],
)
def test_callbacks_that_change_a_training_are_refused(callback, problem):
    with pytest.raises(ValueError, match=problem):
        check([callback])
