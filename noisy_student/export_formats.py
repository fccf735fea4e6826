"""The export formats: how each is written, and read back for the check."""

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from data.optional import require
from data.preprocess import PreprocessSpec
from efficientnet import archive, plain

FORMATS = {"saved_model": "", "tflite": ".tflite", "onnx": ".onnx", "keras": ".keras"}  # -> suffix
PACKAGES = {"onnx": ("tf2onnx", "onnxruntime")}  # optional ones
_OPSET = 17  # operator set of ONNX
Predict = Callable[[np.ndarray], np.ndarray]  # images uint8 [N, S, S, 3] -> float32 [N, C]
Card = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """Form of an exported model."""

    probabilities: bool = True  # output probabilities instead of logits
    # "none" (float32), "float16" (weights) or "int8" (weights and activations).
    quantization: str = "none"

    @property
    def output(self) -> str:
        """Name of the output."""
        return "probabilities" if self.probabilities else "logits"


@dataclass(frozen=True)
class Job:
    """A model to write: network, side of its images, sample of images, and options."""

    model: keras.Model
    size: int
    sample: np.ndarray
    options: Options


def describe(job: Job, export_format: str, spec: PreprocessSpec, num_classes: int) -> Card:
    """Returns what the input and the output of an exported model are, JSON-like.

    The input of format keras is of any real type; its pixels, too, are 0..255.
    """
    is_keras = export_format == "keras"
    return {
        "input": {
            "name": job.model.inputs[0].name if is_keras else "images",
            "dtype": "float32" if is_keras else "uint8",
            "shape": [None, job.size, job.size, 3],  # images, rows, columns, channels
            "channels": "RGB",
            "range": [0, 255],
            "steps": spec.steps(),
        },
        "output": {"name": job.options.output, "dtype": "float32", "shape": [None, num_classes]},
    }


def _serving(job: Job) -> tf.types.experimental.GenericFunction:
    """Returns the exported function, for any number of images."""
    shape = [None, job.size, job.size, 3]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="images")])
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with efficientnet.portable_ops():
            logits = job.model(images, training=False)
        return {job.options.output: tf.nn.softmax(logits) if job.options.probabilities else logits}

    return serve


def _write_saved_model(job: Job, folder: Path, _: Card) -> None:
    exported = keras.export.ExportArchive()
    exported.track(job.model)
    exported.add_endpoint("serving_default", _serving(job))
    exported.write_out(str(folder), verbose=False)


def _write_tflite(job: Job, path: Path, card: Card) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(job, Path(folder), card)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if job.options.quantization != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if job.options.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if job.options.quantization == "int8":
            converter.representative_dataset = lambda: ([image[None]] for image in job.sample)
        path.write_bytes(converter.convert())


def _write_onnx(job: Job, path: Path, card: Card) -> None:
    tf2onnx, onnx = require("tf2onnx"), require("onnx")
    serve = _serving(job)
    signature = serve.input_signature
    model = tf2onnx.convert.from_function(serve, input_signature=signature, opset=_OPSET)[0]
    onnx.helper.set_model_props(model, {"card": json.dumps(card)})
    onnx.save(model, str(path))


def _write_keras(job: Job, path: Path, card: Card) -> None:
    archive.save(plain.plain_model(job.model), path, {})
    if unknown := plain.unknown_to_keras(path):
        raise ValueError(
            f"--format=keras cannot hold {job.model.name}: not a standard Keras layer: "
            f"{', '.join(unknown)}"
        )


def _load_saved_model(folder: Path) -> Predict:
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return lambda images: _only(serve(images=tf.constant(images))).numpy()


def _load_tflite(path: Path) -> Predict:
    with warnings.catch_warnings():  # TensorFlow announces its interpreter's move to a new package
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
        runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    return lambda images: _only(runner(images=images))


def _load_onnx(path: Path) -> Predict:
    session = require("onnxruntime").InferenceSession(str(path))
    return lambda images: session.run(None, {"images": images})[0]


def _load_keras(path: Path) -> Predict:
    model = keras.saving.load_model(path, compile=False)
    return lambda images: model(images, training=False).numpy()


def _only(outputs: Mapping[str, Any]) -> Any:
    (output,) = outputs.values()
    return output


BACKENDS: dict[str, tuple[Callable[[Job, Path, Card], None], Callable[[Path], Predict]]] = {
    "saved_model": (_write_saved_model, _load_saved_model),
    "tflite": (_write_tflite, _load_tflite),
    "onnx": (_write_onnx, _load_onnx),
    "keras": (_write_keras, _load_keras),
}
