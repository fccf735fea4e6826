"""The compiled step: accumulated gradients, several steps per call, XLA, number formats."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student import config
from noisy_student.runtime.devices import Devices, make_devices
from noisy_student.train import build, step
from noisy_student.train.learner import Learner
from tests.helpers.marks import slow_param
from tests.helpers.small_learner import (
    CLASSES,
    SIZE,
    STUDENT,
    Training,
    batches,
    gradients_of,
    learner,
)


def training(devices: Devices, **changes) -> Training:
    return Training(learner(devices, **changes))


@pytest.fixture(scope="module")
def traced(devices) -> tuple[Training, dict[str, list[np.ndarray]]]:
    """A training that tests share, since tracing takes seconds, and what it started with."""
    made = training(devices)
    return made, {name: values(part) for name, part in made.learner.trackables().items()}


@pytest.fixture
def plain(traced) -> Training:
    """The shared training as it was before its first step."""
    restart(*traced)
    return traced[0]


def restart(made: Training, start: dict[str, list[np.ndarray]]) -> None:
    for name, part in made.learner.trackables().items():
        for variable, value in zip(part.variables, start[name], strict=True):
            variable.assign(value)


def values(part) -> list[np.ndarray]:
    return [np.array(variable) for variable in part.variables]


def all_weights(made: Training) -> list[np.ndarray]:
    return made.learner.model.get_weights() + made.learner.average_model.get_weights()


def test_several_steps_in_one_call_are_the_same_steps(traced, plain):
    stream = batches(4)
    singly = np.concatenate([plain.run(stream) for _ in range(4)])
    expected = all_weights(plain)
    restart(*traced)
    assert plain.learner.finished_steps == 0
    stream = batches(4)
    together = np.concatenate([plain.run(stream, 3), plain.run(stream, 1)])
    np.testing.assert_array_equal(together, singly)
    for ours, theirs in zip(all_weights(plain), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert plain.learner.finished_steps == 4


@pytest.mark.parametrize(("hard", "temperature"), [slow_param(False, 0.5), (True, 0.5)])
def test_the_loss_of_a_step_by_hand(devices, hard, temperature):
    """From the logits of one pass over all images: what is asked for arrives in the loss."""
    quiet = dataclasses.replace(STUDENT.model, dropout_rate=0.0, stochastic_depth_rate=0.0)
    made = training(devices, model=quiet, hard_labels=hard, temperature=temperature)
    model = made.learner.model
    batch = next(batches(1))
    images = tf.concat([batch["images"], batch["unlabeled_images"]], axis=0)
    logits = model(images, training=True).numpy().astype(float)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = batch["probabilities"].numpy().astype(float) ** (1 / temperature)
    targets /= targets.sum(axis=1, keepdims=True)
    if hard:
        targets = 0.9 * np.eye(CLASSES)[targets.argmax(axis=1)] + 0.1 / CLASSES
    true = 0.9 * np.eye(CLASSES)[batch["labels"].numpy()] + 0.1 / CLASSES
    decayed = [v for v in model.trainable_variables if v.name not in ("gamma", "beta")]
    decay = 1e-3 / 2 * sum(np.sum(v.numpy().astype(float) ** 2) for v in decayed)
    labeled, unlabeled = -(true * log_p[:4]).sum(1).mean(), -(targets * log_p[4:]).sum(1).mean()
    names = step.metric_names(made.learner)
    shown = dict(zip(names, made.run(batches(1))[0].astype(float), strict=True))
    assert shown["labeled_loss"] == pytest.approx(labeled, rel=1e-4)
    assert shown["unlabeled_loss"] == pytest.approx(unlabeled, rel=1e-4)
    assert shown["l2_loss"] == pytest.approx(decay, rel=1e-4)
    assert shown["loss"] == pytest.approx(labeled + 2 * unlabeled + decay, rel=1e-4)


@pytest.mark.slow
def test_every_step_has_noise_of_its_own_and_the_same_when_repeated(devices):
    """The same batch twice, at a rate of 0: only dropout and stochastic depth can differ."""
    still = dataclasses.replace(STUDENT.optimizer, learning_rate=0.0)
    quiet = dataclasses.replace(STUDENT.model, dropout_rate=0.0, stochastic_depth_rate=0.0)

    def losses_of(**changes) -> np.ndarray:
        batch = tf.data.Dataset.from_tensors(next(batches(1))).repeat()
        return training(devices, optimizer=still, **changes).run(iter(batch), 2)[:, 0]

    noisy = losses_of()
    assert abs(noisy[0] - noisy[1]) > 1e-3
    np.testing.assert_array_equal(losses_of(), noisy)
    first, second = losses_of(model=quiet)
    assert first == pytest.approx(second, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2], ids=["one micro-batch", "two micro-batches"])
def test_unlabeled_images_can_be_exempt_from_dropout(devices, parts):
    """Dropout comes after batch norm, so that each part's loss depends on its own dropout alone."""
    still = dataclasses.replace(STUDENT.optimizer, learning_rate=0.0)

    def losses_of(rate: float, **exempt) -> np.ndarray:
        model = dataclasses.replace(STUDENT.model, dropout_rate=rate, stochastic_depth_rate=0.0)
        unlabeled = config.UnlabeledNoiseConfig(**exempt)
        changes = {"model": model, "optimizer": still, "unlabeled_noise": unlabeled}
        made = training(devices, accumulate_steps=parts, **changes)
        return made.run(batches(1, parts=parts))[0, 1:3]  # of labeled and of unlabeled images

    quiet, noisy = losses_of(0.0), losses_of(0.5)
    assert np.all(np.abs(quiet - noisy) > 1e-3)
    expected = [noisy[0], quiet[1]]
    np.testing.assert_allclose(losses_of(0.5, dropout=False), expected, rtol=1e-6)
    np.testing.assert_array_equal(losses_of(0.5, stochastic_depth=False), noisy)


