import json
import re
import zipfile

import keras
import numpy as np
import pytest

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student.artifacts import model_file

SPEC = PreprocessSpec(image_size=32, small_image=True)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    return efficientnet.build_model(
        "efficientnet-b0", num_classes=3, small_image=True, width=0.1, depth=0.1
    )


def test_model_and_card_come_back(model, tmp_path):
    path = tmp_path / "model.keras"
    model_file.save_model(model, path, ("a", "b", "c"), SPEC, step=7)
    loaded, card = model_file.load_model(path)
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
        model_file.save_model(build, tmp_path / f"{name}.keras", ("a", "b", "c"), SPEC)
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_files_that_are_no_saved_model_are_named(model, tmp_path):
    with pytest.raises(ValueError, match="none.keras does not exist"):
        model_file.load_model(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("no archive")
    with pytest.raises(ValueError, match="text.keras .*not a .keras file"):
        model_file.load_model(tmp_path / "text.keras")
    model.save(tmp_path / "plain.keras")
    with pytest.raises(ValueError, match="plain.keras is a Keras model without card.json"):
        model_file.load_model(tmp_path / "plain.keras")


@pytest.mark.parametrize("given", ["", "round1/student", "round1/student/best.keras"])
def test_what_is_no_model_names_the_models_that_are_there(tmp_path, given):
    model = tmp_path / "round1" / "student" / "model.keras"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    for read in (model_file.read_card, model_file.load_model):
        with pytest.raises(ValueError, match=re.escape(f"There: {model}.")) as error:
            read(tmp_path / given)
    assert ("validation images" in str(error.value)) == given.endswith("best.keras")


def test_the_archive_carries_no_dates(model, tmp_path):
    model_file.save_model(model, tmp_path / "model.keras", ("a", "b", "c"), SPEC)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
        assert b"date_saved" not in archive.read("metadata.json")


def tiny(classes: int, seed: int, **arguments) -> keras.Model:
    keras.utils.set_random_seed(seed)
    arguments = {"small_image": True, "width": 0.1, "depth": 0.1} | arguments
    return efficientnet.build_model("efficientnet-b0", classes, **arguments)


def test_training_starts_from_a_saved_model_with_its_classes_in_other_order(tmp_path):
    source = tiny(3, 0, normalization="svhn")
    model_file.save_model(source, tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    model = tiny(2, 1)
    message = model_file.start_from(model, tmp_path / "m.keras", ("c", "a"), SPEC)
    assert "with its classifier" in message
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    expected = np.asarray(source(images))[:, [2, 0]]
    np.testing.assert_allclose(model(images), expected, rtol=1e-6, atol=1e-7)


def test_training_starts_with_a_classifier_of_zeros_for_other_classes(tmp_path):
    """Gives every class the probability 1/2 before the first step."""
    source = tiny(3, 0)
    model_file.save_model(source, tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    model = tiny(2, 1)
    model.get_layer("head_dense").bias.assign([1.0, 2.0])
    assert "new classifier" in model_file.start_from(model, tmp_path / "m.keras", ("a", "z"), SPEC)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(model(images), np.zeros((4, 2)))
    np.testing.assert_array_equal(
        model.get_layer("head_conv").kernel, source.get_layer("head_conv").kernel
    )


def test_training_refuses_to_start_from_other_layers(tmp_path):
    model_file.save_model(tiny(3, 0, width=0.5), tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    with pytest.raises(ValueError, match=r"stem_conv/kernel .* instead of"):
        model_file.start_from(tiny(3, 0), tmp_path / "m.keras", ("a", "b", "c"), SPEC)


def test_differences_of_preprocessing_are_reported(tmp_path):
    model_file.save_model(tiny(3, 0), tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    message = [
        model_file.start_from(tiny(3, 1), tmp_path / "m.keras", ("a", "b", "c"), spec)
        for spec in (SPEC, PreprocessSpec(image_size=48))
    ]
    assert "image_size" not in message[0]
    assert message[1].endswith(": image_size 32 instead of 48, small_image True instead of False")


def test_other_strides_are_reported(tmp_path):
    """The weights fit; the feature maps are larger."""
    model_file.save_model(tiny(3, 0), tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    model = tiny(3, 1, strides=(1, 1, 2, 1, 2, 1, 2, 1))
    message = model_file.start_from(model, tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    differences = message.partition("strides differ: ")[2]
    assert differences == "stem_conv 2 instead of 1, blocks_1 1 instead of 2"


def test_other_padding_and_enlarging_are_reported(tmp_path):
    stored = PreprocessSpec(32, crop_padding=0)
    model_file.save_model(tiny(3, 0), tmp_path / "m.keras", ("a", "b", "c"), stored)
    used = PreprocessSpec(32, enlarge=True)
    message = model_file.start_from(tiny(3, 1), tmp_path / "m.keras", ("a", "b", "c"), used)
    assert "crop_padding 0 instead of 32" in message and "enlarge False instead of True" in message


def rewritten(path, target, **members):
    """A copy of a model file with other members; a function gets the old content as JSON."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content, change = source.read(name), members.get(name.partition(".")[0])
            if change is not None:
                content = (
                    change if isinstance(change, str) else json.dumps(change(json.loads(content)))
                )
            archive.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda card: [], "it is not an object"),
        (lambda card: {}, "class_names is missing"),
        (lambda card: card | {"class_names": "abc"}, "class_names is not a list"),
        (lambda card: card | {"class_names": ["a", "b", 3]}, r"class_names\[2\] is not text"),
        (lambda card: card | {"class_names": ["a", "b", "a"]}, "class_names lists 'a' twice"),
        (lambda card: card | {"class_names": ["a", "b"]}, "3 logits.* 2 classes"),
        (lambda card: card | {"round": "1"}, "round is not a whole number"),
        (lambda card: card | {"preprocess": None}, "preprocess is not an object"),
        (lambda card: card | {"preprocess": {}}, "image_size is missing"),
        (lambda card: card | {"preprocess": {"image_size": 1.5}}, "image_size is not a whole"),
        (lambda card: card | {"preprocess": {"image_size": 10**9}}, "image_size is 1000000000"),
        (lambda card: card | {"preprocess": {"image_size": 32, "pixels": "x"}}, "pixels 'x'"),
        ("{", "it cannot be read"),
        ("[" * 100_000, "it cannot be read"),
    ],
)
def test_a_hostile_card_is_named(model, tmp_path, change, named):
    model_file.save_model(model, tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    path = rewritten(tmp_path / "m.keras", tmp_path / "other.keras", card=change)
    with pytest.raises(ValueError, match=f"{path} .*{named}") as error:
        model_file.load_model(path)
    assert "\n" not in str(error.value)


def nested(depth: int) -> dict:
    layer = {"class_name": "Dense", "config": {}, "module": "keras.layers"}
    for _ in range(depth):
        layer = {"class_name": "TimeDistributed", "config": {"layer": layer}}
    return layer


def with_layer(name, **changes):
    """Changes the configuration of a layer."""

    def change(content):
        for layer in content["config"]["layers"]:
            if layer["config"]["name"] == name:
                layer["config"] |= changes
        return content

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [],
        lambda content: {"class_name": 3, "config": "x"},
        lambda content: {**content, "module": "os", "class_name": "system"},
        lambda content: nested(300),
        "{" * 5,
        '{"a":' * 100_000,
        with_layer("head_dense", units="many"),
        with_layer("head_dense", units=-1),
        with_layer("head_dense", units=10**12),
        with_layer("head_conv", filters=10**9),
        with_layer("head_dense", units=4),
        with_layer("stem_conv", kernel_size=[10**5, 10**5]),
    ],
)
def test_a_hostile_configuration_is_named(model, tmp_path, change):
    model_file.save_model(model, tmp_path / "m.keras", ("a", "b", "c"), SPEC)
    path = rewritten(tmp_path / "m.keras", tmp_path / "other.keras", config=change)
    with pytest.raises(ValueError, match=str(path)) as error:
        model_file.load_model(path)
    assert "\n" not in str(error.value)
