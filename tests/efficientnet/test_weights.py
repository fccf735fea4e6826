import hashlib
import tarfile

import h5py
import keras
import numpy as np
import pytest

import efficientnet
from efficientnet import weight_names, weights
from tests.helpers.random_weights import assert_equal_logits, assert_same_weights, images, randomize
from tests.helpers.toy_checkpoints import tf1_arrays, write_tf1

NAMES = [f"efficientnet-b{number}" for number in range(8)]


def reference(name, size=64, **arguments):
    """The model of keras.applications, always with the same weights."""
    builder = getattr(keras.applications, f"EfficientNet{name[-2:].upper()}")
    arguments = {"classes": 7, "classifier_activation": None, **arguments}
    return randomize(builder(weights=None, input_shape=(size, size, 3), **arguments))


def small(name="efficientnet-b0", classes=5, **arguments):
    arguments = {"width": 0.25, "depth": 0.5} | arguments
    return efficientnet.build_model(name, classes, **arguments)


def check_against_reference(name, sizes):
    model = efficientnet.build_model(name, 7)
    weights.load_keras_applications(model, reference(name))
    for size in sizes:
        source, inputs = reference(name, size), images(size)
        assert_equal_logits(model(inputs), source(inputs))


def test_b0_computes_what_keras_applications_computes():
    check_against_reference("efficientnet-b0", (64, 75))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_family_computes_what_keras_applications_computes(name):
    native = efficientnet.CONFIGS[name].resolution
    check_against_reference(name, (native, native - 33))


def test_training_mode_computes_what_keras_applications_computes():
    source = reference("efficientnet-b0", 96)
    source = keras.models.clone_model(
        source,
        clone_function=lambda layer: (
            keras.layers.Activation("linear", name=layer.name)
            if isinstance(layer, keras.layers.Dropout)
            else layer.__class__.from_config(layer.get_config())
        ),
    )
    randomize(source)
    model = efficientnet.build_model(
        "efficientnet-b0", 7, dropout_rate=0.0, stochastic_depth_rate=0.0
    )
    weights.load_keras_applications(model, source)
    inputs = images(96, batch=8)
    assert_equal_logits(model(inputs, training=True), source(inputs, training=True))
    names = weight_names.keras_applications(model)
    theirs = {weight.path: np.asarray(weight) for weight in source.weights}
    for variable in model.non_trainable_variables:  # as the step has moved them
        np.testing.assert_allclose(variable, theirs[names[variable.path]], rtol=2e-5, atol=1e-5)


def test_published_keras_normalization_is_taken_over():
    """Its published weights hold the deviation where the layer expects the variance."""
    source = reference("efficientnet-b0")
    stored = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 1)
    source.layers[2].load_own_variables(
        {str(number): np.array(value) for number, value in enumerate(stored)}
    )
    model = efficientnet.build_model("efficientnet-b0", 7, normalization="none")
    weights.load_keras_applications(model, source)
    inputs = images()
    assert_equal_logits(model(inputs), source(inputs))


def write_h5(path, source, skip=("normalization",), suffix=":0"):
    """The layout of files written by Keras 1 and 2, as qubvel's package has them."""
    layers = [la for la in source.layers if not la.name.startswith(skip)] if skip else source.layers
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{w.path.rsplit('/', 1)[-1]}{suffix}" for w in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)


@pytest.mark.slow
def test_h5_files_are_read(tmp_path):
    source = reference("efficientnet-b0")
    model = efficientnet.build_model("efficientnet-b0", 7, normalization="none")
    write_h5(tmp_path / "qubvel.h5", source)
    weights.load_keras_applications(model, tmp_path / "qubvel.h5")
    expected = efficientnet.build_model("efficientnet-b0", 7)  # normalizes as ImageNet
    weights.load_keras_applications(expected, source)
    weights.set_normalization(expected, *efficientnet.model.NORMALIZATIONS["imagenet"])
    np.testing.assert_array_equal(model(images()), expected(images()))

    source.save_weights(tmp_path / "keras3.weights.h5")
    source.save(tmp_path / "whole.keras")
    for file in ("keras3.weights.h5", "whole.keras"):
        model = efficientnet.build_model("efficientnet-b0", 7)
        weights.load_keras_applications(model, tmp_path / file)
        assert_equal_logits(model(images()), source(images()))


