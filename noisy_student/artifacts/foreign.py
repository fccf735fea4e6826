"""Third-party models without a card: `.keras` files, SavedModels and TF-Hub folders."""

import collections
import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from data.preprocess import PreprocessSpec
from efficientnet import archive, convert
from noisy_student.artifacts import keras_file
from noisy_student.artifacts.files import StrPath, file_hash
from noisy_student.artifacts.model_file import Card
from noisy_student.config import schema
from noisy_student.networks import contract

_SAVED_MODEL = "saved_model.pb"
_HINT = (
    "it has no card: give --class_names, and --image_size, --input_range or --outputs if they "
    "cannot be inferred"
)


@dataclasses.dataclass(frozen=True)
class Description:
    """Information missing from a model file without a card.

    Attributes:
        given: classes, range of the pixels, kind of outputs and interpolation.
        framing: size and crop; an image_size of None is that of the model's input.
    """

    given: schema.ForeignModelConfig
    framing: schema.FramingConfig

    def preprocess(self, side: int | None, path: StrPath) -> PreprocessSpec:
        """Returns the preprocessing for a model whose input has a side, or takes any (None)."""
        framing, size = self.framing, self.framing.image_size or side
        if size is None:
            raise ValueError(f"{path} accepts images of any size: give --image_size.")
        if side not in (None, size):
            raise ValueError(f"--image_size={size}: {path} takes images of {side}x{side} pixels.")
        return PreprocessSpec(
            size,
            framing.small_image,
            crop_padding=framing.crop_padding,
            interpolation=self.given.interpolation,
            enlarge=framing.enlarge,
        )


@dataclasses.dataclass(frozen=True)
class Opened:
    """A model without a card, ready for use."""

    path: Path  # file or folder
    model: Callable[..., tf.Tensor]  # RGB 0..255 [B, S, S, 3] -> logits [B, C]
    card: Card  # the card that it would have
    has_gradients: bool  # whether gradients reach the pixels, as attacks need

    @property
    def fingerprint(self) -> str:
        """Hash of the files and the card: of everything that predictions depend on."""
        files = [self.path] if self.path.is_file() else sorted(self.path.rglob("*"))
        content = [file_hash(file) for file in files if file.is_file()]
        text = json.dumps([content, {**self.card, "preprocess": self.card["preprocess"].to_dict()}])
        return hashlib.sha256(text.encode()).hexdigest()

    def describe(self) -> str:
        """Returns the assumed card as text, for the terminal."""
        spec, card = self.card["preprocess"], self.card
        framing = "small images" if spec.small_image else f"crop padding {spec.crop_padding}"
        return (
            f"{self.path}: {len(card['class_names'])} classes, {spec.image_size}x{spec.image_size} "
            f"pixels in {card['input_range']} ({framing}, {spec.interpolation}), {card['outputs']}"
        )


def has_card(path: StrPath) -> bool:
    """Returns True for a model file with a card."""
    path = Path(path)
    if not path.is_file():
        return False
    try:
        with zipfile.ZipFile(path) as file:
            return archive.CARD in file.namelist()
    except zipfile.BadZipFile:
        return True  # whoever reads the card says so


