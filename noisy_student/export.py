"""Exports a model for deployment. Compares it with the original on given or random images.

    python -m noisy_student.export --model=lite0.keras
    python -m noisy_student.export --model=lite0.keras --format=tflite photo.jpg
    python -m noisy_student.export --model=lite0.keras --format=onnx --output=lite0.onnx
    python -m noisy_student.export --model=lite0.keras --format=keras --output=plain.keras

The exported model takes images uint8 [B, S, S, 3], RGB 0..255, cropped and resized as the card says
(`crop_padding`, `interpolation`; `noisy_student.predict` does this). It returns probabilities
float32 [B, C]; format keras, layers of Keras alone, returns logits. A ``.json`` file beside it has
the card: class names and preprocessing. A model in mixed precision is exported as a float32 copy of
the same weights.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from data import optional, preprocess
from data.optional import require
from data.preprocess import PreprocessSpec
from data.sources import image_check
from efficientnet import archive, plain
from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.artifacts.files import write_json
from noisy_student.config import schema
from noisy_student.networks import contract
from noisy_student.runtime import inference
from noisy_student.runtime.devices import make_devices

FORMATS = {"saved_model": "", "tflite": ".tflite", "onnx": ".onnx", "keras": ".keras"}  # -> suffix
_PACKAGES = {"onnx": ("tf2onnx", "onnxruntime")}  # optional ones
_TOLERANCE = 1e-4  # largest difference of a probability
_RANDOM_IMAGES = 4
_OPSET = 17  # operator set of ONNX
Predict = Callable[[np.ndarray], np.ndarray]  # images uint8 [N, S, S, 3] -> float32 [N, C]


def run(
    model_path: str | Path,
    output: str | Path,
    export_format: str,
    images: Sequence[str | Path] = (),
) -> float:
    """Exports a model.

    Args:
        model_path: A saved or converted model.
        output: Folder (saved_model) or file (others) to write; must not exist.
        export_format: "saved_model", "onnx" or "keras" (any batch size), or "tflite" (one image at
            a time).
        images: Image files to compare the two models on. Empty: random images.

    Returns:
        The largest difference between probabilities of the original, in float32, and the exported
        model.

    Raises:
        ValueError: The format is unknown, the output exists, a package is missing, the model
            cannot be converted, or the difference is above 1e-4. For "keras" also: the output does
            not end in .keras, or a layer is of neither Keras nor this project. Nothing is written
            then.
    """
    if export_format not in FORMATS:
        raise ValueError(f"--format={export_format}: must be one of {', '.join(FORMATS)}.")
    optional.check(*_PACKAGES.get(export_format, ()))
    output = Path(output)
    if export_format == "keras" and output.suffix != ".keras":
        raise ValueError(f"--output={output}: must end in .keras for --format=keras.")
    if output.exists() and not _is_unfinished(output, export_format):
        raise ValueError(f"--output={output} exists already: delete it or choose another.")
    model, card = model_file.load_model(model_path)
    size, sample = card["preprocess"].image_size, _sample(images, card["preprocess"])
    # Pixels and outputs of the export are those that this module's docstring says.
    own = {key: value for key, value in card.items() if key not in ("input_range", "outputs")}
    content = {**own, "preprocess": card["preprocess"].to_dict()}
    if export_format == "keras":  # no network of this project any more
        content["outputs"] = "logits"
    with _complete(output) as temporary:
        difference = _write(_in_float32(model), size, export_format, temporary, sample)
        if not difference <= _TOLERANCE:
            raise ValueError(
                f"--format={export_format} of {model_path} differs from it by {difference} in a "
                "probability: nothing is written."
            )
        if export_format == "keras":  # which other commands take as --model
            archive.with_card(temporary, temporary, content)
    write_json(_card_path(output), content)
    return difference


def _write(
    model: keras.Model, size: int, export_format: str, path: Path, sample: np.ndarray
) -> float:
    """Writes a model and reads it again; returns the largest difference of a probability."""
    write, load = _BACKENDS[export_format]
    try:
        write(model, size, path)
        exported = load(path)(sample)
    except OSError as error:
        raise ValueError(f"{path.parent} cannot hold the exported model: {error}.") from error
    except Exception as error:  # of any type, and some with pages of text
        if isinstance(error, ValueError):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ValueError(f"--format={export_format} cannot hold {model.name}: {reason}") from error
    return float(np.max(np.abs(exported - inference.predict_step(model)(sample).numpy())))


def _in_float32(model: keras.Model) -> keras.Model:
    """Makes all layers of a model compute in float32, as all formats can; returns the model."""
    for layer in contract.layers_of(model):
        layer.dtype_policy = "float32"  # variables are float32 in any precision
    return model


def _card_path(output: Path) -> Path:
    """Returns the file beside an exported model that has its card; written last."""
    return output.with_name(f"{output.name}.json")


def _is_unfinished(output: Path, export_format: str) -> bool:
    """Returns True for a file without a card that is no model: a killed export left it.

    A ``.keras`` file may be anyone's, with layers that are not known here.
    """
    named = output.suffix == FORMATS[export_format] != ".keras"
    if not named or not output.is_file() or _card_path(output).exists():
        return False
    try:
        _BACKENDS[export_format][1](output)
    except Exception:  # of any type
        return True
    return False


@contextlib.contextmanager
def _complete(output: Path) -> Iterator[Path]:
    """Yields a path beside `output` that takes its place if the block succeeds, else is removed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.stem}.tmp{os.getpid()}{output.suffix}")
    try:
        yield temporary
        os.replace(temporary, output)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def _serving(
    model: keras.Model, size: int, batch: int | None
) -> tf.types.experimental.GenericFunction:
    """Returns the exported function, for batches of `batch` images or (None) of any size."""

    @tf.function(input_signature=[tf.TensorSpec([batch, size, size, 3], tf.uint8, name="images")])
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with efficientnet.portable_ops():
            return {"probabilities": tf.nn.softmax(model(images, training=False))}

    return serve


