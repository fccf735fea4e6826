"""FGSM and PGD as the evaluation runs them, against a plain loop over single images."""

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf

from data import seeds
from data.preprocess import PreprocessSpec
from noisy_student.evaluate import adversarial, attacks
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.metrics import per_image
from tests.helpers import tiny_evaluation as tiny

COUNT, SEED = 7, 5


@pytest.fixture(scope="module")
def examples():
    return tiny.examples(COUNT)


def model(batch_size=4, seed=SEED):
    spec = PreprocessSpec(tiny.SIDE, small_image=True)
    return EvaluatedModel(tiny.model(), tiny.WNIDS, spec, batch_size, seed=seed)


def uphill(network, image, label):
    """The sign of one image's gradient of cross entropy."""
    value = tf.Variable(image[np.newaxis], dtype=tf.float32)
    with tf.GradientTape() as tape:
        logits = network(value, training=False)
        loss = -tf.nn.log_softmax(logits)[0, label]
    return np.sign(tape.gradient(loss, value)[0])


def start_of(name, restart):
    """The random point in the cube -1..1 at which an attack on an image begins."""
    digest = np.frombuffer(hashlib.blake2b(name.encode(), digest_size=8).digest(), "<i8")
    drawn = seeds.example_seeds(SEED, tf.zeros([1], tf.int64), digest, np.array([restart]))
    shape = [tiny.SIDE, tiny.SIDE, 3]
    return tf.random.stateless_uniform(shape, drawn[0], -1, 1, alg="philox").numpy()


def pgd_by_hand(examples, epsilon, steps, size, restarts):
    """Whether each image withstands all attacks, and the attack that is shown."""
    network = tiny.model()
    right, shown = [], []
    for image, label, name in zip(examples.images, examples.labels, examples.ids, strict=True):
        clean = image.astype(np.float32)
        stays = True
        for restart in range(max(restarts, 1)):
            attacked = clean.copy()
            if restarts:
                attacked = np.clip(clean + np.float32(epsilon) * start_of(name, restart), 0, 255)
            for _ in range(steps):
                attacked = attacked + np.float32(size) * uphill(network, attacked, label)
                attacked = np.clip(attacked, clean - epsilon, clean + epsilon)
                attacked = np.clip(attacked, 0, 255)
            if stays:
                last = attacked
            stays &= network(attacked[np.newaxis], training=False)[0].numpy().argmax() == label
        right.append(stays)
        shown.append(last)
    return np.array(right), np.stack(shown)


def run_pgd(folder, examples, tested=None, **options):
    return tiny.attack(
        "pgd", tested or model(), examples, folder, pgd_epsilons=(6.0, 20.0), **options
    )


def run_fgsm(folder, examples, epsilons, tested=None):
    return tiny.attack("fgsm", tested or model(), examples, folder, fgsm_epsilons=epsilons)


def right_by_image(result, epsilon):
    return per_image.shares(result["by_image"][epsilon]) == 0


def pictures_in(folder):
    paths = sorted(folder.glob("*.png"))
    return np.stack([tf.io.decode_png(path.read_bytes()).numpy() for path in paths])


@pytest.mark.parametrize(("restarts", "step_size"), [(2, None), (1, 3.0)])
def test_pgd_from_random_starts(examples, tmp_path, restarts, step_size):
    result = run_pgd(tmp_path, examples, restarts=restarts, step_size=step_size)
    assert result["epsilons"] == [0, 6, 20]
    for epsilon, top1 in zip((6.0, 20.0), result["top1"][1:], strict=True):
        size = step_size or 2.5 * epsilon / 3
        right, shown = pgd_by_hand(examples, epsilon, 3, size, restarts)
        np.testing.assert_array_equal(right_by_image(result, f"{epsilon:g}"), right)
        assert top1 == pytest.approx(100 * right.mean())
        saved = pictures_in(tmp_path / f"epsilon_{epsilon:g}")
        assert np.abs(saved - shown[: len(saved)]).max() <= 0.5 + 1e-3
    assert result["random_start"] and result["restarts"] == restarts