@pytest.mark.parametrize(
    ("name", "count", "digest"),
    [
        (
            "efficientnet-b0",
            311,
            "63dc94b5369808332be23ba69a3bc75e737690d10f069dbe346275c2e328caa6",
        ),
        pytest.param(
            "efficientnet-l2",
            1654,
            "9d774a06433e637dcf8e8d5d5ba2ba322a3ab3d473b2ee2b49772dc7a25cf505",
            marks=pytest.mark.slow,  # 480 million parameters
        ),
    ],
)
def test_tf1_names_and_shapes_are_the_published_listing(name, count, digest):
    """Name and shape of every variable, in order; the digest is that of the published listing."""
    model = efficientnet.build_model(name)
    names = weight_names.tf1(model, name)
    listing = [f"{names[v.path]} {tuple(v.shape)}" for v in model.variables]
    assert len(listing) == count
    assert hashlib.sha256("\n".join(listing).encode()).hexdigest() == digest


def test_tf1_names_by_hand():
    names = weight_names.tf1(efficientnet.build_model("efficientnet-b0"), "efficientnet-b0")
    assert len(names) == len(set(names.values())) == 311
    block = "efficientnet-b0/blocks_0"
    assert names["stem_conv/kernel"] == "efficientnet-b0/stem/conv2d/kernel"
    assert names["stem_bn/gamma"] == "efficientnet-b0/stem/tpu_batch_normalization/gamma"
    assert names["blocks_0/depthwise_conv/kernel"] == f"{block}/depthwise_conv2d/depthwise_kernel"
    assert names["blocks_0/depthwise_bn/beta"] == f"{block}/tpu_batch_normalization/beta"
    assert names["blocks_0/se/reduce/bias"] == f"{block}/se/conv2d/bias"
    assert names["blocks_0/se/expand/kernel"] == f"{block}/se/conv2d_1/kernel"
    assert names["blocks_0/project_conv/kernel"] == f"{block}/conv2d/kernel"
    assert names["blocks_0/project_bn/moving_mean"] == (
        f"{block}/tpu_batch_normalization_1/moving_mean"
    )
    block = "efficientnet-b0/blocks_15"
    assert names["blocks_15/expand_conv/kernel"] == f"{block}/conv2d/kernel"
    assert names["blocks_15/expand_bn/gamma"] == f"{block}/tpu_batch_normalization/gamma"
    assert names["blocks_15/depthwise_bn/gamma"] == f"{block}/tpu_batch_normalization_1/gamma"
    assert names["blocks_15/project_conv/kernel"] == f"{block}/conv2d_1/kernel"
    assert names["blocks_15/project_bn/gamma"] == f"{block}/tpu_batch_normalization_2/gamma"
    assert names["head_bn/moving_variance"] == (
        "efficientnet-b0/head/tpu_batch_normalization/moving_variance"
    )
    assert names["head_dense/kernel"] == "efficientnet-b0/head/dense/kernel"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint with averages, optimizer state and step; its raw and its averaged model."""
    raw, averaged = randomize(small(), 0), randomize(small(), 1)
    arrays = tf1_arrays(raw)
    state = {f"{name}/RMSProp": a for name, a in arrays.items() if "moving" not in name}
    state |= {f"{name}/RMSProp_1": a for name, a in arrays.items() if "moving" not in name}
    averages = {f"{n}/ExponentialMovingAverage": a for n, a in tf1_arrays(averaged).items()}
    folder = tmp_path_factory.mktemp("published") / "efficientnet-b0"
    folder.mkdir()
    write_tf1(folder / "model.ckpt", arrays | state | averages | {"global_step": np.int64(7)})
    return folder, raw, averaged


def test_tf1_checkpoint_is_read_as_prefix_folder_and_tar(published, tmp_path):
    folder, raw, averaged = published
    with tarfile.open(tmp_path / "b0.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    for path in (
        folder / "model.ckpt",
        folder / "model.ckpt.index",
        folder,
        tmp_path / "b0.tar.gz",
    ):
        model = small()
        weights.load_tf1_checkpoint(model, path)
        assert_same_weights(model, averaged)
    weights.load_tf1_checkpoint(model, folder, use_ema=False)
    assert_same_weights(model, raw)


def test_tf1_batch_norm_of_other_devices_is_read(tmp_path):
    source = randomize(small())
    write_tf1(tmp_path / "gpu", tf1_arrays(source, batch_norm="batch_normalization"))
    model = small()
    weights.load_tf1_checkpoint(model, tmp_path / "gpu", use_ema=False)
    assert_same_weights(model, source)


def test_averages_that_are_not_there(tmp_path):
    write_tf1(tmp_path / "raw", tf1_arrays(small()))
    with pytest.raises(ValueError, match="no averaged weights.*--raw"):
        weights.load_tf1_checkpoint(small(), tmp_path / "raw")


def check_refused(model, path, message, **arguments):
    """Refuses the checkpoint, and leaves every variable of the model as it was."""
    before = [np.asarray(variable) for variable in model.variables]
    with pytest.raises(ValueError, match=message):
        weights.load_tf1_checkpoint(model, path, use_ema=False, **arguments)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_what_does_not_match_is_named(tmp_path):
    good = tf1_arrays(randomize(small()))
    scope = "efficientnet-b0/blocks_1"

    def write(name, **changes):
        arrays = {n: a for n, a in good.items() if n not in changes}
        arrays |= {n: np.float32(a) for n, a in changes.items() if a is not None}
        write_tf1(tmp_path / name, arrays)
        return tmp_path / name

    path = write("missing", **{f"{scope}/conv2d/kernel": None})
    check_refused(small(), path, rf"missing: 1 \({scope}/conv2d/kernel\)")
    path = write("extra", **{f"{scope}/conv2d_2/kernel": [1.0]})
    check_refused(small(), path, rf"unused: 1 \({scope}/conv2d_2/kernel\)")
    path = write("shape", **{f"{scope}/se/conv2d/bias": [1.0, 2.0, 3.0]})
    check_refused(small(), path, rf"{scope}/se/conv2d/bias \(3,\) instead of \(2,\)")
    path = write("nan", **{f"{scope}/se/conv2d/bias": [np.nan]})
    check_refused(small(), path, rf"not finite: 1 \({scope}/se/conv2d/bias\)")


def test_a_classifier_of_other_classes_is_dropped_on_request(tmp_path):
    source = randomize(small(classes=9))
    write_tf1(tmp_path / "nine", tf1_arrays(source))
    model = small(classes=5)
    check_refused(model, tmp_path / "nine", "classifier does not match: drop_head")
    head = [np.asarray(w) for w in model.get_layer("head_dense").weights]
    weights.load_tf1_checkpoint(model, tmp_path / "nine", use_ema=False, drop_head=True)
    np.testing.assert_array_equal(
        model.get_layer("blocks_2").weights[0], source.get_layer("blocks_2").weights[0]
    )
    for weight, before in zip(model.get_layer("head_dense").weights, head, strict=True):
        np.testing.assert_array_equal(weight, before)


def test_missing_and_ambiguous_checkpoints(tmp_path):
    with pytest.raises(ValueError, match="Checkpoint .*nothing does not exist"):
        weights.load_tf1_checkpoint(small(), tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds 0 checkpoints"):
        weights.load_tf1_checkpoint(small(), tmp_path / "empty")
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        write_tf1(tmp_path / "two" / name, {"x": np.float32(1)})
    (tmp_path / "two" / "checkpoint").unlink()
    with pytest.raises(ValueError, match="holds 2 checkpoints: a, b"):
        weights.load_tf1_checkpoint(small(), tmp_path / "two")
    with pytest.raises(ValueError, match=r"not an EfficientNet checkpoint.* 1 \(x\)"):
        weights.load_tf1_checkpoint(small(), tmp_path / "two" / "a")
    (tmp_path / "two" / "a.data-00000-of-00001").unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        weights.load_tf1_checkpoint(small(), tmp_path / "two" / "a")
