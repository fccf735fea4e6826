import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student import checkpoint

SPEC = PreprocessSpec(image_size=32, small_image=True)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return efficientnet.build_model(
        "efficientnet-b0", num_classes=3, small_image=True, width=0.1, depth=0.1
    )


def test_model_and_card_come_back(model, tmp_path):
    path = tmp_path / "model.keras"
    checkpoint.save_model(model, path, ("a", "b", "c"), SPEC, step=7)
    loaded, card = checkpoint.load_model(path)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model(images), loaded(images))
    assert card == {"class_names": ("a", "b", "c"), "preprocess": SPEC, "step": 7}
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_same_weights_are_the_same_bytes(model, tmp_path):
    twin = efficientnet.build_model(
        "efficientnet-b0", num_classes=3, small_image=True, width=0.1, depth=0.1
    )
    twin.set_weights(model.get_weights())
    for name, build in (("one", model), ("two", twin)):
        checkpoint.save_model(build, tmp_path / f"{name}.keras", ("a", "b", "c"), SPEC)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_files_that_are_no_saved_model_are_named(model, tmp_path):
    with pytest.raises(ValueError, match="none.keras does not exist"):
        checkpoint.load_model(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(ValueError, match="text.keras is not a .keras file"):
        checkpoint.load_model(tmp_path / "text.keras")
    model.save(tmp_path / "plain.keras")
    with pytest.raises(ValueError, match="plain.keras is a Keras model without card.json"):
        checkpoint.load_model(tmp_path / "plain.keras")


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    value = tf.Variable(0.0)
    state = checkpoint.TrainingState(tmp_path, value=value)
    assert state.restore() is None
    for step in (1, 2):
        value.assign(float(step))
        state.save(step)
    (damaged,) = (tmp_path / "checkpoints").glob("ckpt-2.data*")
    damaged.write_bytes(damaged.read_bytes()[:-8])
    value.assign(9.0)
    assert state.restore().endswith("ckpt-1")
    assert value.numpy() == 1.0
    state.remove()
    assert not (tmp_path / "checkpoints").exists()


def test_the_archive_carries_no_dates(model, tmp_path):
    checkpoint.save_model(model, tmp_path / "model.keras", ("a", "b", "c"), SPEC)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
        assert b"date_saved" not in archive.read("metadata.json")
