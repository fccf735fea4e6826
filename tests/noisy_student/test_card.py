"""A card makes a model of others one of ours: it labels, predicts and is exported."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from data.preprocess import PreprocessSpec
from noisy_student import card, config, export, networks, pseudo_label
from noisy_student.artifacts import foreign, model_file, predictions
from noisy_student.config import schema
from noisy_student.runtime.devices import Devices
from tests.helpers import foreign_models
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.foreign_models import CLASSES, SIDE


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return foreign_models.confident(foreign_models.cnn())


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def write(path, output=None, **options):
    options = {"class_names": CLASSES, "crop_padding": 0, "input_range": "0..1"} | options
    settings = config.Config(**options)
    groups = settings.group(schema.ForeignModelConfig), settings.group(schema.FramingConfig)
    return card.run(path, foreign.Description(*groups), output).path


def test_the_copy_has_the_model_and_a_card(model, path):
    before = path.read_bytes()
    written = write(path)
    assert written == path.with_name("net-card.keras") and path.read_bytes() == before
    loaded, content = model_file.load_model(written)
    assert content == {
        "class_names": CLASSES,
        "preprocess": PreprocessSpec(SIDE, crop_padding=0, interpolation="bilinear"),
        "input_range": "0..1",
        "outputs": "softmax",
    }
    images = tiny.pictures(5)
    expected = model.predict(images / np.float32(255), verbose=0)
    np.testing.assert_allclose(tf.nn.softmax(loaded(images)), expected, atol=2e-6)
    plain = keras.saving.load_model(written)  # Keras sees no difference
    np.testing.assert_array_equal(plain(images / np.float32(255)), model(images / np.float32(255)))


def test_in_place_a_card_may_be_replaced(path):
    assert write(path, path) == path
    write(path, path, input_range="-1..1", crop_padding=4, interpolation="bicubic")
    content = model_file.read_card(path)
    assert content["input_range"] == "-1..1"
    assert content["preprocess"] == PreprocessSpec(SIDE, crop_padding=4, interpolation="bicubic")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist().count("card.json") == 1


def test_pseudo_labels_are_the_probabilities_of_predict(model, path, tmp_path):
    made = foreign_models.examples(10)
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    stored_as = config.LabelConfig(probabilities_dtype="float32")
    teacher = pseudo_label.Teacher(write(path), devices, 4, stored_as)
    pseudo_label.run(teacher, made, tmp_path / "labels")
    files = predictions.shard_files(tmp_path / "labels")
    (stored,) = predictions.read(files, ["index", "probabilities"])
    expected = model.predict(made.images / np.float32(255), verbose=0)
    found = stored["probabilities"][np.argsort(stored["index"])]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.max() > 0.9  # a softmax of probabilities would be at most 0.475


def test_an_export_has_the_contract_of_all_exports(model, path, tmp_path):
    written = write(path)
    for name in ("saved_model", "tflite"):
        assert export.run(written, tmp_path / f"exported{name}", name) < 1e-5
    loaded = tf.saved_model.load(str(tmp_path / "exportedsaved_model"))
    images = tiny.pictures(3)
    found = loaded.signatures["serving_default"](images=tf.constant(images))["probabilities"]
    expected = model.predict(images / np.float32(255), verbose=0)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    content = json.loads((tmp_path / "exportedsaved_model.json").read_text())
    assert content["outputs"] == "softmax"  # of the export, whatever the model itself has


def test_a_network_in_mixed_precision_is_exported_in_float32(tmp_path):
    """Layers within other models change their precision, too."""
    network = networks.get("tests.helpers.foreign_models:self_scaling_cnn")
    built = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            keras.utils.set_random_seed(4)
            built[policy] = network.build(4, SIDE, {"batch_norm_momentum": 0.9})
        finally:
            keras.config.set_dtype_policy("float32")
        foreign_models.confident(built[policy], 1.0, 10)
    built["mixed_bfloat16"].set_weights(built["float32"].get_weights())
    spec = PreprocessSpec(SIDE, small_image=True)
    model_file.save_model(built["mixed_bfloat16"], tmp_path / "mixed.keras", CLASSES, spec)
    assert export.run(tmp_path / "mixed.keras", tmp_path / "exported", "saved_model") < 1e-5
    serve = tf.saved_model.load(str(tmp_path / "exported")).signatures["serving_default"]
    images = tiny.pictures(3)
    found = serve(images=tf.constant(images))["probabilities"]
    plain, mixed = (built[name](images).numpy() for name in built)
    np.testing.assert_allclose(found, tf.nn.softmax(plain), atol=1e-5)
    assert np.abs(mixed - plain).max() > 1e-3  # in bfloat16: so that this can fail


def test_other_files_are_refused(path, tmp_path):
    ours = tiny.save_models(tmp_path)["wnids"]
    (tmp_path / "taken.keras").write_text("")
    for file, output, message in (
        (ours, None, "has a card"),
        (tmp_path / "none.keras", None, "must be a .keras file"),
        (tmp_path, None, "SavedModels"),
        (path, tmp_path / "taken.keras", "already exists"),
        (path, tmp_path / "net.h5", "must end in .keras"),
    ):
        with pytest.raises(ValueError, match=message):
            write(file, output)
