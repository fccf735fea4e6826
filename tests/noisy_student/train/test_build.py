"""The parts of a training: start, frozen blocks, schedule."""

import dataclasses
import functools
import re

import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from noisy_student.artifacts import model_file
from noisy_student.config import derived
from noisy_student.runtime.devices import Devices
from noisy_student.train import build, step
from tests.helpers.marks import slow_param
from tests.helpers.small_learner import CLASSES, SPEC, STUDENT, batches, learner

OPTIMIZER = dataclasses.replace(
    STUDENT.optimizer,
    schedule="staircase",
    learning_rate=0.016,
    warmup_steps=None,
    warmup_epochs=5.0,
    epochs=350.0,
)
TEACHER = dataclasses.replace(
    STUDENT, role="teacher", optimizer=OPTIMIZER, batch_size=16, ratio=0.0
)


def test_a_start_takes_over_weights_and_normalization_of_pixels(devices, tmp_path):
    network = derived.network(dataclasses.replace(STUDENT.model, normalization="svhn"))
    saved = efficientnet.build_model(num_classes=CLASSES, **network)
    model_file.save_model(saved, tmp_path / "start.keras", ("a", "b", "c"), SPEC)
    made = learner(devices)
    description = build.start_from(made, tmp_path / "start.keras", ("a", "b", "c"))
    assert "with its classifier" in description
    images = next(batches(1))["images"]
    for model in (made.model, made.average_model):
        np.testing.assert_allclose(model(images), saved(images), atol=1e-6)


@pytest.mark.parametrize(
    ("role", "number"), [slow_param("fixres", -1), slow_param("teacher", 0), ("student", 4)]
)
def test_training_leaves_the_frozen_blocks(devices, role, number):
    """Frozen: their weights and statistics, and no noise in them. 0: the stem's alone."""
    ratio = 2.0 if role == "student" else 0.0
    made = learner(devices, role=role, ratio=ratio, frozen_blocks=number, fixres_epochs=1.5)
    frozen = ("stem", "blocks_0", "blocks_1", "blocks_2", "blocks_3")[: number + 1]
    names = [weight.path for weight in made.model.weights]
    before = made.model.get_weights()
    train_step = tf.function(functools.partial(step.train_step, made))
    for batch in batches(2):
        if not ratio:
            batch = {name: batch[name] for name in ("images", "labels")}
        train_step(batch)
    # Gradients stop there, so that the step costs less: the inputs of depthwise kernels with one.
    nodes = train_step.get_concrete_function(batch).graph.as_graph_def().node
    kernels = [node for node in nodes if node.op == "DepthwiseConv2dNativeBackpropFilter"]
    inputs = [re.search(r"/(stem|blocks_\d)", kernel.input[0]) for kernel in kernels]
    blocks = ["stem", *(f"blocks_{block}" for block in range(1, 7))]
    assert {match[1] for match in inputs if match} == set(blocks[max(number, 0) :])
    for name, old, new in zip(names, before, made.model.get_weights(), strict=True):
        assert np.array_equal(old, new) == name.startswith(frozen), name
    with pytest.raises(ValueError, match="--frozen_blocks=99: efficientnet-b0 has only 7 blocks"):
        learner(devices, frozen_blocks=99)


@pytest.mark.parametrize("optimizer", [slow_param("adamw"), "rmsprop"])
def test_the_classifier_learns_alone_in_the_first_steps(devices, optimizer):
    settings = dataclasses.replace(STUDENT.optimizer, name=optimizer)
    made = learner(devices, optimizer=settings, head_steps=2)
    train_step = tf.function(functools.partial(step.train_step, made))
    weights = made.model.trainable_variables
    changed = []
    for batch in batches(3):
        before = [weight.numpy() for weight in weights]
        train_step(batch)
        pairs = zip(weights, before, strict=True)
        changed.append({w.path for w, old in pairs if not np.array_equal(w.numpy(), old)})
    head = {weight.path for weight in weights if weight.path.startswith("head_dense")}
    assert len(head) == 2
    assert changed == [head, head, {weight.path for weight in weights}]


