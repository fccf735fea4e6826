"""Trainings of networks of others: same bytes twice, after a kill, and on several devices."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student import train
from noisy_student.artifacts import model_file
from noisy_student.runtime.devices import Devices
from noisy_student.train import build, step
from noisy_student.train.metrics_log import MetricsLog
from tests.helpers import small_learner, training_on_devices
from tests.helpers.marks import slow_param
from tests.helpers.small_learner import STUDENT

ROOT = Path(__file__).resolve().parents[3]
CNN = "tests.helpers.foreign_models:self_scaling_cnn"
MODEL = dataclasses.replace(STUDENT.model, name=CNN, image_size=32)
TEACHER = dataclasses.replace(
    STUDENT, role="teacher", round=0, ratio=0.0, steps=6, batch_size=8, model=MODEL
)
LOG = dataclasses.replace(training_on_devices.LOG, validate_every=3, checkpoint_every=2)


@pytest.fixture(scope="module")
def splits():
    return training_on_devices.make_splits()


def named(name, **changed):
    return dataclasses.replace(TEACHER, model=dataclasses.replace(MODEL, name=name, **changed))


@pytest.mark.parametrize("name", [CNN, slow_param("keras:MobileNetV3Small")])
def test_a_killed_training_ends_with_the_bytes_of_another(
    name, splits, devices, tmp_path, monkeypatch
):
    settings = named(name, width=0.25)
    train.run(settings, splits, tmp_path / "whole", devices, LOG)
    add, calls = MetricsLog.add, iter(range(4))

    def killed(log, metrics):
        if next(calls, None) is None:
            raise KeyError("killed")
        add(log, metrics)

    with monkeypatch.context() as patch, pytest.raises(KeyError, match="killed"):
        patch.setattr(MetricsLog, "add", killed)
        train.run(settings, splits, tmp_path / "resumed", devices, LOG)
    assert (tmp_path / "resumed" / "checkpoints").exists()
    train.run(settings, splits, tmp_path / "resumed", devices, LOG)
    whole, resumed = (tmp_path / folder / "model.keras" for folder in ("whole", "resumed"))
    assert whole.read_bytes() == resumed.read_bytes()
    assert model_file.is_foreign(model_file.read_card(whole))


def test_dropout_is_on_in_training_and_weights_decay(devices):
    """One step under dropout differs from one of another seed, which only dropout can tell."""
    learned = []
    for seed in (3, 4):
        learner = small_learner.learner(devices, model=dataclasses.replace(MODEL, image_size=16))
        learner.seed.assign(seed)
        step.compile_steps(learner)(small_learner.batches(1), 1)
        learned.append(learner.model.get_weights())
    assert any(not np.array_equal(a, b) for a, b in zip(*learned, strict=True))
    names = [variable.name for variable in learner.decayed_variables]
    assert sorted(names) == ["bias", "bias", "bias", "kernel", "kernel", "kernel"]


def test_accumulated_gradients_are_summed(devices):
    """Without dropout and with frozen batch norm, parts of a batch sum to the whole."""
    results = []
    for parts in (1, 2):
        small = dataclasses.replace(MODEL, image_size=16)
        learner = small_learner.learner(devices, model=small, accumulate_steps=parts)
        for layer in learner.model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization | keras.layers.Dropout):
                layer.trainable = False
                layer.rate = 0.0
        learner.optimizer.build(learner.model.trainable_variables)
        step.compile_steps(learner)(small_learner.batches(1, parts), 1)
        results.append(learner.model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_mixed_precision_returns_float32_logits(devices):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        learner = small_learner.learner(devices, model=dataclasses.replace(MODEL, image_size=16))
    finally:
        keras.config.set_dtype_policy("float32")
    metrics = step.compile_steps(learner)(small_learner.batches(2), 2)
    assert np.all(np.isfinite(metrics)) and learner.model.output.dtype == "float32"
    kinds = {layer.compute_dtype for layer in learner.model._flatten_layers()}
    assert "bfloat16" in kinds


@pytest.mark.slow
def test_fine_tuning_at_a_larger_size_starts_from_the_weights(splits, devices, tmp_path):
    train.run(TEACHER, splits, tmp_path / "teacher", devices, LOG)
    tuned = dataclasses.replace(
        named(CNN, image_size=40), role="fixres", fixres_epochs=0.4, noise=TEACHER.noise
    )
    inputs = train.Inputs(init_model=tmp_path / "teacher" / "model.keras")
    train.run(tuned, splits, tmp_path / "tuned", devices, LOG, inputs)
    model, card = model_file.load_model(tmp_path / "tuned" / "model.keras")
    assert card["preprocess"].image_size == 40 and model.input_shape == (None, 40, 40, 3)
    before = model_file.load_model(inputs.init_model)[0].get_weights()
    moved = [np.abs(a - b).max() for a, b in zip(before, model.get_weights(), strict=True)]
    assert 0 < max(moved) < 0.2  # one step


def test_an_online_teacher_of_others_labels(devices, tmp_path):
    """The targets are the probabilities of the teacher, from which the loss follows."""
    keras.utils.set_random_seed(0)
    spec = small_learner.SPEC
    model = build.derived.build(dataclasses.replace(MODEL, image_size=16), 3)
    model_file.save_model(model, tmp_path / "teacher.keras", ("a", "b", "c"), spec)
    learner = small_learner.learner(
        devices, tmp_path / "teacher.keras", teacher_mode="online", ratio=2.0
    )
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    targets = step._pseudo_labels(learner, {"unlabeled_clean_images": tf.constant(images)})
    expected = tf.nn.softmax(model(images))
    np.testing.assert_allclose(targets, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frozen_blocks": 1}, "--frozen_blocks"),
        (
            {"unlabeled_noise": dataclasses.replace(STUDENT.unlabeled_noise, dropout=False)},
            "--nounlabeled_dropout",
        ),
        ({"model": dataclasses.replace(MODEL, name="keras:None")}, "unknown network keras:None"),
        ({"model": dataclasses.replace(MODEL, image_size=None, small_image=False)}, "--image_size"),
    ],
)
def test_what_is_for_efficientnets_is_refused(changed, message):
    settings = dataclasses.replace(TEACHER, **changed)
    with pytest.raises(ValueError, match=message):
        build.outline(settings, Devices(tf.distribute.get_strategy(), False), 3, 24)


@pytest.mark.slow
def test_two_replicas_train_and_the_mean_of_their_statistics_is_saved(tmp_path):
    """Keras' batch norm keeps moving statistics for each replica."""
    changes = {"role": "teacher", "round": 0, "ratio": 0.0}
    changes |= {"steps": 3, "kind": "none", "cutout": False, "validate_every": 3, "warmup_steps": 0}
    code = (
        "import dataclasses, sys; from tests.helpers import training_on_devices as helper\n"
        f"model = dataclasses.replace(helper.MODEL, name={CNN!r}, image_size=32)\n"
        "helper.STUDENT = dataclasses.replace(helper.STUDENT, model=model)\n"
        "helper.main(*sys.argv[1:])"
    )
    arguments = [
        sys.executable,
        "-c",
        code,
        "mirrored",
        "2",
        str(tmp_path),
        "",
        json.dumps(changes),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    model = model_file.load_model(tmp_path / "model.keras")[0]
    statistics = [w for w in model.weights if w.name in ("moving_mean", "moving_variance")]
    assert len(statistics) == 2 and np.all(np.isfinite(statistics[0]))
    assert np.any(np.asarray(statistics[0]) != 0) and np.any(np.asarray(statistics[1]) != 1)
