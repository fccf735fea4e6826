import json
import subprocess
import sys

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student import export, export_formats, predict
from noisy_student.artifacts import model_file
from noisy_student.runtime.devices import make_devices
from tests.helpers import small_export
from tests.helpers.small_export import CLASSES


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return small_export.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return small_export.save_photos(tmp_path_factory.mktemp("photos"), ("a.jpg", "b.png"))


@pytest.mark.parametrize("export_format", list(export.FORMATS))
def test_exported_model_gives_the_same_probabilities(export_format, model_path, photos, tmp_path):
    output = tmp_path / f"exported{export.FORMATS[export_format]}"
    difference = export.run(model_path, output, export_format, sorted(photos.iterdir()))
    assert difference < 1e-5
    card = json.loads((tmp_path / f"{output.name}.json").read_text())
    assert card["class_names"] == list(CLASSES)
    assert card["preprocess"]["image_size"] == 64
    with pytest.raises(ValueError, match="exists already"):
        export.run(model_path, output, export_format)


@small_export.formats("tflite")
def test_a_mixed_precision_model_is_exported_in_float32(export_format, tmp_path):
    """The logits of the export are those of a float32 model with the weights of the saved one."""
    arguments = {"width": 0.25, "depth": 0.3}
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        keras.utils.set_random_seed(1)
        mixed = efficientnet.build_model("efficientnet-b0", 3, **arguments)
    finally:
        keras.config.set_dtype_policy("float32")
    head = mixed.get_layer("head_dense")
    head.kernel.assign(head.kernel * 1e5)
    path, output = tmp_path / "mixed.keras", tmp_path / f"model{export.FORMATS[export_format]}"
    model_file.save_model(mixed, path, CLASSES, PreprocessSpec(image_size=32))
    assert model_file.load_model(path)[0].get_layer("blocks_1").compute_dtype == "bfloat16"
    export.run(path, output, export_format)
    plain = efficientnet.build_model("efficientnet-b0", 3, **arguments)
    plain.set_weights(mixed.get_weights())
    images = np.random.default_rng(5).integers(0, 256, (2, 32, 32, 3), np.uint8)
    table = export_formats.BACKENDS[export_format][1](output)(images)
    exported = tf.nn.log_softmax(table).numpy() if export_format == "keras" else np.log(table)
    logits = np.asarray(plain(images))
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(exported, expected, atol=1e-3)
    rounded = np.asarray(mixed(images))  # in bfloat16: other logits, so that this can fail
    assert np.abs(rounded - logits).max() > 0.01


@small_export.formats("tflite", "keras")
def test_a_failed_export_leaves_nothing(export_format, model_path, tmp_path, monkeypatch):
    monkeypatch.setitem(export._TOLERANCES, "none", -1.0)
    output = tmp_path / "x" / f"model{export.FORMATS[export_format]}"
    with pytest.raises(ValueError, match=f"--format={export_format} of .*model.keras differs"):
        export.run(model_path, output, export_format)

    def breaks(job, path, card):
        path.write_bytes(b"half a model")
        raise RuntimeError("first line\n" + 1000 * "second line\n")

    load = export_formats.BACKENDS[export_format][1]
    monkeypatch.setitem(export_formats.BACKENDS, export_format, (breaks, load))
    with pytest.raises(ValueError, match="--format=.* efficientnet-b0: first line$"):
        export.run(model_path, output, export_format)
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_what_a_killed_export_left_does_not_block_the_next(suffix, model_path, tmp_path):
    output = tmp_path / f"model{suffix}"
    output.write_bytes(b"half a model")
    export.run(model_path, output, suffix[1:])
    written = output.read_bytes()
    assert len(written) > 10_000 and (tmp_path / f"model{suffix}.json").exists()
    with pytest.raises(ValueError, match=f"--output={output} exists already"):
        export.run(model_path, output, suffix[1:])
    other = tmp_path / "notes.txt"
    other.write_text("not a model, and none of ours")
    with pytest.raises(ValueError, match=f"--output={other} exists already"):
        export.run(model_path, other, suffix[1:])
    assert output.read_bytes() == written and other.read_text().startswith("not")


def test_keras_alone_opens_a_keras_export(model_path, photos, tmp_path):
    """In a process without this project; the commands read its card, and it predicts the same."""
    output, images = tmp_path / "plain.keras", tmp_path / "images.npy"
    export.run(model_path, output, "keras")
    np.save(images, np.random.default_rng(3).integers(0, 256, (5, 64, 64, 3), np.uint8))
    code = f"""
import sys, keras, numpy as np
model = keras.models.load_model({str(output)!r})
assert not {{"data", "efficientnet", "noisy_student"}} & sys.modules.keys(), sys.path
np.save({str(tmp_path / "found.npy")!r}, model.predict(np.load({str(images)!r}), verbose=0))
"""
    subprocess.run([sys.executable, "-P", "-E", "-c", code], cwd=tmp_path, check=True)
    expected = np.asarray(model_file.load_model(model_path)[0](np.load(images)))
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01
    devices = make_devices("one", "float32", "off", 0)
    (_, before, _), (_, after, card) = (
        predict.run(path, [photos], devices) for path in (model_path, output)
    )
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert card["class_names"] == CLASSES and model_file.is_foreign(card)


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    """A layer of one's own."""

    def call(self, inputs):
        return 2 * inputs


def test_a_keras_export_holds_keras_layers_alone(model_path, tmp_path):
    images = keras.Input((64, 64, 3))
    inner = efficientnet.build_model("efficientnet-b0", 3, width=0.1, depth=0.1)
    model = keras.Model(images, Doubled()(inner(images)))
    model_file.save_model(model, tmp_path / "own.keras", CLASSES, PreprocessSpec(image_size=64))
    with pytest.raises(ValueError, match=r"--format=keras cannot hold .*Doubled$"):
        export.run(tmp_path / "own.keras", tmp_path / "x.keras", "keras")
    with pytest.raises(ValueError, match=r"x: must end in \.keras"):
        export.run(model_path, tmp_path / "x", "keras")
    (tmp_path / "y.keras").write_text("anyone's")
    with pytest.raises(ValueError, match=r"y\.keras exists already"):
        export.run(model_path, tmp_path / "y.keras", "keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.keras", "y.keras"]


def test_bad_export_format_and_image(model_path, tmp_path):
    with pytest.raises(ValueError, match="--format=caffe: must be one of saved_model"):
        export.run(model_path, tmp_path / "x", "caffe")
    (tmp_path / "x.jpg").write_text("no image")
    with pytest.raises(ValueError, match="x.jpg is not a readable image"):
        export.run(model_path, tmp_path / "y", "tflite", [tmp_path / "x.jpg"])


def test_predictions_are_the_models(model_path, photos):
    devices = make_devices("one", "float32", "off", 0)
    files, table, card = predict.run(model_path, [photos / "b.png", photos], devices)
    assert files == [str(photos / "b.png"), str(photos / "a.jpg")]
    model, _ = model_file.load_model(model_path)
    with PIL.Image.open(photos / "b.png") as image:
        pixels = np.asarray(image)
    spec = card["preprocess"]
    from data import preprocess

    logits = np.asarray(model(preprocess.eval_image(pixels, spec)[np.newaxis]))[0]
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(table[0], expected, rtol=1e-5, atol=1e-7)


def test_missing_image_is_named(model_path, tmp_path):
    devices = make_devices("one", "float32", "off", 0)
    with pytest.raises(ValueError, match="nothing.jpg does not exist"):
        predict.run(model_path, [tmp_path / "nothing.jpg"], devices)
