"""Networks of others meet the contract: RGB 0..255 to one logit per class."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student import card, config, networks
from noisy_student.artifacts import foreign
from noisy_student.config import derived, schema
from noisy_student.networks import architectures, contract
from tests.helpers import foreign_models
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.foreign_models import CLASSES, SIDE

IMAGES = tiny.pictures(3)
MOMENTUM = {"batch_norm_momentum": 0.9}
FUNCTION = "tests.helpers.foreign_models:self_scaling_cnn"


def build(name, classes=4, size=SIDE, **arguments):
    return networks.get(name).build(classes, size, MOMENTUM | arguments)


@pytest.mark.parametrize("name", ["keras:MobileNetV3Small", FUNCTION])
def test_equal_networks_have_equal_names(name):
    """The paths of weights and the saved bytes depend on no other model of the process."""
    first, second = (build(name, width=0.25) for _ in range(2))
    assert [w.path for w in first.weights] == [w.path for w in second.weights]
    assert first.output_shape == (None, 4)
    norms = [
        layer
        for layer in contract.layers_of(first)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {norm.momentum for norm in norms} == {0.9}  # 0.999 and 0.99 by default


def test_a_width_is_the_alpha_of_a_network_that_has_one():
    wide, narrow = (build("keras:MobileNetV3Small", width=width) for width in (0.5, 0.25))
    assert wide.count_params() > 1.5 * narrow.count_params()
    assert "width" not in networks.get("keras:MobileNetV3Small").unused
    assert "width" in networks.get("keras:ResNet50").unused


# One network of each module of keras.applications.
APPLICATIONS = {f.__module__: name for name, f in architectures._applications().items()}


@pytest.mark.parametrize("name", list(APPLICATIONS.values()))
def test_pixels_are_preprocessed_as_keras_does(name):
    function = getattr(keras.applications, name)
    images = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(images, architectures._preprocessed(function, images))
    pixels = IMAGES.astype("float32")
    module = __import__(function.__module__, fromlist=["preprocess_input"])
    np.testing.assert_allclose(
        model(pixels), module.preprocess_input(pixels.copy()), rtol=1e-5, atol=2e-5
    )


def softmax_function(num_classes, image_size):
    keras.utils.set_random_seed(5)
    return foreign_models.mobilenet(num_classes, image_size)


def test_a_softmax_at_the_end_is_taken_off():
    name = networks.register(softmax_function)
    expected = softmax_function(4, SIDE).predict(IMAGES.astype("float32"), verbose=0)
    logits = build(name)(IMAGES)
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-6)


def test_a_file_keeps_its_weights_and_the_range_of_its_card(tmp_path):
    keras.utils.set_random_seed(6)
    model = foreign_models.cnn()
    model.save(tmp_path / "net.keras")
    settings = config.Config(class_names=CLASSES, input_range="0..1", crop_padding=0)
    groups = settings.group(schema.ForeignModelConfig), settings.group(schema.FramingConfig)
    card.run(tmp_path / "net.keras", foreign.Description(*groups), tmp_path / "net.keras")
    expected = model.predict(IMAGES / np.float32(255), verbose=0)
    logits = build(str(tmp_path / "net.keras"))(IMAGES)
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, atol=1e-6)


def none(num_classes, image_size):
    return None


def broken(num_classes, image_size):
    raise KeyError("no such layer")


def relu(num_classes, image_size):
    return foreign_models.cnn(num_classes, image_size, "relu")


def hidden_softmax(num_classes, image_size):
    model = foreign_models.cnn(num_classes, image_size, None)
    return keras.Model(model.inputs, keras.ops.softmax(model.outputs[0]))


def one_less(num_classes, image_size):
    return foreign_models.cnn(num_classes - 1, image_size)


def feature_map(num_classes, image_size):
    return keras.Sequential([keras.Input((image_size, image_size, 3)), keras.layers.Conv2D(4, 3)])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet50", "unknown network resnet50"),
        ("keras:ResNet51", "unknown network keras:ResNet51.*ResNet50"),
        ("no_such_module:net", "No module named 'no_such_module'"),
        ("tests.helpers.foreign_models:net", "has no function net"),
        ("none.keras", "none.keras: no such file"),
        ("keras:MobileNetV3Small", "Input size must be at least 32x32"),
        (none, "not a keras.Model, but a NoneType"),
        (broken, "no such layer"),
        (relu, "ends in relu: return logits"),
        (hidden_softmax, "softmax"),
        (one_less, r"output shape is \(None, 3\) for 4 classes"),
        (feature_map, r"output shape is \(None, 14, 14, 4\) for 4 classes"),
    ],
)
def test_what_does_not_fit_is_one_sentence_with_the_name(network, message):
    name = networks.register(network) if callable(network) else network
    with pytest.raises(ValueError, match=message) as caught:
        build(name, size=16)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_for_other_sizes_is_refused(tmp_path):
    foreign_models.cnn().save(tmp_path / "net.keras")
    with pytest.raises(ValueError, match=r"net.keras.*\(None, 32, 32, 3\)"):
        build(str(tmp_path / "net.keras"), size=48)


def test_the_cost_is_counted_over_the_layers():
    """The CNN has convolutions of stride 2 without padding: 15x15x8, then 7x7x16, then 4 logits."""
    cost = networks.cost(build(FUNCTION))
    first, second, last = 9 * 3 * 8 * 15**2, 9 * 8 * 16 * 7**2, 16 * 4
    assert cost.multiply_adds == first + second + last and cost.layers == 3
    assert cost.parameters == (9 * 3 * 8 + 8) + 2 * 8 + (9 * 8 * 16 + 16) + (16 * 4 + 4)
    assert cost.statistics == 2 * 8


def test_an_identity_follows_the_content(tmp_path):
    def identity(name):
        return networks.get(name).identity(lambda: build(name))

    assert identity("keras:MobileNetV3Small") == "keras:MobileNetV3Small"
    assert identity(FUNCTION) == identity(FUNCTION)
    assert identity(FUNCTION) != identity(networks.register(one_more_layer)).replace(
        networks.register(one_more_layer), FUNCTION
    )
    for name in ("a", "b"):
        (tmp_path / f"{name}.keras").write_text(name)
    one, other = (networks.get(str(tmp_path / f"{n}.keras")).identity(None) for n in "ab")
    assert one != other


def one_more_layer(num_classes, image_size):
    model = foreign_models.self_scaling_cnn(num_classes, image_size)
    return keras.Sequential([model, keras.layers.Dense(num_classes)])


def of_activation(activation, rate=0.2):
    """A network whose layers have the same names and shapes with any activation and dropout."""

    def function(num_classes, image_size):
        images = keras.Input((image_size, image_size, 3))
        x = keras.layers.RandomFlip()(keras.layers.Rescaling(1 / 255)(images))
        x = keras.layers.Conv2D(4, 3, activation=activation)(x)
        x = keras.layers.Dropout(rate)(keras.layers.GlobalAveragePooling2D()(x))
        return keras.Model(images, keras.layers.Dense(num_classes)(x))

    return networks.register(function)


def test_all_settings_of_a_functions_layers_count():
    """A finished training is not taken for one of an edited function."""

    def found(*arguments):
        name = of_activation(*arguments)
        model = config.ModelConfig(name=name, width=None, depth=None, image_size=8)
        return derived.identity(model, 3), derived.settings_hash(model, 3)

    first, again, other, rate = found("relu"), found("relu"), found("gelu"), found("relu", 0.3)
    assert first == again
    assert first[0] == other[0] and len({first[1], other[1], rate[1]}) == 3
    assert derived.settings_hash(config.Config().teacher.model, 3) is None


def test_a_file_that_does_not_tell_its_range_is_named(tmp_path, caplog):
    silent, card_path, scaled = (tmp_path / f"{n}.keras" for n in ("silent", "card", "scaled"))
    foreign_models.cnn().save(silent)
    foreign_models.self_scaling_cnn(4, SIDE).save(scaled)
    settings = config.Config(class_names=CLASSES, input_range="0..255", crop_padding=0)
    groups = settings.group(schema.ForeignModelConfig), settings.group(schema.FramingConfig)
    card.run(silent, foreign.Description(*groups), card_path)
    names = [str(path) for path in (silent, card_path, scaled)]
    trainings = [config.Config(teacher_name=name, image_size=16).teacher for name in names]
    derived.warn_of_ranges(trainings)
    assert [name in caplog.text for name in names] == [True, False, False]
