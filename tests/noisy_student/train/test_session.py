"""The compiled step: accumulated gradients, several steps per call, XLA, number formats."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.runtime.devices import Devices, make_devices
from noisy_student.train.session import Session, make_schedule, num_steps

CLASSES, SIZE = 3, 16
SPEC = PreprocessSpec(image_size=SIZE, small_image=True)
STUDENT = config.TrainConfig(
    role="student",
    round=1,
    model=config.ModelConfig(
        name="efficientnet-b0",
        width=0.1,
        depth=0.1,
        image_size=SIZE,
        small_image=True,
        strides=None,
        dropout_rate=0.2,
        stochastic_depth_rate=0.2,
        batch_norm_momentum=0.9,
        batch_norm_replicas="none",
        normalization="imagenet",
    ),
    noise=config.NoiseConfig("none", 2, 5.0, False, False),
    optimizer=config.OptimizerConfig(
        name="rmsprop",
        schedule="constant",
        learning_rate=0.01,
        final_learning_rate=None,
        warmup_steps=0,
        warmup_epochs=0.0,
        epochs=1.0,
        train_ratio=1.0,
        adam_beta2=0.999,
        weight_decay=1e-3,
    ),
    batch_size=4,
    ratio=2.0,
    steps=10,
    max_steps=None,
    label_smoothing=0.1,
    hard_labels=False,
    temperature=1.0,
    ema_decay=0.9,
    accumulate_steps=1,
    teacher_mode="stored",
    frozen_blocks=0,
    fixres_epochs=0.0,
    seed=3,
)


@pytest.fixture(scope="module")
def devices():
    return make_devices(precision="float32")


def batches(steps: int, parts: int = 1):
    """An iterator over batches, each in as many parts."""
    rng = np.random.default_rng(0)
    columns = {
        "images": rng.integers(0, 256, (steps * 4, SIZE, SIZE, 3), dtype=np.uint8),
        "labels": rng.integers(0, CLASSES, steps * 4).astype("int32"),
    }
    unlabeled = {
        "unlabeled_images": rng.integers(0, 256, (steps * 8, SIZE, SIZE, 3), dtype=np.uint8),
        "probabilities": rng.dirichlet(np.ones(CLASSES), steps * 8).astype("float32"),
    }
    first = tf.data.Dataset.from_tensor_slices(columns).batch(4 // parts, drop_remainder=True)
    second = tf.data.Dataset.from_tensor_slices(unlabeled).batch(8 // parts, drop_remainder=True)
    return iter(tf.data.Dataset.zip(first, second).map(lambda one, other: {**one, **other}))


def session(devices: Devices, **changes) -> Session:
    return Session(dataclasses.replace(STUDENT, **changes), devices, CLASSES, num_labeled=8)


@pytest.fixture(scope="module")
def traced(devices) -> tuple[Session, dict[str, list[np.ndarray]]]:
    """A session that tests share, since tracing takes seconds, and what it started with."""
    made = session(devices)
    return made, {name: values(part) for name, part in made.trackables().items()}


@pytest.fixture
def plain(traced) -> Session:
    """The shared session as it was before its first step."""
    restart(*traced)
    return traced[0]


def restart(made: Session, start: dict[str, list[np.ndarray]]) -> None:
    for name, part in made.trackables().items():
        for variable, value in zip(part.variables, start[name], strict=True):
            variable.assign(value)


def values(part) -> list[np.ndarray]:
    return [np.array(variable) for variable in part.variables]


def all_weights(made: Session) -> list[np.ndarray]:
    return made.model.get_weights() + made.average_model.get_weights()


def test_several_steps_in_one_call_are_the_same_steps(traced, plain):
    stream = batches(4)
    singly = np.concatenate([plain.run(stream).numpy() for _ in range(4)])
    expected = all_weights(plain)
    restart(*traced)
    assert plain.step_number() == 0
    stream = batches(4)
    together = np.concatenate([plain.run(stream, 3).numpy(), plain.run(stream, 1).numpy()])
    np.testing.assert_array_equal(together, singly)
    for ours, theirs in zip(all_weights(plain), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert plain.step_number() == 4


@pytest.mark.parametrize(("hard", "temperature"), [(False, 1.0), (False, 0.5), (True, 0.5)])
def test_the_loss_of_a_step_by_hand(devices, hard, temperature):
    """From the logits of one pass over all images: what is asked for arrives in the loss."""
    quiet = dataclasses.replace(STUDENT.model, dropout_rate=0.0, stochastic_depth_rate=0.0)
    made = session(devices, model=quiet, hard_labels=hard, temperature=temperature)
    batch = next(batches(1))
    images = tf.concat([batch["images"], batch["unlabeled_images"]], axis=0)
    logits = made.model(images, training=True).numpy().astype(float)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = batch["probabilities"].numpy().astype(float) ** (1 / temperature)
    targets /= targets.sum(axis=1, keepdims=True)
    if hard:
        targets = 0.9 * np.eye(CLASSES)[targets.argmax(axis=1)] + 0.1 / CLASSES
    true = 0.9 * np.eye(CLASSES)[batch["labels"].numpy()] + 0.1 / CLASSES
    decayed = [v for v in made.model.trainable_variables if v.name not in ("gamma", "beta")]
    decay = 1e-3 / 2 * sum(np.sum(v.numpy().astype(float) ** 2) for v in decayed)
    labeled, unlabeled = -(true * log_p[:4]).sum(1).mean(), -(targets * log_p[4:]).sum(1).mean()
    shown = dict(zip(made.parts, made.run(batches(1)).numpy()[0].astype(float), strict=True))
    assert shown["labeled_loss"] == pytest.approx(labeled, rel=1e-4)
    assert shown["unlabeled_loss"] == pytest.approx(unlabeled, rel=1e-4)
    assert shown["l2_loss"] == pytest.approx(decay, rel=1e-4)
    assert shown["loss"] == pytest.approx(labeled + 2 * unlabeled + decay, rel=1e-4)


def test_every_step_has_noise_of_its_own_and_the_same_when_repeated(devices):
    """The same batch twice, at a rate of 0: only dropout and stochastic depth can differ."""
    still = dataclasses.replace(STUDENT.optimizer, learning_rate=0.0)
    quiet = dataclasses.replace(STUDENT.model, dropout_rate=0.0, stochastic_depth_rate=0.0)

    def losses_of(**changes) -> np.ndarray:
        batch = tf.data.Dataset.from_tensors(next(batches(1))).repeat()
        return session(devices, optimizer=still, **changes).run(iter(batch), 2).numpy()[:, 0]

    noisy = losses_of()
    assert abs(noisy[0] - noisy[1]) > 1e-3
    np.testing.assert_array_equal(losses_of(), noisy)
    first, second = losses_of(model=quiet)
    assert first == pytest.approx(second, rel=1e-6)


def test_an_update_from_accumulated_gradients_by_hand(devices):
    """The weights after one step of RMSProp from the sum of both parts' gradients."""
    made = session(devices, accumulate_steps=2)
    both = list(zip(batches(1, parts=2), range(2), strict=True))
    (first, first_shown), (second, second_shown) = (
        tf.function(made._gradients)(batch, part) for batch, part in both
    )
    before = [variable.numpy() for variable in made.model.trainable_variables]
    shown = made.run(batches(1, parts=2))
    np.testing.assert_allclose(shown[0], first_shown + second_shown, rtol=1e-6)
    for variable, old, one, other in zip(
        made.model.trainable_variables, before, first, second, strict=True
    ):
        gradient = one.numpy().astype(float) + other.numpy()
        expected = old - 0.01 * gradient / np.sqrt(0.9 + 0.1 * gradient**2 + 1e-3)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-7)
    assert made.step_number() == 1
    made.run(batches(1, parts=2))  # the sums were zeroed
    assert all(np.all(total.numpy() == 0) for total in made._gradient_sums)


