"""Learning rates against plain Python, and the published numbers."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student.schedule import LearningRate


def paper_by_hand(step, base, steps_per_epoch, decay_epochs):
    warmup = int(5 * steps_per_epoch)
    if step < warmup:
        return base * step / warmup
    return base * 0.97 ** math.floor(step / (decay_epochs * steps_per_epoch))


@pytest.mark.parametrize("train_ratio", [1, 2])
def test_paper_staircase_by_hand(train_ratio):
    rate = LearningRate.paper(0.128, 625.7, train_ratio=train_ratio)
    compiled = tf.function(rate)
    interval = 2.4 * train_ratio * 625.7
    around = [int(k * interval) + offset for k in range(1, 20) for offset in (0, 1)]
    for step in [0, 1, 1000, 3127, 3128, 3129, *around, 218_000]:
        expected = paper_by_hand(step, 0.128, 625.7, 2.4 * train_ratio)
        found = compiled(tf.constant(step, tf.int64))
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=f"step {step}")
        np.testing.assert_allclose(rate(step), expected, rtol=1e-5)


def test_the_rate_steps_down_when_the_warmup_ends():
    rate = LearningRate.paper(1.0, 100)  # two decays lie within the warm-up, at 240 and 480
    assert float(rate(499)) == pytest.approx(0.998)
    assert float(rate(500)) == pytest.approx(0.97**2)


def test_svhn_decays_every_1_37_epochs():
    steps_per_epoch = 69_257 / 128
    rate = LearningRate.paper(0.008, steps_per_epoch, final=0.0001, total_steps=109_474)
    assert round(rate.decay_steps / steps_per_epoch, 2) == 1.37
    before, after = int(rate.decay_steps * 50), int(rate.decay_steps * 50) + 1
    assert float(rate(before)) == pytest.approx(0.008 * 0.97**49, rel=1e-5)
    assert float(rate(after)) == pytest.approx(0.008 * 0.97**50, rel=1e-5)
    # The interval is of the epochs after the warm-up but counts from step 0: a little below final.
    assert float(rate(109_474)) == pytest.approx(0.0001, rel=0.1)


def test_a_final_rate_with_a_warm_up_in_steps():
    """0.97^n of the way from 0.1 to 0.05 in the 900 steps after the warm-up: n = 22.76."""
    rate = LearningRate.paper(0.1, 10.0, final=0.05, total_steps=1000, warmup_steps=100)
    assert rate.warmup_steps == 100
    assert rate.decay_steps == pytest.approx(900 / (math.log(0.5) / math.log(0.97)))
    assert float(rate(50)) == pytest.approx(0.05) and float(rate(0)) == 0.0
    assert LearningRate.paper(0.1, 10.0, warmup_steps=7).decay_steps == pytest.approx(24)


def test_cosine_by_hand():
    rate = tf.function(LearningRate("cosine", 0.4, warmup_steps=10, total_steps=110))
    for step in range(0, 130):
        progress = min((step - 10) / 100, 1)
        expected = 0.04 * step if step < 10 else 0.2 * (1 + math.cos(math.pi * progress))
        np.testing.assert_allclose(rate(tf.constant(step)), expected, rtol=1e-5, atol=1e-7)


def test_constant_warms_up_and_stays():
    rate = LearningRate("constant", 0.5, warmup_steps=4)
    assert [float(rate(step)) for step in (0, 1, 4, 1000)] == [0.0, 0.125, 0.5, 0.5]
    assert float(LearningRate("constant", 0.5)(0)) == 0.5


@pytest.mark.parametrize(
    "rate",
    [
        LearningRate.paper(0.128, 625.7, train_ratio=2),
        LearningRate("cosine", 0.1, warmup_steps=3, total_steps=30),
        LearningRate("constant", 0.1, warmup_steps=30, first_step=5),
    ],
)
def test_serialization_round_trip(rate):
    stored = keras.optimizers.schedules.serialize(rate)
    again = keras.optimizers.schedules.deserialize(stored)
    assert again.get_config() == rate.get_config()
    assert again(17) == rate(17)


def test_an_optimizer_follows_it():
    optimizer = keras.optimizers.SGD(LearningRate("cosine", 1.0, warmup_steps=2, total_steps=12))
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    for _ in range(3):  # rates 0, 0.5, 1
        optimizer.apply([tf.constant([1.0])], [variable])
    np.testing.assert_allclose(variable, [-1.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "linear"}, "staircase, cosine, constant"),
        ({"kind": "staircase"}, "decay_steps"),
        ({"kind": "cosine", "warmup_steps": 10, "total_steps": 10}, "total_steps"),
        ({"kind": "constant", "warmup_steps": -1}, "warmup_steps"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearningRate(base=0.1, **arguments)


@pytest.mark.parametrize(
    "arguments", [{"final": 0.01}, {"final": 0.2, "total_steps": 9999}, {"final": 0.0}]
)
def test_bad_final_rates_are_refused(arguments):
    with pytest.raises(ValueError, match="final"):
        LearningRate.paper(0.1, 100, **arguments)
