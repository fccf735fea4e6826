"""Outputs, batches and number formats of exported models."""

import json

import numpy as np
import pytest
import tensorflow as tf

from noisy_student import export, export_formats
from noisy_student.artifacts import model_file
from tests.helpers import small_export
from tests.helpers.small_export import CLASSES


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return small_export.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return small_export.save_photos(
        tmp_path_factory.mktemp("photos"), (f"{number}.png" for number in range(4))
    )


def images(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 64, 64, 3), np.uint8)


def load(output, export_format):
    return export_formats.BACKENDS[export_format][1](output)


@small_export.formats("keras")
def test_an_export_takes_any_number_of_images(export_format, model_path, tmp_path):
    output = tmp_path / f"x{export.FORMATS[export_format]}"
    export.run(model_path, output, export_format)
    predict = load(output, export_format)
    table = predict(images(5))
    assert table.shape == (5, 3)
    np.testing.assert_allclose(predict(images(5)[3:4]), table[3:4], rtol=1e-4, atol=1e-4)
    card = json.loads((tmp_path / f"{output.name}.json").read_text())
    is_keras = export_format == "keras"
    assert card["outputs"] == ("logits" if is_keras else "softmax")
    assert np.allclose(table.sum(axis=1), 1, atol=1e-5) != is_keras


@small_export.formats("onnx")
def test_logits_are_those_of_the_keras_file_and_have_their_name(
    export_format, model_path, photos, tmp_path
):
    output = tmp_path / f"x{export.FORMATS[export_format]}"
    options = export.Options(probabilities=False)
    export.run(model_path, output, export_format, [photos], options)
    model, _ = model_file.load_model(model_path)
    logits = load(output, export_format)(images(2))
    np.testing.assert_allclose(logits, np.asarray(model(images(2))), rtol=1e-4, atol=1e-3)
    assert json.loads((tmp_path / f"{output.name}.json").read_text())["outputs"] == "logits"
    if export_format == "onnx":
        stored = pytest.importorskip("onnx").load(str(output))
        assert [each.name for each in stored.graph.output] == ["logits"]
        (card,) = stored.metadata_props
        assert json.loads(card.value)["class_names"] == list(CLASSES)
    if export_format == "saved_model":
        served = tf.saved_model.load(str(output)).signatures["serving_default"]
        assert list(served.structured_outputs) == ["logits"]


@pytest.mark.slow  # half a minute each
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("quantization", ["float16", "int8"])
def test_quantized_models(quantization, model_path, photos, tmp_path):
    plain, output = tmp_path / "plain.tflite", tmp_path / "small.tflite"
    export.run(model_path, plain, "tflite", [photos])
    options = export.Options(quantization=quantization)
    found = export.check(model_path, output, "tflite", [photos], options)
    assert found.num_images == 4 and 1e-7 < found.difference < (
        0.01 if quantization == "float16" else 0.05
    )
    assert output.stat().st_size < 0.8 * plain.stat().st_size
    interpreter = tf.lite.Interpreter(model_path=str(output))
    large = [d for d in interpreter.get_tensor_details() if np.prod(d["shape"]) > 500]
    assert (np.float16 if quantization == "float16" else np.int8) in {d["dtype"] for d in large}
    assert load(output, "tflite")(images(3)).shape == (3, 3)
    assert json.loads((tmp_path / "small.tflite.json").read_text())["quantization"] == quantization


def test_quantization_that_does_not_apply(model_path, photos, tmp_path):
    int8 = export.Options(quantization="int8")
    with pytest.raises(ValueError, match="--quantization=int8 needs images"):
        export.run(model_path, tmp_path / "x", "tflite", (), int8)
    with pytest.raises(ValueError, match="int8 goes with --format=tflite, not with --format=onnx"):
        export.run(model_path, tmp_path / "x", "onnx", [photos], int8)
    with pytest.raises(ValueError, match="--quantization=int4: must be one of none, float16, int8"):
        export.run(model_path, tmp_path / "x", "tflite", (), export.Options(quantization="int4"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("quantization", "difference", "num_changed", "passes"),
    [
        ("none", 1e-5, 3, True),
        ("none", 1e-3, 0, False),
        ("none", float("nan"), 0, False),
        ("float16", 1e-3, 0, True),
        ("float16", 0.02, 0, False),
        ("int8", 0.5, 10, True),
        ("int8", 0.1, 11, False),
        ("int8", 0.04, 60, True),  # near ties
        ("int8", float("nan"), 0, False),
    ],
)
def test_which_differences_pass(quantization, difference, num_changed, passes):
    assert export.Check(100, difference, num_changed).passes(quantization) == passes