def _write_saved_model(
    model: keras.Model, size: int, folder: Path, batch: int | None = None
) -> None:
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", _serving(model, size, batch))
    archive.write_out(str(folder), verbose=False)


def _write_tflite(model: keras.Model, size: int, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _write_saved_model(model, size, Path(folder), batch=1)
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def _write_onnx(model: keras.Model, size: int, path: Path) -> None:
    tf2onnx = require("tf2onnx")
    serve = _serving(model, size, None)
    tf2onnx.convert.from_function(
        serve, input_signature=serve.input_signature, opset=_OPSET, output_path=str(path)
    )


def _write_keras(model: keras.Model, size: int, path: Path) -> None:
    archive.save(plain.plain_model(model), path, {})
    if unknown := plain.unknown_to_keras(path):
        raise ValueError(
            f"--format=keras cannot hold {model.name}: Keras alone does not know "
            f"{', '.join(unknown)}"
        )


def _load_saved_model(folder: Path) -> Predict:
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    return lambda images: serve(images=tf.constant(images))["probabilities"].numpy()


def _load_tflite(path: Path) -> Predict:
    with warnings.catch_warnings():  # TensorFlow announces its interpreter's move to a new package
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
        runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner()
    return lambda images: np.concatenate(
        [runner(images=image[np.newaxis])["probabilities"] for image in images]
    )


def _load_onnx(path: Path) -> Predict:
    session = require("onnxruntime").InferenceSession(str(path))
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _load_keras(path: Path) -> Predict:
    model = keras.saving.load_model(path, compile=False)
    return lambda images: tf.nn.softmax(model(images, training=False)).numpy()


_BACKENDS: dict[str, tuple[Callable[[keras.Model, int, Path], None], Callable[[Path], Predict]]] = {
    "saved_model": (_write_saved_model, _load_saved_model),
    "tflite": (_write_tflite, _load_tflite),
    "onnx": (_write_onnx, _load_onnx),
    "keras": (_write_keras, _load_keras),
}


def _sample(files: Sequence[str | Path], spec: PreprocessSpec) -> np.ndarray:
    """Returns images for the model, uint8 [N, S, S, 3]: those of the files, or random ones."""
    if not files:
        shape = (_RANDOM_IMAGES, spec.image_size, spec.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for file in files:
        if problem := image_check.file_problem(file):
            raise ValueError(f"{file} {problem}.")
    images = [preprocess.decode_named(tf.io.read_file(str(f)), str(f)) for f in files]
    return np.stack([preprocess.eval_image(image, spec).numpy() for image in images])


def _main(settings: config.Config, arguments: list[str]) -> None:
    given = settings.group(schema.ExportCommandConfig)
    model_path, export_format = settings.required("model"), given.format
    end = "-plain.keras" if export_format == "keras" else FORMATS[export_format]
    output = given.output or Path(model_path).with_name(Path(model_path).stem + end)
    make_devices(**dataclasses.asdict(settings.device))
    difference = run(model_path, output, export_format, arguments)
    checked = f"{len(arguments) or _RANDOM_IMAGES} {'' if arguments else 'random '}images"
    print(f"{output}: probabilities within {difference:.1g} of {model_path} on {checked}")


if __name__ == "__main__":
    config.run(_main, schema.ExportCommandConfig, schema.DeviceConfig, takes_arguments=True)