def open_model(path: StrPath, description: Description) -> Opened:
    """Loads a `.keras` file or the folder of a SavedModel, and checks that it is as described.

    Raises:
        ValueError: something is missing or does not fit; the message names it.
    """
    path, given = Path(path), description.given
    if not path.exists():
        raise archive.no_file(path)
    names = class_names(given.class_names, path)
    if path.is_dir():
        call, side, range_found = _saved_model(path)
    else:
        keras_model, side = keras_file.load(path), None
        side = _side(keras_model.input_shape, path)
        range_found = "0..255" if contract.rescales(keras_model) else None
    spec, input_range = description.preprocess(side, path), given.input_range or range_found
    if input_range is None:
        raise ValueError(
            f"{path}: the pixel range cannot be inferred (no rescaling layer): give --input_range."
        )

    def raw(images: tf.Tensor) -> tf.Tensor:
        pixels = contract.scale_pixels(images, input_range)
        return call(pixels) if path.is_dir() else keras_model(pixels, training=False)

    outputs, has_gradients = _try(raw, path, spec.image_size, names, given.outputs)
    card: Card = {
        "class_names": names,
        "preprocess": spec,
        "input_range": input_range,
        "outputs": outputs,
    }
    if titles := _titles(given.class_names):
        card["class_titles"] = titles
    if not path.is_dir():
        model = contract.fit(keras_model, spec.image_size, input_range, outputs)
        return Opened(path, model, card, has_gradients)

    def logits(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        found = raw(images)
        return contract.log_probabilities(found) if outputs == "softmax" else found

    return Opened(path, logits, card, has_gradients)


def class_names(given: Sequence[str] | None, path: StrPath) -> tuple[str, ...]:
    """Returns the classes of a model in the order of its outputs.

    Args:
        given: names, the one name of a file with a name per line, or the word imagenet.
        path: the model, for messages.

    Raises:
        ValueError: none are given, the file is missing, or a name is empty or twice there.
    """
    if not given:
        raise ValueError(f"{path}: {_HINT}.")
    names = tuple(given)
    if len(names) == 1 and names[0] == "imagenet":
        return tuple(convert.imagenet_classes()[0])
    if len(names) == 1:
        if not Path(names[0]).is_file():
            raise ValueError(
                f"--class_names={names[0]}: no such file; to give names, give at least two."
            )
        names = tuple(convert.read_class_names(names[0]))
    for name, count in collections.Counter(names).items():
        if not name or count > 1:
            raise ValueError(f"--class_names: {name!r} is {'given twice' if name else 'empty'}.")
    return names


def _titles(given: Sequence[str] | None) -> list[str] | None:
    return convert.imagenet_classes()[1] if tuple(given or ()) == ("imagenet",) else None


def _side(shape: Any, path: Path) -> int | None:
    """Returns the side of the images that an input [B, S, S, 3] takes; None: any.

    Raises:
        ValueError: it is no input for square RGB images.
    """
    shape = tuple(shape) if isinstance(shape, tuple | list | tf.TensorShape) else ()
    if len(shape) != 4 or shape[3] not in (None, 3) or shape[1] != shape[2]:
        raise ValueError(f"{path} takes inputs {shape}, not square RGB images [B, S, S, 3].")
    return shape[1]


def _saved_model(path: Path) -> tuple[Callable[[tf.Tensor], tf.Tensor], int | None, str | None]:
    """Loads a SavedModel; returns its function of pixels, the side and the range of its input."""
    if not (path / _SAVED_MODEL).is_file():
        raise ValueError(f"{path} is not a SavedModel: it has no {_SAVED_MODEL}.")
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # of any type
        raise ValueError(f"{path} cannot be loaded as a SavedModel: {_line(error)}") from error
    signature = loaded.signatures.get("serving_default") if loaded.signatures else None
    if signature is None:
        if not callable(loaded):
            raise ValueError(f"{path} has no signature serving_default and is not callable.")
        return lambda pixels: loaded(pixels), None, None
    inputs = list(signature.structured_input_signature[1].items())
    outputs = list(signature.structured_outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{path}: its signature has the inputs {[name for name, _ in inputs]} and the outputs "
            f"{outputs}, not one of each."
        )
    (name, spec), output = inputs[0], outputs[0]
    side = _side(spec.shape, path)
    if spec.shape[0] is not None:
        raise ValueError(f"{path} has a fixed batch size of {spec.shape[0]}; it must accept any.")

    def call(pixels: tf.Tensor) -> tf.Tensor:
        if spec.dtype.is_integer:
            pixels = tf.saturate_cast(tf.round(pixels), spec.dtype)
        return loaded.signatures["serving_default"](**{name: tf.cast(pixels, spec.dtype)})[output]

    return call, side, "0..255" if spec.dtype.is_integer else None


def _try(
    raw: Callable[[tf.Tensor], tf.Tensor],
    path: Path,
    image_size: int,
    names: tuple[str, ...],
    given: str | None,
) -> tuple[str, bool]:
    """Runs a model on a few images; returns the kind of its outputs and if it has gradients."""
    black = tf.zeros([1, image_size, image_size, 3])
    try:
        with tf.GradientTape() as tape:
            tape.watch(black)
            outputs = tf.cast(raw(black), tf.float32)
        gradient = tape.gradient(outputs, black)
    except Exception as error:  # of any type
        raise ValueError(
            f"{path} fails on an image of {image_size}x{image_size}x3: {_line(error)}"
        ) from error
    if outputs.shape.rank != 2 or outputs.shape[1] != len(names):
        raise ValueError(
            f"{path} returns {list(outputs.shape[1:])} numbers per image, but --class_names has "
            f"{len(names)} classes."
        )
    if given == "logits":
        return given, gradient is not None
    try:
        found = contract.detect_outputs(raw, image_size)
    except ValueError as error:
        raise ValueError(f"{path} {error}.") from None
    if given not in (None, found):
        raise ValueError(f"--outputs={given}: the outputs of {path} do not sum to 1.")
    return found, gradient is not None


def _line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
