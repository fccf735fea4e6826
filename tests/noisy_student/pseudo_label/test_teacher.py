"""The calibration of a teacher."""

import numpy as np
import pytest
import tensorflow as tf

from noisy_student import pseudo_label
from noisy_student.artifacts import model_file, predictions
from noisy_student.artifacts.files import read_json, write_json
from noisy_student.pseudo_label.teacher import CALIBRATION
from tests.helpers.toy_batches import textured
from tests.helpers.toy_teacher import COUNT, teacher


def test_calibration_is_fitted_once_and_applied(tmp_path, model_path):
    examples, validation = textured(COUNT), textured(30)
    settings = {"calibrate": True, "probabilities_dtype": "float32"}

    def run(validation=None, **arguments):
        calibrated = teacher(model_path, validation, **settings)
        return pseudo_label.run(calibrated, examples, tmp_path, num_shards=2, **arguments)

    with pytest.raises(ValueError, match="needs validation images"):
        run()
    assert run(validation=validation, shard_index=1) is None
    fitted = read_json(tmp_path / CALIBRATION)
    write_json(tmp_path / CALIBRATION, fitted | {"temperature": 2.5})
    done = run(validation=validation)  # goes by the file, and makes shard 1 anew
    assert done["calibration"]["temperature"] == 2.5
    assert done["calibration"]["after"]["loss"] <= done["calibration"]["before"]["loss"]
    (found,) = predictions.read([tmp_path / sorted(done["predictions"])[1]], ["probabilities"])
    logits = model_file.load_model(model_path)[0](examples.images.astype(np.float32))
    expected = tf.nn.softmax(logits / 2.5).numpy()[20:]
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
