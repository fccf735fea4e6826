import json
import subprocess
import sys
import warnings

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


def signature(export_format, path):
    """Returns names, shapes and types of input and output, as the file itself has them."""
    if export_format == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
        pair = session.get_inputs()[0], session.get_outputs()[0]
        types = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
        return [
            (each.name, [n if isinstance(n, int) else None for n in each.shape], types[each.type])
            for each in pair
        ]
    if export_format == "saved_model":
        serve = tf.saved_model.load(str(path)).signatures["serving_default"]
        pair = serve.structured_input_signature[1], serve.structured_outputs
        return [(n, spec.shape.as_list(), spec.dtype.name) for p in pair for n, spec in p.items()]
    with warnings.catch_warnings(action="ignore"):  # of a move to another package
        runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    pair = runner.get_input_details(), runner.get_output_details()
    return [
        (name, [None if n < 0 else int(n) for n in each["shape_signature"]], each["dtype"].__name__)
        for details in pair
        for name, each in details.items()
    ]


def check_described(export_format, path, card):
    """Compares what the card says of input and output with the file itself."""
    assert card["input"]["channels"] == "RGB" and card["input"]["range"] == [0, 255]
    assert card["input"]["shape"] == [None, 64, 64, 3] and card["output"]["shape"] == [None, 3]
    if export_format == "keras":
        model = keras.models.load_model(path, compile=False)
        assert card["input"]["name"] == model.inputs[0].name
        return
    ends = [card[end] for end in ("input", "output")]
    for end, (name, shape, dtype) in zip(ends, signature(export_format, path), strict=True):
        assert (end["name"], end["dtype"], shape[0]) == (name, dtype, None)
        assert all(a == b for a, b in zip(end["shape"], shape, strict=True) if b is not None)


@pytest.mark.parametrize("export_format", list(export.FORMATS))
def test_exported_model_gives_the_same_probabilities(export_format, model_path, photos, tmp_path):
    output = tmp_path / f"exported{export.FORMATS[export_format]}"
    difference = export.run(model_path, output, export_format, sorted(photos.iterdir()))
    assert difference < 1e-5
    card = json.loads((tmp_path / f"{output.name}.json").read_text())
    assert card["class_names"] == list(CLASSES)
    assert card["preprocess"]["image_size"] == 64
    check_described(export_format, output, card)
    with pytest.raises(ValueError, match="exists already"):
        export.run(model_path, output, export_format)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (PreprocessSpec(64), ["int(64 / 96 * the shorter", "resize_bicubic does; truncate"]),
        (PreprocessSpec(64, pixels="float32"), ["resize_bicubic does; keep fractions"]),
        (PreprocessSpec(64, interpolation="bilinear"), ["bilinear", "antialiasing; round and"]),
        (PreprocessSpec(32, small_image=True), ["If a side is above 32", "Pad with zeros"]),
        (PreprocessSpec(32, small_image=True, enlarge=True), [" Crop the square", "bicubic"]),
    ],
)
def test_the_steps_to_an_input_are_listed(spec, words):
    text = "".join(f" {step}" for step in spec.steps())
    assert all(word in text for word in [*words, f"{spec.image_size} x {spec.image_size}"])
    assert ("If a side" in text) == (spec.small_image and not spec.enlarge)


@pytest.mark.slow
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


@small_export.formats("keras")
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("name", "export_format", "problem"),
    [
        ("x.tflite", "onnx", "must end in .onnx for --format=onnx"),
        ("x.onnx", "saved_model", "must not end in .onnx"),
        ("x.keras", "tflite", "must end in .tflite"),
        ("x", "keras", "must end in .keras"),
    ],
)
def test_a_name_of_another_format_is_refused(model_path, tmp_path, name, export_format, problem):
    with pytest.raises(ValueError, match=f"{name}: {problem}"):
        export.run(model_path, tmp_path / name, export_format)
    assert not list(tmp_path.iterdir())


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
