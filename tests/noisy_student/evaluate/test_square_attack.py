"""The Square attack against a plain loop over single images, and on masked gradients."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data import seeds
from data.preprocess import PreprocessSpec
from noisy_student.evaluate import adversarial, square_attack
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.metrics import per_image
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.marks import slow_param

COUNT, SEED, QUERIES, EPSILON = 6, 5, 40, 10.0


@pytest.fixture(scope="module")
def examples():
    """Pictures whose labels the model agrees with, but for the first one."""
    images = tiny.examples(COUNT)
    labels = tiny.guesses_one_by_one(images.images)
    labels[0] = (labels[0] + 1) % 10
    return dataclasses.replace(images, labels=labels.astype(np.int32))


def image_seeds(examples):
    hashes = seeds.hash_ids(examples.ids).view(np.int64)
    count = len(examples)
    return seeds.example_seeds(
        SEED, np.zeros(count, np.int64), hashes, np.zeros(count, np.int32)
    ).numpy()


def sides_of_paper(queries, side):
    """The squares' sides as section 3.2 schedules them for 10,000 queries, from p = 0.8."""
    places = np.array([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])
    found = []
    for query in range(1, queries):
        fraction = 0.8 / 2 ** np.sum(query * 10_000 / queries > places)
        found.append(int(np.clip(np.round(np.sqrt(fraction * side * side)), 1, side)))
    return found


def search_by_hand(image, label, seed, epsilon, queries):
    """Algorithm 1 for a single image; returns the attacked image and its margins."""

    def margin(pixels):
        logits = tiny.logits_one_by_one(pixels[np.newaxis])[0]
        return logits[label] - np.delete(logits, label).max()

    def draw(query, count):
        return seeds.uniform(seeds.fold(seed[np.newaxis], query), count)[0].numpy()

    clean, side = image.astype(np.float32), tiny.SIDE
    if margin(clean) <= 0:
        return clean, []
    signs = np.where(draw(0, side * 3) < 0.5, 1, -1).reshape(1, side, 3)
    best = np.clip(clean + epsilon * signs, 0, 255)
    margins = [margin(best)]
    for query, length in enumerate(sides_of_paper(queries, side), start=1):
        if margins[-1] <= 0:
            break
        top, left, *channels = draw(query, 5)
        top, left = (int(place * (side - length + 1)) for place in (top, left))
        place = slice(top, top + length), slice(left, left + length)
        candidate = best.copy()
        sign = np.where(np.array(channels) < 0.5, 1, -1)
        candidate[place] = np.clip(clean[place] + epsilon * sign, 0, 255)
        if margin(candidate) < margins[-1]:
            best = candidate
            margins.append(margin(candidate))
    return best, margins


@pytest.mark.parametrize("compiled", [slow_param(False), True])
def test_the_search_by_hand(examples, compiled):
    drawn = image_seeds(examples)

    @tf.function(jit_compile=compiled)
    def attack(images, labels):
        return square_attack.square(
            tiny.model(), images, labels, EPSILON, num_queries=QUERIES, seeds=drawn
        )

    found = attack(examples.images, examples.labels).numpy()
    lengths = []
    for image, label, seed, attacked in zip(
        examples.images, examples.labels, drawn, found, strict=True
    ):
        expected, margins = search_by_hand(image, label, seed, EPSILON, QUERIES)
        np.testing.assert_allclose(attacked, expected, atol=1e-4)
        lengths.append(len(margins))
    assert lengths[0] == 0 and max(lengths) > 5  # squares were kept
    assert np.abs(found - examples.images).max() <= EPSILON + 1e-4
    assert found.min() >= 0 and found.max() <= 255


def test_the_schedule_of_the_paper():
    assert square_attack.square_sides(10_000, 32, 32)[1:] == sides_of_paper(10_000, 32)
    assert square_attack.square_sides(500, 224, 224)[1:] == sides_of_paper(500, 224)
    assert square_attack.square_sides(1, 32, 32) == [0]


def test_masked_gradients_do_not_help(examples):
    """Logits of rounded pixels have a gradient of zero, which stops FGSM but not this attack."""

    def masked(images, training=False):
        logits = tiny.model()(tf.round(images / 4) * 4, training=training)
        return logits + 0 * tf.reduce_sum(images)

    labels = tiny.logits_one_by_one(np.round(examples.images / 4) * 4).argmax(1)
    images = tf.cast(examples.images, tf.float32)
    (unmoved,) = adversarial.fgsm(masked, images, labels, [EPSILON])
    np.testing.assert_array_equal(unmoved, images)
    attacked = square_attack.square(
        masked, images, labels, EPSILON, num_queries=100, seeds=image_seeds(examples)
    )
    right = masked(attacked).numpy().argmax(1) == labels
    assert right.mean() <= 0.5


def test_as_a_benchmark(examples, tmp_path):
    spec = PreprocessSpec(tiny.SIDE, small_image=True)
    model = EvaluatedModel(tiny.model(), tiny.WNIDS, spec, 4, seed=SEED)
    result = tiny.attack(
        "square", model, examples, tmp_path, square_epsilons=(EPSILON,), square_queries=QUERIES
    )
    assert result["epsilons"] == [0, EPSILON] and result["num_queries"] == QUERIES
    drawn, right = image_seeds(examples), []
    for image, label, seed in zip(examples.images, examples.labels, drawn, strict=True):
        attacked, _ = search_by_hand(image, label, seed, EPSILON, QUERIES)
        right.append(tiny.guesses_one_by_one(attacked[np.newaxis])[0] == label)
    assert 0 < sum(right) < len(right) - 1
    for epsilon, stays in (("0", np.arange(COUNT) > 0), ("10", np.array(right))):
        np.testing.assert_array_equal(per_image.shares(result["by_image"][epsilon]) == 0, stays)
    assert result["top1"][1] == pytest.approx(100 * np.mean(right))
