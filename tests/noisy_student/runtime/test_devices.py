import keras
import pytest
import tensorflow as tf

from noisy_student.api import process
from noisy_student.runtime.devices import make_devices


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


def test_threads_stay_where_tensorflow_has_run(caplog):
    """A notebook may have used TensorFlow before: one warning, and no exception."""
    tf.constant(1) + 1
    before = tf.config.threading.get_intra_op_parallelism_threads()
    make_devices(intra_op_threads=before + 3)
    assert f"--intra_op_threads={before + 3} has no effect" in caplog.text
    assert tf.config.threading.get_intra_op_parallelism_threads() == before
    caplog.clear()
    make_devices(intra_op_threads=before)
    assert not caplog.text


def test_settings_of_keras_json_change_no_network():
    """With channels first, a network would take rows for channels."""
    with process.kept():
        keras.config.set_image_data_format("channels_first")
        keras.config.set_floatx("float64")
        with process.kept():
            make_devices()
            assert keras.layers.Conv2D(1, 1).data_format == "channels_last"
            assert keras.Input((2,)).dtype == "float32"
        assert keras.config.image_data_format() == "channels_first"
        assert keras.config.floatx() == "float64"
    assert (keras.config.image_data_format(), keras.config.floatx()) == ("channels_last", "float32")