def test_without_weight_labels_teach_nothing_but_batch_norm_sees_the_images(devices):
    made = session(devices, labeled_weight=0.0)
    step = tf.function(lambda batch: made._gradients(batch, 0)[0])
    batch = next(batches(1))
    found = step(batch)
    of_others = step(batch | {"labels": (batch["labels"] + 1) % CLASSES})
    of_other_images = step(batch | {"images": 255 - batch["images"]})
    for ours, same in zip(found, of_others, strict=True):
        np.testing.assert_array_equal(ours, same)
    first = [variable.path for variable in made.model.trainable_variables].index("stem_conv/kernel")
    assert np.abs(found[first] - of_other_images[first]).max() > 1e-6


def gradients(made: Session, jit_compile: bool) -> tuple[list[np.ndarray], np.ndarray]:
    step = tf.function(lambda batch: made._gradients(batch, 0), jit_compile=jit_compile)
    found, parts = step(next(batches(1)))
    return [gradient.numpy() for gradient in found], parts.numpy()


def test_compiled_gradients_equal_those_not_compiled(devices):
    """One XLA program of the whole pass, noise and all."""
    made = session(devices)
    plain, plain_parts = gradients(made, False)
    compiled, compiled_parts = gradients(made, True)
    np.testing.assert_allclose(compiled_parts, plain_parts, rtol=1e-4)
    scale = max(np.abs(gradient).max() for gradient in plain)
    for ours, theirs in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.slow
