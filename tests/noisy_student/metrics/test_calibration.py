"""Temperature and reliability, by hand and from data whose temperature is known."""

import numpy as np
import pytest
from scipy import special

from noisy_student.metrics import calibration


def test_reliability_by_hand():
    curve = calibration.Reliability()
    assert curve.accuracy is None and curve.rows() == [] and calibration.error([]) is None
    curve.add(np.array([0.95, 0.99, 0.35], np.float32), np.array([True, False, True]))
    curve.add(np.array([0.31]), np.array([False]))
    assert curve.accuracy == 0.5
    low, high = curve.rows()
    assert (low["low"], low["high"], low["count"], low["accuracy"]) == (0.3, 0.4, 2, 0.5)
    assert (high["low"], high["high"], high["count"], high["accuracy"]) == (0.9, 1.0, 2, 0.5)
    assert low["confidence"] == pytest.approx(0.33) and high["confidence"] == pytest.approx(0.97)
    assert calibration.error([low, high]) == pytest.approx((0.17 + 0.47) / 2)


def test_likelihood_by_hand():
    logits = np.array([[2.0, 0.0], [0.0, 0.0]])
    expected = (np.log(1 + np.exp(-1.0)) + np.log(2)) / 2
    found = calibration.negative_log_likelihood(logits, np.array([0, 1]), 2.0)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_known_data_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 5))
    probabilities = special.softmax(logits / temperature, axis=1)
    labels = (rng.random((20_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    found = calibration.describe(logits.astype(np.float32), labels)
    assert found["temperature"] == pytest.approx(temperature, rel=0.05)
    assert found["after"]["calibration_error"] < 0.02
    grid = [
        calibration.negative_log_likelihood(logits, labels, t)
        for t in np.linspace(0.9, 1.1, 41) * found["temperature"]
    ]
    assert min(grid) >= found["after"]["loss"] - 1e-6
    if temperature != 1:
        assert found["before"]["calibration_error"] > 0.05
        assert found["before"]["loss"] > found["after"]["loss"]


def test_calibration_error_by_hand():
    confidences = np.array([0.95, 0.85, 0.15, 0.05, 0.1])
    correct = np.array([True, False, False, True, False])
    # Five bins: [0, 0.2) holds 0.15, 0.05 and 0.1 (mean 0.1, accuracy 1 / 3), [0.8, 1] the other
    # two (mean 0.9, accuracy 1 / 2).
    expected = 3 / 5 * (1 / 3 - 0.1) + 2 / 5 * (0.9 - 0.5)
    actual = calibration.expected_calibration_error(confidences, correct, num_bins=5)
    assert actual == pytest.approx(expected)
    # One bin: mean confidence 0.42 and accuracy 0.4.
    actual = calibration.expected_calibration_error(confidences, correct, num_bins=1)
    assert actual == pytest.approx(0.02)


def test_calibration_error_of_the_calibrated_and_the_sure():
    rng = np.random.default_rng(0)
    confidences = rng.uniform(size=100_000)
    correct = rng.uniform(size=100_000) < confidences
    assert calibration.expected_calibration_error(confidences, correct) < 0.01
    sure = calibration.expected_calibration_error(np.ones(4), np.array([True, False, False, False]))
    assert sure == pytest.approx(0.75)


@pytest.mark.parametrize(
    "confidences, correct, bins, message",
    [
        ([0.5], [True, False], 15, "one common length"),
        ([], np.zeros(0, bool), 15, "one common length"),
        ([1.5], [True], 15, "confidences must be in 0..1, not 1.5"),
        ([0.5], [1], 15, "correct must be bool, not int64"),
        ([0.5], [True], 0, "num_bins must be at least 1, not 0"),
    ],
)
def test_calibration_error_of_what_does_not_fit(confidences, correct, bins, message):
    with pytest.raises(ValueError, match=message):
        calibration.expected_calibration_error(np.array(confidences), np.array(correct), bins)