def test_unlabeled_images_can_be_exempt_from_stochastic_depth(devices):
    """Every kind has its own switch; the network's masks are tested where they are drawn."""
    made = learner(devices, unlabeled_noise=config.UnlabeledNoiseConfig(stochastic_depth=False))
    assert made.noised_rows == {"stochastic_depth": 4}
    assert learner(devices).noised_rows == {}


def test_updates_from_accumulated_gradients_by_hand(devices):
    """Two steps of RMSProp, each from the sum of two micro-batches' gradients."""
    made = training(devices, accumulate_steps=2)
    variables = made.learner.model.trainable_variables
    compute = tf.function(functools.partial(gradients_of, made.learner))
    mean_squares, moves = [1.0] * len(variables), [0.0] * len(variables)
    stream = batches(2, parts=2)
    for parts in (list(batches(2, parts=2))[:2], list(batches(2, parts=2))[2:]):
        before = [variable.numpy() for variable in variables]
        found = [compute(batch, tf.constant(part)) for part, batch in enumerate(parts)]
        shown = made.run(stream)
        (first, first_shown), (second, second_shown) = found
        np.testing.assert_allclose(shown[0], first_shown + second_shown, rtol=1e-5)
        for i, variable in enumerate(variables):
            gradient = first[i].numpy().astype(float) + second[i].numpy()
            mean_squares[i] = 0.9 * mean_squares[i] + 0.1 * gradient**2
            moves[i] = 0.9 * moves[i] + 0.01 * gradient / np.sqrt(mean_squares[i] + 1e-3)
            np.testing.assert_allclose(variable.numpy(), before[i] - moves[i], rtol=1e-5, atol=1e-6)
    assert made.learner.finished_steps == 2


@pytest.mark.slow
def test_without_weight_labels_teach_nothing_but_batch_norm_sees_the_images(devices):
    made = learner(devices, labeled_weight=0.0)
    compute = tf.function(lambda batch: gradients_of(made, batch)[0])
    batch = next(batches(1))
    found = compute(batch)
    of_others = compute(batch | {"labels": (batch["labels"] + 1) % CLASSES})
    of_other_images = compute(batch | {"images": 255 - batch["images"]})
    for ours, same in zip(found, of_others, strict=True):
        np.testing.assert_array_equal(ours, same)
    first = [variable.path for variable in made.model.trainable_variables].index("stem_conv/kernel")
    assert np.abs(found[first] - of_other_images[first]).max() > 1e-6


def gradients(made: Learner, jit_compile: bool) -> tuple[list[np.ndarray], np.ndarray]:
    compute = tf.function(functools.partial(gradients_of, made), jit_compile=jit_compile)
    found, metrics = compute(next(batches(1)))
    return [gradient.numpy() for gradient in found], metrics.numpy()


@pytest.mark.slow
def test_compiled_gradients_equal_those_not_compiled(devices):
    """One XLA program of the whole pass, noise and all."""
    made = learner(devices)
    plain, plain_parts = gradients(made, False)
    compiled, compiled_parts = gradients(made, True)
    np.testing.assert_allclose(compiled_parts, plain_parts, rtol=1e-4)
    scale = max(np.abs(gradient).max() for gradient in plain)
    for ours, theirs in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("exempt", [False, True], ids=["all noised", "unlabeled exempt"])
def test_update_and_prediction_compile(exempt):
    noise = config.UnlabeledNoiseConfig(dropout=not exempt, stochastic_depth=not exempt)
    made, plain = (
        training(make_devices(precision="float32", jit_compile=jit), unlabeled_noise=noise)
        for jit in ("on", "off")
    )
    compiled_parts, plain_parts = made.run(batches(2), 2), plain.run(batches(2), 2)
    np.testing.assert_allclose(compiled_parts[0], plain_parts[0], rtol=1e-4)
    assert made.learner.finished_steps == 2 and np.isfinite(compiled_parts).all()
    images = tf.constant(next(batches(1))["images"])
    plain.learner.average_model.set_weights(made.learner.average_model.get_weights())
    compiled, expected = (build.predict_step(each.learner)(images) for each in (made, plain))
    np.testing.assert_allclose(compiled, expected, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_keeps_variables_logits_and_losses_in_float32(plain):
    try:
        trained = training(make_devices(precision="mixed_bfloat16"))
        made, parts = trained.learner, trained.run(batches(2), 2)
        logits = made.model(tf.zeros([1, SIZE, SIZE, 3], tf.uint8))
        inside = made.model.get_layer("blocks_0").compute_dtype
    finally:
        keras.config.set_dtype_policy("float32")
    assert inside == "bfloat16"
    assert parts.dtype == np.float32 and logits.dtype == tf.float32
    variables = made.model.variables + made.average_model.variables + made.optimizer.variables
    assert {v.dtype for v in variables if v is not made.optimizer.iterations} == {"float32"}
    exact = plain.run(batches(2), 2)
    np.testing.assert_allclose(parts[0, 0], exact[0, 0], rtol=0.02)
    assert parts[0, 0] != exact[0, 0]
