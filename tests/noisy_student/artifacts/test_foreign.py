"""Models without a card give the probabilities that they give elsewhere, or are refused."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student import config
from noisy_student.artifacts import foreign
from noisy_student.config import schema
from tests.helpers import foreign_models
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.foreign_models import CLASSES, SIDE

IMAGES = tiny.pictures(6)


def open_model(path, **options):
    options = {"class_names": CLASSES, "crop_padding": 0} | options
    settings = config.Config(**options)
    groups = settings.group(schema.ForeignModelConfig), settings.group(schema.FramingConfig)
    return foreign.open_model(path, foreign.Description(*groups))


def save(model, folder, name="model.keras"):
    model.save(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def cnn():
    keras.utils.set_random_seed(0)
    return foreign_models.confident(foreign_models.cnn())


@pytest.mark.parametrize("input_range", ["0..255", "0..1", "-1..1"])
@pytest.mark.parametrize("activation", ["softmax", None])
def test_probabilities_are_those_of_predict(input_range, activation, tmp_path):
    keras.utils.set_random_seed(1)
    model = foreign_models.confident(foreign_models.cnn(activation=activation), factor=3)
    pixels = {
        "0..255": IMAGES.astype("float32"),
        "0..1": IMAGES / np.float32(255),
        "-1..1": IMAGES / np.float32(127.5) - 1,
    }[input_range]
    expected = model.predict(pixels, verbose=0)
    opened = open_model(save(model, tmp_path), input_range=input_range)
    assert opened.card["outputs"] == (activation or "logits")
    logits = opened.model(IMAGES).numpy()
    if activation:
        np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=2e-6)
    else:
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert opened.has_gradients


def endings():
    """Yields models that end in a softmax in every way, and whether it can be taken off."""
    dense = keras.layers.Dense
    flat = [keras.Input((SIDE, SIDE, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    yield keras.Sequential([*flat, dense(4, activation="softmax")]), True
    yield keras.Sequential([*flat, dense(4), keras.layers.Activation("softmax")]), True
    yield keras.Sequential([*flat, dense(4), keras.layers.Softmax()]), True
    inner = keras.Sequential([*flat, dense(4, activation="softmax")])
    images = keras.Input((SIDE, SIDE, 3))
    yield keras.Model(images, inner(images)), True
    x = dense(4)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images)))
    yield keras.Model(images, keras.ops.softmax(x)), False
    yield keras.Model(images, keras.layers.Identity()(keras.ops.softmax(x))), False


@pytest.mark.parametrize("number", range(6))
def test_a_softmax_is_taken_off_or_undone_by_a_logarithm(number, tmp_path):
    """Logits of -80 survive where the softmax is taken off; its logarithm ends at 1e-30."""
    keras.utils.set_random_seed(2)
    model, found = list(endings())[number]
    model.weights[0].assign(model.weights[0] * 40)
    expected = model.predict(IMAGES.astype("float32"), verbose=0)
    opened = open_model(save(model, tmp_path))
    logits = opened.model(IMAGES).numpy()
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-5)
    assert (logits.max() > 1) == found
    assert opened.card["input_range"] == "0..255"


def test_saved_models_are_called_by_signature(cnn, tmp_path):
    expected = cnn.predict(IMAGES / np.float32(255), verbose=0)
    cnn.export(tmp_path / "exported", verbose=False)
    opened = open_model(tmp_path / "exported", input_range="0..1")
    np.testing.assert_allclose(tf.nn.softmax(opened.model(IMAGES)), expected, atol=2e-6)
    assert opened.has_gradients and opened.card["outputs"] == "softmax"


class Reusable(tf.Module):
    """The layout of TF-Hub's reusable SavedModels: a callable without signatures."""

    def __init__(self, model):
        super().__init__()
        self.variables_of_model = [v.value for v in model.variables]
        self._model = [lambda images: model(images, training=False)]

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3])])
    def __call__(self, images):
        return self._model[0](images)


def test_folders_of_tf_hub_are_called(cnn, tmp_path):
    expected = cnn.predict(IMAGES / np.float32(255), verbose=0)
    tf.saved_model.save(Reusable(cnn), str(tmp_path / "hub"))
    opened = open_model(tmp_path / "hub", input_range="0..1", image_size=SIDE)
    np.testing.assert_allclose(tf.nn.softmax(opened.model(IMAGES)), expected, atol=2e-6)


def test_whole_numbers_are_rounded_and_have_no_gradient(cnn, tmp_path):
    signature = [tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8)]
    archive = keras.export.ExportArchive()
    archive.track(cnn)
    archive.add_endpoint("serving_default", lambda x: cnn(tf.cast(x, "float32") / 255), signature)
    archive.write_out(str(tmp_path / "bytes"), verbose=False)
    opened = open_model(tmp_path / "bytes")
    expected = cnn.predict(IMAGES / np.float32(255), verbose=0)
    np.testing.assert_allclose(tf.nn.softmax(opened.model(IMAGES - 0.4)), expected, atol=2e-6)
    assert opened.card["input_range"] == "0..255" and not opened.has_gradients


def refusals(folder):
    """Yields paths, options, and what the message must name."""
    keras.utils.set_random_seed(3)
    fine = save(foreign_models.cnn(), folder, "fine.keras")
    yield fine, {}, "--input_range"
    yield fine, {"input_range": "0..1", "class_names": None}, "--class_names"
    yield fine, {"input_range": "0..1", "class_names": ("a", "b")}, "4.*2 classes"
    yield fine, {"input_range": "0..1", "class_names": ("a", "b", "a", "c")}, "'a' is given twice"
    yield fine, {"input_range": "0..1", "class_names": ("none.txt",)}, "none.txt.*no such file"
    yield fine, {"input_range": "0..1", "image_size": 64}, "image_size=64.*32x32"
    logits = save(foreign_models.cnn(activation=None), folder, "logits.keras")
    yield logits, {"input_range": "0..1", "outputs": "softmax"}, "sum to 1"
    sigmoid = save(foreign_models.cnn(activation="sigmoid"), folder, "sigmoid.keras")
    yield sigmoid, {"input_range": "0..1"}, "sigmoid"
    gray = keras.Sequential([keras.Input((SIDE, SIDE, 1)), keras.layers.Flatten()])
    yield save(gray, folder, "gray.keras"), {"input_range": "0..1"}, "not square RGB"
    (folder / "empty").mkdir()
    yield folder / "empty", {"input_range": "0..1"}, "saved_model.pb"
    free = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
    )
    yield save(free, folder, "free.keras"), {"input_range": "0..1"}, "--image_size"
    code = keras.layers.Lambda(lambda pixels: pixels / 255)
    code = keras.Sequential([keras.Input((SIDE, SIDE, 3)), code, keras.layers.Flatten()])
    with warnings.catch_warnings(action="ignore"):
        yield save(code, folder, "code.keras"), {}, "Lambda layer .*registered layer"


def test_what_is_missing_or_does_not_fit_is_one_sentence(tmp_path):
    for path, options, message in refusals(tmp_path):
        with pytest.raises(ValueError, match=message) as caught:
            open_model(path, **options)
        assert "\n" not in str(caught.value)


def test_class_names_come_from_a_file_or_are_those_of_imagenet(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\nhot dog\n")
    assert foreign.class_names([str(tmp_path / "classes.txt")], "m") == ("cat", "hot dog")
    names = foreign.class_names(["imagenet"], "m")
    assert len(names) == 1000 and names[0] == "n01440764"