def test_all_steps_cannot_be_for_the_classifier():
    settings = dataclasses.replace(TEACHER, steps=10, head_steps=10)
    with pytest.raises(ValueError, match="--head_steps=10: .* 10"):
        build.outline(settings, Devices(tf.distribute.get_strategy(), False), 3, 24)


def test_fine_tuning_goes_on_with_the_schedule():
    trained = dataclasses.replace(
        STUDENT,
        steps=100,
        optimizer=dataclasses.replace(
            STUDENT.optimizer, schedule="staircase", learning_rate=0.5, warmup_steps=2
        ),
    )
    tuned = dataclasses.replace(trained, role="fixres", fixres_epochs=1.5)
    assert trained.num_steps(8) == 100 and tuned.num_steps(8) == 3
    rate = build.make_schedule(tuned, 8)
    # A step is half an epoch of 8 images. Decays of 4.8 steps: 20 by step 96, 21 by 100.8.
    assert float(rate(0)) == pytest.approx(0.5 * 0.97**20, rel=1e-5)
    assert float(rate(1)) == pytest.approx(0.5 * 0.97**21, rel=1e-5)
    assert float(rate(10)) == pytest.approx(0.5 * 0.97**22, rel=1e-5)
    cosine = dataclasses.replace(
        tuned, optimizer=dataclasses.replace(trained.optimizer, schedule="cosine")
    )
    with pytest.raises(ValueError, match="--schedule=cosine, which is 0"):
        build.make_schedule(cosine, 8)


@pytest.mark.parametrize(
    ("epochs", "train_ratio", "steps", "expected"),
    [(350, 1, None, 525), (350, 2, None, 1050), (350, 2, 7, 7), (0.01, 1, None, 1)],
)
def test_steps_follow_from_labeled_epochs(epochs, train_ratio, steps, expected):
    optimizer = dataclasses.replace(OPTIMIZER, epochs=epochs, train_ratio=train_ratio)
    settings = dataclasses.replace(TEACHER, steps=steps, optimizer=optimizer)
    assert settings.num_steps(24) == settings.last_step(24) == expected
    cut = dataclasses.replace(settings, max_steps=7)
    assert cut.num_steps(24) == expected and cut.last_step(24) == min(7, expected)


def test_a_final_rate_is_kept_to_or_refused():
    """Also with a warm-up in steps; never silently left out."""
    optimizer = dataclasses.replace(OPTIMIZER, final_learning_rate=0.004, warmup_steps=10)
    settings = dataclasses.replace(TEACHER, steps=1000, optimizer=optimizer)
    rate = build.make_schedule(settings, num_labeled=24)
    assert rate.warmup_steps == 10
    assert float(rate(1000)) == pytest.approx(0.004, rel=0.05)
    cosine = dataclasses.replace(optimizer, schedule="cosine")
    with pytest.raises(ValueError, match="--schedule=staircase, not cosine"):
        build.make_schedule(dataclasses.replace(settings, optimizer=cosine), num_labeled=24)


def test_paper_schedule_of_a_training():
    """2048 images a step, 1 281 167 labeled: 0.128 after 5 epochs, then two decays are behind."""
    settings = dataclasses.replace(
        TEACHER,
        batch_size=2048,
        steps=None,
        optimizer=dataclasses.replace(OPTIMIZER, learning_rate=0.128),
    )
    rate = build.make_schedule(settings, 1_281_167)
    epoch = 1_281_167 / 2048
    assert float(rate(2.5 * epoch)) == pytest.approx(0.064, rel=1e-3)
    assert float(rate(5.1 * epoch)) == pytest.approx(0.128 * 0.97**2, rel=1e-6)
    assert float(rate(7.3 * epoch)) == pytest.approx(0.128 * 0.97**3, rel=1e-6)
