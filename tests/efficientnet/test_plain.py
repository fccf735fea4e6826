"""Models of Keras' own layers compute what ours do, also in training."""

import keras
import numpy as np
import pytest

import efficientnet
from efficientnet import plain

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), np.uint8)


def own_classes(model: keras.Model) -> set[str]:
    layers = model._flatten_layers(include_self=False)
    return {type(layer).__name__ for layer in layers if "keras" not in type(layer).__module__}


def small(name="efficientnet-b0", **options):
    keras.utils.set_random_seed(1)
    return efficientnet.build_model(name, 4, width=0.25, depth=0.3, **options)


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-lite0"])
def test_outputs_and_weights_are_equal(name):
    model, rng = small(name), np.random.default_rng(0)
    for variable in model.variables:
        is_scale = "gamma" in variable.path or "moving_variance" in variable.path
        other = rng.uniform(0.5, 1.5, variable.shape)
        variable.assign(other if is_scale else variable + rng.normal(0, 0.05, variable.shape))
    found = plain.plain_model(model)
    assert own_classes(model) and not own_classes(found)
    expected = np.asarray(model(IMAGES))
    assert expected.std() > 0.01
    np.testing.assert_allclose(found(IMAGES), expected, rtol=1e-4, atol=1e-4 * expected.std())
    assert found.count_params() == model.count_params()
    assert found.get_layer("blocks_1_project_conv").kernel.shape[-1] == 8


def test_a_training_step_moves_the_same_averages():
    model = small(dropout_rate=0.0, stochastic_depth_rate=0.0, batch_norm_momentum=0.9)
    found = plain.plain_model(model)
    expected, outputs = model(IMAGES, training=True), found(IMAGES, training=True)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4)
    moved = model.get_layer("stem_bn").moving_variance
    np.testing.assert_allclose(found.get_layer("stem_bn").moving_variance, moved, rtol=1e-4)
    assert np.abs(np.asarray(moved) - 1).max() > 1e-3


def test_stochastic_depth_drops_branches_of_whole_images():
    model = plain.plain_model(small(stochastic_depth_rate=0.9))
    names = [layer.name for layer in model.layers if layer.name.endswith("_drop")]
    layer = model.get_layer(names[-1])
    ones = np.ones((200, 3, 3, 2), np.float32)
    dropped = np.asarray(layer(ones, training=True)).reshape(200, -1)
    assert (dropped == dropped[:, :1]).all()
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / (1 - layer.rate)], rtol=1e-5)
    assert np.mean(dropped == 0) == pytest.approx(layer.rate, abs=0.15)
    np.testing.assert_array_equal(layer(ones), ones)


def test_a_model_within_a_model_is_rebuilt_and_others_are_left(tmp_path):
    inner = small()
    outer = keras.Sequential([keras.Input((40, 40, 3)), inner, keras.layers.Softmax()])
    found = plain.plain_model(outer)
    assert not own_classes(found)
    np.testing.assert_allclose(found(IMAGES), outer(IMAGES), rtol=1e-4, atol=1e-6)
    assert plain.plain_model(found) is found
    found.save(tmp_path / "plain.keras")
    inner.save(tmp_path / "own.keras")
    assert plain.unknown_to_keras(tmp_path / "plain.keras") == []
    assert "efficientnet.layers.MBConv" in plain.unknown_to_keras(tmp_path / "own.keras")
