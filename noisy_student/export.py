"""Exports a model for deployment and compares it with the original on given or random images.

    python -m noisy_student.export --model=lite0.keras
    python -m noisy_student.export --model=lite0.keras --format=tflite photo.jpg
    python -m noisy_student.export --model=lite0.keras --format=tflite --quantization=int8 photos/
    python -m noisy_student.export --model=lite0.keras --format=onnx --noprobabilities
    python -m noisy_student.export --model=lite0.keras --format=keras --output=plain.keras

The exported model takes uint8 images [B, S, S, 3], RGB 0..255, cropped and resized as described in
the card (`crop_padding`, `interpolation`; `noisy_student.predict` does this). The batch size B is
dynamic in all formats. The output is float32 [B, C], named ``probabilities`` or, with
--noprobabilities, ``logits``, which the ``.keras`` file itself returns. --format=keras, a model of
standard Keras layers, always returns logits.

A ``.json`` file next to the model holds the card: class names, preprocessing, outputs,
quantization, and a description of the input (type, shape, channels, range, and the steps from a
file to it); an ONNX file also has it in its metadata. A mixed-precision model is exported as a
float32 copy with the same weights. --quantization=int8 is calibrated on the given images, which
should resemble those of deployment: a few hundred training images.
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data import optional, preprocess
from data.preprocess import PreprocessSpec
from data.sources import folders, image_check
from efficientnet import archive
from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.artifacts.files import write_json
from noisy_student.config import schema
from noisy_student.export_formats import BACKENDS, FORMATS, PACKAGES, Job, Options, describe
from noisy_student.networks import contract
from noisy_student.runtime import inference
from noisy_student.runtime.devices import make_devices

_TOLERANCES = {"none": 1e-4, "float16": 1e-2}  # largest difference of a probability
# int8 may change the class of a tenth of the images, or by a small difference (near ties) of any.
_CHANGED, _SMALL = 0.1, 0.05
_RANDOM_IMAGES = 4
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Check:
    """Comparison of an exported model with the original."""

    num_images: int
    difference: float  # largest difference of a probability
    num_changed: int  # images whose most likely class changed

    def passes(self, quantization: str) -> bool:
        """Returns whether the exported model is close enough to the original."""
        if quantization == "int8":
            few = self.num_changed <= _CHANGED * self.num_images
            return self.difference <= (1 if few else _SMALL)  # False for NaN
        return self.difference <= _TOLERANCES[quantization]  # False for NaN


def run(
    model_path: str | Path,
    output: str | Path,
    export_format: str,
    images: Sequence[str | Path] = (),
    options: Options | None = None,
) -> float:
    """Exports a model.

    Args:
        model_path: A saved or converted model.
        output: Folder (saved_model) or file (others) to write; must not exist.
        export_format: "saved_model", "tflite", "onnx" or "keras"; all take any batch size.
        images: Image files, or folders of them, to compare the two models on and to calibrate the
            quantization. Empty: random images.
        options: Outputs and quantization; None: probabilities in float32. "keras" outputs logits.

    Returns:
        The largest difference between probabilities of the original, in float32, and the exported
        model.

    Raises:
        ValueError: The format is unknown or cannot be quantized, the output exists, a package is
            missing, the model cannot be converted, or the probabilities differ by more than 1e-4
            (float16: 0.01; int8: 0.05, and in the class of more than a tenth of the images).
            For "keras" also: the output does not end in .keras, or a layer belongs neither to Keras
            nor to this project. Nothing is written then.
    """
    return check(model_path, output, export_format, images, options or Options()).difference


def check(
    model_path: str | Path,
    output: str | Path,
    export_format: str,
    images: Sequence[str | Path],
    options: Options,
) -> Check:
    """Exports a model as `run` does; returns the whole comparison."""
    _refuse(export_format, options, images)
    output, is_keras = Path(output), export_format == "keras"
    if output.suffix != (suffix := FORMATS[export_format]):
        if is_keras or (output.suffix and output.suffix in FORMATS.values()):
            end = f"must end in {suffix}" if suffix else f"must not end in {output.suffix}"
            raise ValueError(f"--output={output}: {end} for --format={export_format}.")
    if output.exists() and not _is_unfinished(output, export_format):
        raise ValueError(f"--output={output} exists already: delete it or choose another path.")
    model, card = model_file.load_model(model_path)
    sample = _sample(folders.expand(images), card["preprocess"])
    if is_keras:
        options = dataclasses.replace(options, probabilities=False)
    job = Job(_in_float32(model), card["preprocess"].image_size, sample, options)
    # Pixels and outputs of the export are those that this module's docstring says.
    own = {key: value for key, value in card.items() if key not in ("input_range", "outputs")}
    content = {**own, "preprocess": card["preprocess"].to_dict()}
    content["outputs"] = "softmax" if options.probabilities else "logits"
    if options.quantization != "none":
        content["quantization"] = options.quantization
    content |= describe(job, export_format, card["preprocess"], len(card["class_names"]))
    with _complete(output) as temporary:
        found = _write(job, export_format, temporary, content)
        if not found.passes(options.quantization):
            raise ValueError(
                f"--format={export_format} of {model_path} differs from it by {found.difference} "
                f"in a probability and in the class of {found.num_changed} of {found.num_images} "
                "images: nothing is written."
            )
        if is_keras:  # which other commands take as --model
            archive.with_card(temporary, temporary, content)
    write_json(_card_path(output), content)
    return found


def _refuse(export_format: str, options: Options, images: Sequence[str | Path]) -> None:
    if export_format not in FORMATS:
        raise ValueError(f"--format={export_format}: must be one of {', '.join(FORMATS)}.")
    if options.quantization not in (*_TOLERANCES, "int8"):
        valid = ", ".join((*_TOLERANCES, "int8"))
        raise ValueError(f"--quantization={options.quantization}: must be one of {valid}.")
    if options.quantization != "none" and export_format != "tflite":
        raise ValueError(
            f"--quantization={options.quantization} goes with --format=tflite, not with "
            f"--format={export_format}."
        )
    if options.quantization == "int8" and not images:
        raise ValueError(
            "--quantization=int8 needs images like those of deployment, such as a folder of a few "
            "hundred training images: noisy-student export ... photos/"
        )
    optional.check(*PACKAGES.get(export_format, ()))


def _write(job: Job, export_format: str, path: Path, card: Mapping[str, Any]) -> Check:
    """Writes a model, reads it again and compares it with the original."""
    write, load = BACKENDS[export_format]
    try:
        write(job, path, card)
        exported = _in_batches(load(path), job.sample)
    except OSError as error:
        raise ValueError(f"{path.parent} has no room for the exported model: {error}.") from error
    except Exception as error:  # of any type, and some with pages of text
        if isinstance(error, ValueError):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        text = f"--format={export_format} cannot hold {job.model.name}: {reason}"
        raise ValueError(text) from error
    if not job.options.probabilities:
        exported = tf.nn.softmax(exported).numpy()
    step = inference.predict_step(job.model)
    expected = _in_batches(lambda images: step(images).numpy(), job.sample)
    return Check(
        len(expected),
        float(np.max(np.abs(exported - expected))),
        int(np.sum(exported.argmax(axis=1) != expected.argmax(axis=1))),
    )


def _in_batches(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), _BATCH_SIZE)
    return np.concatenate([predict(images[start : start + _BATCH_SIZE]) for start in starts])


def _in_float32(model: keras.Model) -> keras.Model:
    """Makes all layers of a model compute in float32, as all formats can; returns the model."""
    for layer in contract.layers_of(model):
        layer.dtype_policy = "float32"  # variables are float32 in any precision
    return model


def _card_path(output: Path) -> Path:
    """Returns the path of the card next to an exported model; written last."""
    return output.with_name(f"{output.name}.json")


def _is_unfinished(output: Path, export_format: str) -> bool:
    """Returns True for an incomplete file left by a killed export.

    A ``.keras`` file may belong to the user and have unknown layers.
    """
    named = output.suffix == FORMATS[export_format] != ".keras"
    if not named or not output.is_file() or _card_path(output).exists():
        return False
    try:
        BACKENDS[export_format][1](output)
    except Exception:  # of any type
        return True
    return False


@contextlib.contextmanager
def _complete(output: Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `output` if the block succeeds, else is removed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.stem}.tmp{os.getpid()}{output.suffix}")
    try:
        yield temporary
        os.replace(temporary, output)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


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
    name, export_format = settings.required("model"), given.format
    model_path = model_file.find("model", name)
    end = "-plain.keras" if export_format == "keras" else FORMATS[export_format]
    # Next to the model; weights by name are in a cache and are exported to the current folder.
    place = Path(name) if model_path == name else Path(Path(name).name.replace(".", "-"))
    output = given.output or place.with_name(place.stem + end)
    make_devices(**dataclasses.asdict(settings.device))
    options = Options(given.probabilities, given.quantization)
    found = check(model_path, output, export_format, arguments, options)
    images = f"{found.num_images} {'' if arguments else 'random '}images"
    kind = "logits" if export_format == "keras" else options.output
    changed = f", the class of {found.num_changed} changed" if found.num_changed else ""
    print(
        f"{output}: outputs {kind}; probabilities within {found.difference:.1g} of "
        f"{model_path} on {images}{changed}"
    )


if __name__ == "__main__":
    config.run(_main, schema.ExportCommandConfig, schema.DeviceConfig, takes_arguments=True)