def test_the_same_adversarial_images(examples):
    """All pixels of two steps from a random start, beside the loop over single images."""
    ids = seeds.hash_ids(examples.ids).view(np.int64)
    drawn = seeds.example_seeds(SEED, np.zeros(COUNT, np.int64), ids, np.zeros(COUNT, np.int32))
    found = adversarial.pgd(
        tiny.model(), examples.images, examples.labels, 8.0, step_size=5.0, num_steps=2, seeds=drawn
    )
    _, expected = pgd_by_hand(examples, 8.0, 2, 5.0, restarts=1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    change = np.abs(found - examples.images)
    assert change.max() <= 8.001 and 1 < change.mean() < 8
    assert np.min(found) >= 0 and np.max(found) <= 255


def test_pgd_from_the_image_itself(examples, tmp_path):
    result = run_pgd(tmp_path, examples, random_start=False, restarts=1)
    right, _ = pgd_by_hand(examples, 6.0, 3, 5.0, restarts=0)
    np.testing.assert_array_equal(right_by_image(result, "6"), right)


def test_compiled_by_xla_as_on_accelerators(examples, tmp_path):
    compiled = dataclasses.replace(model(), jit_compile=True)
    result = run_pgd(tmp_path, examples, compiled, restarts=1)
    right, _ = pgd_by_hand(examples, 6.0, 3, 5.0, restarts=1)
    np.testing.assert_array_equal(right_by_image(result, "6"), right)


def test_fgsm(examples, tmp_path):
    result = run_fgsm(tmp_path, examples, (2.0, 10.0))
    for epsilon in (2, 10):
        right, shown = pgd_by_hand(examples, epsilon, 1, epsilon, restarts=0)
        np.testing.assert_array_equal(right_by_image(result, str(epsilon)), right)
        saved = pictures_in(tmp_path / f"epsilon_{epsilon}")
        assert len(saved) == 4  # the first batch
        np.testing.assert_allclose(saved, shown[:4], atol=0.5 + 1e-3)


def test_epsilon_zero_changes_nothing(examples, tmp_path):
    clean = tiny.guesses_one_by_one(examples.images) == examples.labels
    for result in (
        run_fgsm(tmp_path / "fgsm", examples, (0.0, 4.0)),
        run_pgd(tmp_path / "pgd", examples),
    ):
        assert result["epsilons"].count(0) == 1
        np.testing.assert_array_equal(right_by_image(result, "0"), clean)
    for attack in ("fgsm", "pgd"):
        saved = pictures_in(tmp_path / attack / "epsilon_0")
        np.testing.assert_array_equal(saved, examples.images[: len(saved)])


def test_accuracy_falls_with_epsilon(tmp_path):
    many = tiny.examples(60, seed=1)
    right = tiny.guesses_one_by_one(many.images)  # labels that the model agrees with
    many = dataclasses.replace(many, labels=right.astype(np.int32))
    tested = model(batch_size=30)
    sweep = run_fgsm(tmp_path / "fgsm", many, (0.5, 2.0, 8.0, 16.0), tested)["top1"]
    strong = run_pgd(tmp_path / "pgd", many, tested, steps=10, restarts=1)["top1"]
    for top1 in (sweep, strong):
        assert top1[0] == 100 and top1[-1] < 60
        assert np.all(np.diff(top1) < 100 / 60 * 3)  # no rise beyond three images


def test_one_lost_attempt_of_several_counts_and_is_shown():
    stays = [[True, True, False, True], [True, False, True, False], [False, True, True, True]]

    def once(restart):
        return tf.fill([4, 1, 1, 1], float(restart)), tf.constant(stays[restart])

    attacked, right = attacks.worst_attack(once, 3)
    assert right.tolist() == [False] * 4
    assert attacked.ravel().tolist() == [2, 1, 0, 1]
    attacked, right = attacks.worst_attack(once, 2)
    assert right.tolist() == [True, False, False, False]
    assert attacked.ravel().tolist() == [1, 1, 0, 1]


def test_restarts_can_only_make_it_worse(examples, tmp_path):
    once = run_pgd(tmp_path / "once", examples, restarts=1)
    thrice = run_pgd(tmp_path / "thrice", examples, restarts=3)
    for epsilon in ("6", "20"):
        assert not np.any(right_by_image(thrice, epsilon) & ~right_by_image(once, epsilon))


def test_seeds_decide_the_start(examples):
    drawn = [
        seeds.example_seeds(
            seed, np.zeros(COUNT, np.int64), np.arange(COUNT), np.zeros(COUNT, np.int32)
        )
        for seed in (0, 0, 1)
    ]
    first, again, other = (
        adversarial.pgd(
            tiny.model(),
            examples.images,
            examples.labels,
            8.0,
            step_size=1.0,
            num_steps=1,
            seeds=each,
        ).numpy()
        for each in drawn
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_attacked_model_is_in_eval_mode_and_stays_as_it_is(examples, tmp_path):
    """In training mode the model would drop half of its features and use the batch's statistics."""
    network = tiny.model()
    modes, before = [], [weight.numpy() for weight in network.weights]

    def recording(images, training=None):
        modes.append(training)
        return network(images, training=training)

    tested = dataclasses.replace(model(), model=recording)
    run_fgsm(tmp_path / "fgsm", examples, (4.0,), tested)
    run_pgd(tmp_path / "pgd", examples, tested)
    assert modes and set(modes) == {False}
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    image = tf.constant(examples.images[:1], tf.float32)
    trained = [network(image, training=True).numpy() for _ in range(2)]
    assert not np.array_equal(*trained), "the model must tell the modes apart"
    for weight, value in zip(network.weights, before, strict=True):
        weight.assign(value)
