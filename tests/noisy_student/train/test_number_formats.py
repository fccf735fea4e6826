"""mixed_bfloat16 beside float32, over 200 steps."""

import keras
import numpy as np
import pytest

from noisy_student.artifacts import model_file
from noisy_student.runtime.devices import make_devices
from noisy_student.train import step
from tests.helpers.small_learner import CLASSES, SPEC, batches, learner

pytestmark = pytest.mark.slow
STEPS, DISTINCT = 200, 20


def trained(precision: str):
    """Losses of all steps [steps], and the learner afterwards; the same batches ten times."""
    try:
        made = learner(make_devices(precision=precision), steps=STEPS)
        run, losses = step.compile_steps(made), []
        for _ in range(STEPS // DISTINCT):
            losses.append(run(batches(DISTINCT), DISTINCT).numpy()[:, 0])
    finally:
        keras.config.set_dtype_policy("float32")
    return made, np.concatenate(losses)


@pytest.fixture(scope="module")
def both():
    return {precision: trained(precision) for precision in ("float32", "mixed_bfloat16")}


def test_the_loss_falls_alike(both):
    """Means of 20 steps within 5%, and of the last 100 steps within 2%."""
    exact, rounded = (losses for _, losses in both.values())
    assert exact[-DISTINCT:].mean() < 0.8 * exact[:DISTINCT].mean()
    assert not np.array_equal(exact, rounded)
    passes = [losses.reshape(-1, DISTINCT).mean(axis=1) for losses in (exact, rounded)]
    np.testing.assert_allclose(passes[1], passes[0], rtol=0.05)
    assert rounded[-100:].mean() == pytest.approx(exact[-100:].mean(), rel=0.02)


def test_a_saved_bfloat16_model_loads_and_has_float32_weights(both, tmp_path):
    made, _ = both["mixed_bfloat16"]
    path = tmp_path / "model.keras"
    names = tuple(map(str, range(CLASSES)))
    model_file.save_model(made.average_model, path, names, SPEC)
    loaded, _ = model_file.load_model(path)
    assert {weight.dtype for weight in loaded.weights} == {"float32"}
    for ours, theirs in zip(made.average_model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