def test_update_and_prediction_compile():
    made = session(make_devices(precision="float32", jit_compile="on"))
    plain = session(make_devices(precision="float32", jit_compile="off"))
    compiled_parts, plain_parts = made.run(batches(2), 2), plain.run(batches(2), 2)
    np.testing.assert_allclose(compiled_parts[0], plain_parts[0], rtol=1e-4)
    assert made.step_number() == 2 and np.isfinite(compiled_parts).all()
    images = tf.constant(next(batches(1))["images"])
    plain.average_model.set_weights(made.average_model.get_weights())
    np.testing.assert_allclose(made.predict(images), plain.predict(images), atol=1e-4)


def test_bfloat16_keeps_variables_logits_and_losses_in_float32(plain):
    try:
        made = session(make_devices(precision="mixed_bfloat16"))
        parts = made.run(batches(2), 2)
        logits = made.model(tf.zeros([1, SIZE, SIZE, 3], tf.uint8))
        inside = made.model.get_layer("blocks_0").compute_dtype
    finally:
        keras.config.set_dtype_policy("float32")
    assert inside == "bfloat16"
    assert parts.dtype == logits.dtype == tf.float32
    variables = made.model.variables + made.average_model.variables + made.optimizer.variables
    assert {v.dtype for v in variables if v is not made.optimizer.iterations} == {"float32"}
    exact = plain.run(batches(2), 2)
    np.testing.assert_allclose(parts[0, 0], exact[0, 0], rtol=0.02)
    assert parts[0, 0] != exact[0, 0]


