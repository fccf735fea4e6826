"""A teacher within the step: its labels, and whole networks compiled with it."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from noisy_student.artifacts import model_file
from noisy_student.runtime.devices import make_devices
from noisy_student.train import build
from noisy_student.train.learner import Learner
from tests.helpers.marks import slow_param
from tests.helpers.small_learner import (
    CLASSES,
    SPEC,
    STUDENT,
    Training,
    batches,
    gradients_of,
    learner,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A teacher of another width, and the file it is saved in."""
    keras.utils.set_random_seed(7)
    model = efficientnet.build_model(
        "efficientnet-b0", CLASSES, width=0.2, depth=0.1, small_image=True
    )
    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    model_file.save_model(model, path, ("a", "b", "c"), SPEC)
    return model, path


def with_clean_copies(stream):
    """Batches whose clean images are others than the noised ones."""
    for batch in stream:
        clean = 255 - batch["unlabeled_images"]
        yield batch | {"unlabeled_clean_images": clean}


@pytest.mark.parametrize("jit_compile", [False, slow_param(True)], ids=["plain", "compiled"])
def test_a_teacher_within_the_step_gives_the_labels_of_the_clean_images(
    devices, teacher, jit_compile
):
    model, path = teacher
    stored, online = learner(devices), learner(devices, teacher=path)
    (batch,) = with_clean_copies(batches(1))
    labels = tf.nn.softmax(model(batch["unlabeled_clean_images"], training=False))
    assert np.abs(labels - batch["probabilities"]).max() > 0.1
    compute = tf.function(functools.partial(gradients_of, stored))
    expected, shown = compute(batch | {"probabilities": labels})
    compute = tf.function(functools.partial(gradients_of, online), jit_compile=jit_compile)
    found, online_shown = compute(batch)
    np.testing.assert_allclose(online_shown, shown, rtol=1e-4 if jit_compile else 1e-6)
    scale = max(np.abs(gradient).max() for gradient in expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)
    assert not online.teacher.trainable_variables


FULL_B0 = dataclasses.replace(
    STUDENT,
    model=dataclasses.replace(
        STUDENT.model, width=None, depth=None, image_size=64, small_image=False
    ),
)
RECIPES_STUDENT = dataclasses.replace(  # the second student of recipes/mnist5k.flags
    STUDENT,
    model=dataclasses.replace(
        STUDENT.model,
        width=0.75,
        depth=0.3,
        image_size=32,
        dropout_rate=0.3,
        strides=(2, 1, 2, 2, 1, 1, 1, 1),
    ),
    optimizer=dataclasses.replace(STUDENT.optimizer, name="adamw", weight_decay=0.0),
)


def labeled_and_unlabeled_images(size: int, count: int = 2) -> dict[str, tf.Tensor]:
    """Returns `count` images of each kind, with clean copies for the teacher."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, count, size, size, 3), dtype=np.uint8)
    names = ("images", "unlabeled_images", "unlabeled_clean_images")
    batch = {name: tf.constant(part) for name, part in zip(names, images, strict=True)}
    labels = tf.constant(rng.integers(0, CLASSES, count), tf.int32)
    return batch | {"labels": labels, "probabilities": tf.fill([count, CLASSES], 1 / CLASSES)}


def first_gradients(made: Learner) -> list[np.ndarray]:
    """Returns the optimizer's state after one update, float64, monotone in the gradients."""
    state = made.optimizer
    held = state._momentums if made.settings.optimizer.name == "adamw" else state._steps
    return [np.array(variable, np.float64) for variable in held]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [FULL_B0, RECIPES_STUDENT], ids=["B0", "mnist5k"])
def test_whole_networks_compile_with_a_teacher_in_the_step(teacher, settings):
    """Update and prediction as one XLA program each, as a TPU would be given them."""
    settings = dataclasses.replace(settings, batch_size=2, ratio=1.0)
    batch = labeled_and_unlabeled_images(settings.model.image_size)
    made = [
        build.build(
            settings,
            make_devices(precision="float32", jit_compile=jit),
            CLASSES,
            num_labeled=8,
            teacher_model=teacher[1],
        )
        for jit in ("on", "off")
    ]
    predicted = [build.predict_step(one)(batch["images"]).numpy() for one in made]
    np.testing.assert_allclose(*predicted, rtol=1e-3, atol=1e-5)
    stream = tf.data.Dataset.from_tensors(batch)
    shown = [Training(one).run(iter(stream)) for one in made]
    np.testing.assert_allclose(*shown, rtol=1e-3)
    compiled, plain = map(first_gradients, made)
    largest = max(np.abs(gradient).max() for gradient in plain)
    variables = made[1].model.trainable_variables
    for variable, ours, theirs in zip(variables, compiled, plain, strict=True):
        # Some are 0 but for rounding, such as that of a shift that the next batch norm takes away.
        limit = 1e-2 * np.abs(theirs).max() + 1e-4 * largest
        assert np.abs(ours - theirs).max() < limit, variable.path
    statistics = (one.average_model.non_trainable_variables for one in made)
    for ours, theirs in zip(*statistics, strict=True):  # of batch norm, moved and averaged
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=ours.path)
