import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import cpu_ops, layers
from tests.helpers.marks import slow_param

SMALL = {"width": 0.25, "depth": 0.3, "num_classes": 5}


def small_model(seed=0, **arguments):
    keras.utils.set_random_seed(seed)
    return efficientnet.build_model("efficientnet-b0", **(SMALL | arguments))


def images(batch=4, size=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(batch, size, size, 3), dtype=np.uint8)


def randomize(model, seed=0):
    """Gives batch norm the statistics of a trained network, which fresh ones do not have."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return model


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


@pytest.mark.parametrize(
    ("name", "arguments", "parameters"),
    [
        ("efficientnet-b0", {}, 5288548),
        ("efficientnet-b0", {"num_classes": 10, "small_image": True}, 4020358),
        ("efficientnet-b3", {}, 12233232),
        ("efficientnet-lite0", {}, 4652008),
        slow_param("efficientnet-b7", {}, 66347960),
        slow_param("efficientnet-l2", {}, 480309308),
    ],
)
def test_trainable_parameters(name, arguments, parameters):
    model = efficientnet.build_model(name, **arguments)
    assert count(model.trainable_variables) == parameters
    assert model.name == name


@pytest.mark.parametrize("size", [224, 158])
def test_logits_equal_keras_applications(size):
    theirs = keras.applications.EfficientNetB0(
        weights=None, input_shape=(size, size, 3), classifier_activation=None
    )
    ours = randomize(efficientnet.build_model("efficientnet-b0"))
    # Their pixels are divided by 255 and normalized by a layer which knows no constants yet.
    statistics = [np.array([0.485, 0.456, 0.406]), np.square([0.229, 0.224, 0.225])]
    normalization = next(layer for layer in theirs.layers if layer.name.startswith("normalization"))
    layers_with_twin = [layer for layer in theirs.layers if layer is not normalization]
    their_variables = [variable for layer in layers_with_twin for variable in layer.weights]
    for source, target in zip(ours.variables, their_variables, strict=True):
        assert source.shape == target.shape and source.name == target.name
        target.assign(source)
    normalization.set_weights([*statistics, np.zeros((), int)])
    normalization.finalize_state()
    batch = images(2, size)
    expected = theirs(batch.astype("float32"), training=False).numpy()
    actual = ours(batch, training=False).numpy()
    assert np.abs(actual - expected).max() < 1e-4 * expected.std()


def test_input_types_agree_and_logits_are_float32():
    model, batch = small_model(), images()
    logits = model(batch)
    assert logits.shape == (4, 5) and logits.dtype == tf.float32
    for dtype in ("float32", "int32", "float64"):
        assert np.array_equal(logits, model(batch.astype(dtype)))


def test_image_size_is_free_or_fixed():
    assert small_model().input_shape == (None, None, None, 3)
    assert small_model(image_size=40).input_shape == (None, 40, 40, 3)


def test_noise_rates():
    model = small_model(dropout_rate=0.4, stochastic_depth_rate=0.3)
    blocks = [layer for layer in model.layers if isinstance(layer, layers.MBConv)]
    assert [block.name for block in blocks] == [f"blocks_{index}" for index in range(8)]
    for index, block in enumerate(blocks):
        assert block.drop_rate == pytest.approx(0.3 * index / 8)
        assert block.has_skip == hasattr(block, "drop")
    assert [index for index, block in enumerate(blocks) if block.has_skip] == [0, 6]
    assert model.get_layer("head_dropout").rate == 0.4
    assert small_model(dropout_rate=None).get_layer("head_dropout").rate == 0.2


def test_initial_values():
    model = efficientnet.build_model("efficientnet-b0", num_classes=100)
    values = {variable.path: variable.numpy() for variable in model.trainable_variables}
    for path, fan_out in [
        ("stem_conv/kernel", 9 * 32),
        ("blocks_5/expand_conv/kernel", 240),
        ("blocks_5/depthwise_conv/kernel", 9),
        ("blocks_5/se/expand/kernel", 240),
        ("head_conv/kernel", 1280),
    ]:
        kernel = values[path] / np.sqrt(2 / fan_out)
        assert abs(kernel.std() - 1) < 5 / np.sqrt(2 * kernel.size)
        assert kernel.size < 5000 or np.abs(kernel).max() > 2.5  # not truncated
    dense = values["head_dense/kernel"]
    assert 0.099 < np.abs(dense).max() <= 0.1
    assert dense.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.01)
    assert not np.any(values["head_dense/bias"]) and not np.any(values["blocks_5/se/reduce/bias"])
    repeated = values["blocks_6/expand_conv/kernel"], values["blocks_7/expand_conv/kernel"]
    assert not np.array_equal(*repeated)


def test_weight_decay_spares_batch_norm_alone():
    model = small_model()
    spared = {v.path for v in model.trainable_variables if not efficientnet.is_decayed(v)}
    assert spared == {v.path for v in model.trainable_variables if "_bn/" in v.path}
    assert any(v.name == "bias" and efficientnet.is_decayed(v) for v in model.trainable_variables)


@pytest.mark.parametrize(
    ("name", "normalization", "expected"),
    [
        ("efficientnet-b0", "imagenet", [(200 / 255 - 0.485) / 0.229, (0.5 - 0.406) / 0.225]),
        ("efficientnet-b0", "svhn", [1.7503985, 0.1380233]),  # (200 / 255 - mean) / std by hand
        ("efficientnet-b0", "none", [200, 127.5]),
        ("efficientnet-b0", ([200, 0, 100], [1, 1, 2]), [0, 13.75]),
        ("efficientnet-b0", "lite", [73 / 128, 0.5 / 128]),
        ("efficientnet-lite0", "imagenet", [73 / 128, 0.5 / 128]),
    ],
)
def test_normalization(name, normalization, expected):
    model = efficientnet.build_model(name, **SMALL, normalization=normalization)
    pixel = np.array([200, 0, 127.5], "float32").reshape(1, 1, 1, 3)
    actual = model.get_layer("normalize")(pixel).numpy().ravel()
    np.testing.assert_allclose(actual[[0, 2]], expected, rtol=1e-5, atol=1e-6)


def test_lite_has_no_squeeze_and_excitation_and_relu6():
    model = efficientnet.build_model("efficientnet-lite0", **SMALL)
    assert not any("/se/" in variable.path for variable in model.variables)
    assert {layer.activation for layer in model.layers if isinstance(layer, layers.MBConv)} == {
        "relu6"
    }
    assert model.get_layer("stem_bn").activation == model.get_layer("head_bn").activation == "relu6"


def training_step(model, batch, **options):
    """Returns the logits, gradients and new batch norm statistics of a step on `batch`, by name."""

    @tf.function(**options)
    def step():
        with efficientnet.noise_scope(tf.constant([1, 2])), tf.GradientTape() as tape:
            outputs = model(batch, training=True)
            loss = tf.reduce_mean(tf.square(outputs))
        return outputs, tape.gradient(loss, [v.value for v in model.trainable_variables])

    start = model.get_weights()
    outputs, gradients = step()
    parts = {v.path: v.numpy() for v in model.non_trainable_variables}
    model.set_weights(start)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        parts[variable.path] = gradient.numpy()
    return parts | {"logits": outputs.numpy()}


def assert_same_step(got, expected, tolerance=1e-4):
    """Every variable by itself; some gradients are 0 but for rounding, hence the median."""
    assert got.keys() == expected.keys()
    typical = np.median([np.linalg.norm(reference) for reference in expected.values()])
    for name, reference in expected.items():
        error = np.linalg.norm(got[name] - reference)
        assert error < tolerance * max(np.linalg.norm(reference), typical), name


def test_plain_operations_of_accelerators_give_the_same(monkeypatch):
    # At 32 pixels the last blocks see single pixels, and batch norm over four of them multiplies
    # rounding a hundredfold.
    model, batch = randomize(small_model()), tf.constant(images(batch=8, size=64))
    on_cpu = training_step(model, batch)
    monkeypatch.setattr(cpu_ops, "enabled", lambda: False)
    assert_same_step(on_cpu, training_step(model, batch))


def test_compiled_blocks_equal_uncompiled():
    inputs = keras.Input((8, 8, 8))
    common = {"kernel_size": 5, "expansion": 2, "squeeze_filters": 2, "drop_rate": 0.5}
    outputs = layers.MBConv(8, stride=1, name="first", **common)(inputs)
    outputs = layers.MBConv(16, stride=2, name="second", **common)(outputs)
    model = randomize(keras.Model(inputs, outputs))
    batch = tf.random.stateless_normal([6, 8, 8, 8], [0, 0])
    compiled = training_step(model, batch, jit_compile=True)
    assert_same_step(compiled, training_step(model, batch))


@pytest.mark.slow
def test_compiled_model_equals_uncompiled():
    model, batch = randomize(small_model()), tf.constant(images(batch=16))
    compiled = training_step(model, batch, jit_compile=True)
    assert_same_step(compiled, training_step(model, batch), tolerance=1e-3)


def test_mixed_bfloat16():
    exact = randomize(small_model())
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = small_model()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    model.set_weights(exact.get_weights())
    assert {variable.dtype for variable in model.variables} == {"float32"}
    assert model.get_layer("normalize").compute_dtype == "float32"
    both = keras.Model(model.input, [model.get_layer("blocks_7").output, model.output])
    features, logits = both(images())
    assert features.dtype == tf.bfloat16 and logits.dtype == tf.float32
    expected = exact(images())
    assert np.abs(logits - expected).max() < 0.1 * np.std(expected)


def test_frozen_blocks_keep_their_statistics_after_loading_too(tmp_path):
    model = randomize(small_model(stochastic_depth_rate=0.9))
    for layer in model.layers:
        layer.trainable = layer.name.startswith("head")
    model.save(tmp_path / "frozen.keras")
    for frozen in (model, keras.saving.load_model(tmp_path / "frozen.keras")):
        before = {v.path: v.numpy() for v in frozen.non_trainable_variables}
        features = keras.Model(frozen.input, frozen.get_layer("blocks_7").output)
        np.testing.assert_array_equal(features(images(), training=True), features(images()))
        frozen(images(), training=True)
        moved = {v.path for v in frozen.variables if not np.array_equal(before.get(v.path, v), v)}
        assert moved == {"head_bn/moving_mean", "head_bn/moving_variance"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "b0"}, "Unknown model name 'b0'; valid names: efficientnet-b0, "),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"image_size": 0}, "image_size must be None or at least 1 pixel, got 0"),
        ({"dropout_rate": 1.0}, "dropout_rate must be at least 0 and below 1, got 1.0"),
        ({"stochastic_depth_rate": -1}, "stochastic_depth_rate must be at least 0 and below 1"),
        ({"batch_norm_momentum": 1}, "batch_norm_momentum must be at least 0 and below 1, got 1"),
        ({"batch_norm_replicas": "some"}, "batch_norm_replicas must be none, all, published"),
        ({"normalization": "mnist"}, "svhn, lite, inception, none or a pair .* got 'mnist'"),
        ({"normalization": ([1, 2], [1, 2])}, "pair .* of three numbers each"),
        ({"normalization": ([0, 0, 0], [1, 0, 1])}, "std above 0"),
        ({"strides": [2]}, "strides must be 7 numbers"),
        ({"width": 0}, "width must be a number above 0"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        efficientnet.build_model(**({"name": "efficientnet-b0"} | arguments))