def test_devices_are_chosen_by_what_there_is(monkeypatch):
    assert make_devices().precision == "float32"  # on CPU
    assert not make_devices().jit_compile
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        make_devices("multi_worker")
    with pytest.raises(ValueError, match="--tpu=NAME"):
        make_devices("tpu", precision="float32")
    with pytest.raises(ValueError, match="auto, one, mirrored, multi_worker, tpu"):
        make_devices("two")


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


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "compiled"]
)
def test_a_teacher_within_the_step_gives_the_labels_of_the_clean_images(
    devices, teacher, jit_compile
):
    model, path = teacher
    stored, online = session(devices), Session(STUDENT, devices, CLASSES, 8, teacher=path)
    (batch,) = with_clean_copies(batches(1))
    labels = tf.nn.softmax(model(batch["unlabeled_clean_images"], training=False))
    assert np.abs(labels - batch["probabilities"]).max() > 0.1
    expected, shown = tf.function(stored._gradients)(batch | {"probabilities": labels}, 0)
    step = tf.function(lambda batch: online._gradients(batch, 0), jit_compile=jit_compile)
    found, online_shown = step(batch)
    np.testing.assert_allclose(online_shown, shown, rtol=1e-4 if jit_compile else 1e-6)
    scale = max(np.abs(gradient).max() for gradient in expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)
    assert not online._teacher.trainable_variables


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
    """As many of either, and clean copies for a teacher."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, count, size, size, 3), dtype=np.uint8)
    names = ("images", "unlabeled_images", "unlabeled_clean_images")
    batch = {name: tf.constant(part) for name, part in zip(names, images, strict=True)}
    labels = tf.constant(rng.integers(0, CLASSES, count), tf.int32)
    return batch | {"labels": labels, "probabilities": tf.fill([count, CLASSES], 1 / CLASSES)}


def first_gradients(made: Session) -> list[np.ndarray]:
    """What the optimizer holds of the first update: float64, monotone in its gradients."""
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
        Session(
            settings,
            make_devices(precision="float32", jit_compile=jit),
            CLASSES,
            8,
            teacher=teacher[1],
        )
        for jit in ("on", "off")
    ]
    predicted = [one.predict(batch["images"]).numpy() for one in made]
    np.testing.assert_allclose(*predicted, rtol=1e-3, atol=1e-5)
    shown = [one._update(batch).numpy() for one in made]
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


def test_a_start_takes_over_weights_and_normalization_of_pixels(devices, tmp_path):
    settings = dataclasses.asdict(dataclasses.replace(STUDENT.model, normalization="svhn"))
    settings.pop("image_size")
    saved = efficientnet.build_model(num_classes=CLASSES, **settings)
    model_file.save_model(saved, tmp_path / "start.keras", ("a", "b", "c"), SPEC)
    made = session(devices)
    assert "with its classifier" in made.start_from(tmp_path / "start.keras", ("a", "b", "c"))
    images = next(batches(1))["images"]
    for model in (made.model, made.average_model):
        np.testing.assert_allclose(model(images), saved(images), atol=1e-6)


def test_fine_tuning_leaves_the_frozen_blocks(devices):
    """Frozen: their weights and statistics, and no noise in them."""
    made = session(devices, role="fixres", ratio=0.0, frozen_blocks=4, fixres_epochs=1.5)
    frozen = ("stem", "blocks_0", "blocks_1", "blocks_2", "blocks_3")
    names = [weight.path for weight in made.model.weights]
    before = made.model.get_weights()
    labeled = map(lambda batch: {n: batch[n] for n in ("images", "labels")}, batches(2))
    for batch in labeled:
        made._update(batch)
    for name, old, new in zip(names, before, made.model.get_weights(), strict=True):
        assert np.array_equal(old, new) == name.startswith(frozen), name
    with pytest.raises(ValueError, match="--frozen_blocks=99: efficientnet-b0 has 7 blocks"):
        session(devices, frozen_blocks=99)


def test_fine_tuning_goes_on_at_the_last_rate():
    trained = dataclasses.replace(
        STUDENT,
        steps=100,
        optimizer=dataclasses.replace(
            STUDENT.optimizer, schedule="staircase", learning_rate=0.5, warmup_steps=2
        ),
    )
    tuned = dataclasses.replace(trained, role="fixres", fixres_epochs=1.5)
    assert num_steps(trained, 8) == 100 and num_steps(tuned, 8) == 3
    rate = make_schedule(tuned, 8)
    # A step is half an epoch of 8 images: 100 // (2.4 * 2) = 20 decays.
    assert float(rate(0)) == float(rate(2)) == pytest.approx(0.5 * 0.97**20, rel=1e-5)
    cosine = dataclasses.replace(
        tuned, optimizer=dataclasses.replace(trained.optimizer, schedule="cosine")
    )
    with pytest.raises(ValueError, match="--schedule=cosine ends, which is 0"):
        make_schedule(cosine, 8)
