"""Saved models: one `.keras` file with the averaged weights and a card.

The card says what later stages need to know: class names, preprocessing, where the weights come
from. Two trainings that end with the same weights write the same bytes.
"""

import collections
import dataclasses
import json
import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import keras
import numpy as np

from data.preprocess import PreprocessSpec
from efficientnet import archive, pretrained, weights  # also registers the layers of saved models
from noisy_student.artifacts import integrity, shapes
from noisy_student.artifacts.files import named
from noisy_student.config.schema.model import MAX_SIDE
from noisy_student.networks import contract
from noisy_student.runtime import inference

_HEAD = "head_dense/"
_FREE_WEIGHTS = 2**27  # of a layer, whatever the size of the file
_SIZES = {
    *("units", "filters", "input_dim", "output_dim", "kernel_size", "size", "padding", "n"),
    *("target_shape", "num_heads", "key_dim", "depth_multiplier", "batch_shape"),
}


class _StoredPreprocess(TypedDict):
    image_size: int
    small_image: NotRequired[bool]
    crop_padding: NotRequired[int]
    enlarge: NotRequired[bool]
    interpolation: NotRequired[str]
    pixels: NotRequired[str]


class _StoredCard(TypedDict):
    """Content of `card.json`."""

    class_names: list[str]
    preprocess: _StoredPreprocess
    role: NotRequired[str]
    round: NotRequired[int]
    model: NotRequired[dict[str, Any]]
    seed: NotRequired[int]
    step: NotRequired[int]
    validation_top1: NotRequired[float | None]
    source: NotRequired[Any]
    class_titles: NotRequired[list[str]]
    input_range: NotRequired[Literal["0..255", "0..1", "-1..1"]]
    outputs: NotRequired[Literal["logits", "softmax"]]


class Card(TypedDict):
    """The card of a saved model as `read_card` returns it; `card.json` has lists and dicts."""

    class_names: tuple[str, ...]  # in the order of the logits
    preprocess: PreprocessSpec  # at evaluation
    # a model trained here
    role: NotRequired[str]
    round: NotRequired[int]
    model: NotRequired[dict[str, Any]]  # fields of `config.ModelConfig` on the network
    seed: NotRequired[int]
    step: NotRequired[int]
    validation_top1: NotRequired[float | None]  # percent
    # a model of others, see `networks.contract.fit`
    input_range: NotRequired[str]
    outputs: NotRequired[str]
    # a converted model
    source: NotRequired[str]
    class_titles: NotRequired[list[str]]  # names for people, in the order of `class_names`


def given(flag: str, name: str, network: str) -> Path:
    """Returns the file of a given model; see `pretrained.find` for names, URLs and other files.

    Args:
        flag: the flag that gives it, for messages.
        name: its value.
        network: the network that is to have the weights.

    Raises:
        ValueError: it cannot be had, or is of another network.
    """
    try:
        return pretrained.find(name, network)
    except ValueError as error:
        raise ValueError(f"--{flag}={name}: {error}") from None


def save_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    class_names: tuple[str, ...],
    spec: PreprocessSpec,
    /,
    **facts: Any,
) -> None:
    """Writes model and card atomically; the bytes depend on weights and card alone.

    Args:
        model: the averaged model.
        path: ends in `.keras`.
        class_names: in the order of the logits.
        spec: preprocessing at evaluation.
        **facts: further fields of `Card`.
    """
    card = {"class_names": list(class_names), "preprocess": spec.to_dict(), **facts}
    with named(path):
        archive.save(model, path, card)


def load_model(path: str | os.PathLike[str]) -> tuple[keras.Model, Card]:
    """Reads a saved model.

    Returns:
        The model, RGB 0..255 [B, H, W, 3] -> logits [B, C], and its card.

    Raises:
        ValueError: the file is missing, damaged, is not the one that its stage finished with, is no
            Keras model, or has no card that fits it.
    """
    card = read_card(path)
    model = load_keras(path)
    classes, side = model.output_shape[-1], card["preprocess"].image_size
    fits = len(model.input_shape) == 4 and all(n in (None, side) for n in model.input_shape[1:3])
    if classes != len(card["class_names"]):
        names = len(card["class_names"])
        raise ValueError(
            f"{path} has {classes} logits, but its {archive.CARD} names {names} classes"
        )
    if not fits:
        raise ValueError(
            f"{path} takes inputs {model.input_shape}, not images of its {archive.CARD}"
        )
    if "outputs" in card:
        model = contract.fit(model, side, card.get("input_range", "0..255"), card["outputs"])
    return model, card


def load_keras(path: str | os.PathLike[str]) -> keras.Model:
    """Reads a Keras model as it is, with or without a card.

    Raises:
        ValueError: the file is missing, damaged or no Keras model with one input and one output.
    """
    _refuse_excess(path)
    try:
        model = keras.saving.load_model(path, compile=False)
        sides = [*model.input_shape, *model.output_shape]
    except Exception as error:  # whatever a damaged or foreign configuration leads to
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason[:300]}") from error
    if not all(side is None or isinstance(side, int) for side in sides):
        raise ValueError(f"{path} has several inputs or outputs: {sides}.")
    return model


def read_card(path: str | os.PathLike[str]) -> Card:
    """Returns the card of a saved model, without loading the weights.

    Raises:
        ValueError: see `load_model`.
    """
    integrity.check_output(path)
    try:
        card: Any = archive.read_card(path)
        problem = shapes.problem(card, _StoredCard)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, zlib.error) as error:
        problem = f"it cannot be read ({error})"
    if not problem:
        names, side = card["class_names"], card["preprocess"]["image_size"]
        if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
            problem = f"class_names has {twice[0]!r} twice"
        elif not 1 <= side <= MAX_SIDE:
            problem = f"preprocess.image_size is {side}, not 1..{MAX_SIDE}"
    if problem:
        raise ValueError(f"{path} has a damaged {archive.CARD}: {problem}. Use another model file.")
    try:
        card["preprocess"] = PreprocessSpec.from_dict(card["preprocess"])
    except ValueError as error:
        raise ValueError(f"{path} has a damaged {archive.CARD}: {error}") from None
    card["class_names"] = tuple(card["class_names"])
    return card


def check_classes(flag: str, path: str | os.PathLike[str], class_names: Sequence[str]) -> Card:
    """Returns the card of a saved model that knows some classes.

    Args:
        flag: option that names the file.
        path: a saved model.
        class_names: classes that it must know.

    Raises:
        ValueError: the file is no saved model, or it does not know a class.
    """
    card = read_card(path)
    check_known(flag, path, card, class_names)
    return card


def check_known(
    flag: str, path: str | os.PathLike[str], card: Card, class_names: Sequence[str]
) -> None:
    """Refuses a model that does not know all of some classes; see `check_classes`."""
    try:
        inference.class_columns(card["class_names"], class_names)
    except ValueError as error:
        raise ValueError(f"--{flag}={path}: {error}") from None


def _refuse_excess(path: str | os.PathLike[str]) -> None:
    """Refuses a model whose layers would be far larger than the weights in the file.

    Keras would allocate them before it compares them with the file.

    Raises:
        ValueError: names the file, and the layers' sizes.
    """
    sizes: list[float] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            if key in _SIZES:
                values = value if isinstance(value, list) else [value]
                sizes.extend(n for n in values if isinstance(n, int | float))

    try:
        with zipfile.ZipFile(path) as file:
            stored = sum(info.file_size for info in file.infolist())
            json.loads(file.read("config.json"), object_pairs_hook=collect)
    except FileNotFoundError:
        raise ValueError(f"Model file {path} does not exist.") from None
    except (KeyError, ValueError, RecursionError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or no Keras model: {error}") from None
    largest = sorted(sizes)[-2:]
    if math.prod(largest) > max(_FREE_WEIGHTS, 16 * stored):
        raise ValueError(f"{path} has layers of sizes {largest}, but its file only {stored} bytes")


def start_from(
    model: keras.Model,
    path: str | os.PathLike[str],
    class_names: tuple[str, ...],
    spec: PreprocessSpec,
) -> str:
    """Copies the weights and the pixel normalization of a saved model into a fresh one.

    The classifier is copied class by class if the saved model knows all of `class_names`. Otherwise
    it starts at zero: on trained features a random one is confident, and wrong, at the first step.

    Args:
        model: a fresh model of the same layers.
        path: a saved or converted model.
        class_names: of `model`, in the order of its logits.
        spec: preprocessing of the images that `model` will be trained on.

    Returns:
        A log message: the source, its classifier, and differences in preprocessing and strides.

    Raises:
        ValueError: the saved model has other layers; the message lists the differences.
    """
    source, card = load_model(path)
    position = {name: index for index, name in enumerate(card["class_names"])}
    has_classes = all(name in position for name in class_names)
    check_fit(model, source, path, with_head=has_classes)
    arrays = {variable.path: np.asarray(variable) for variable in source.variables}
    for variable in model.variables:
        array, is_head = arrays[variable.path], variable.path.startswith(_HEAD)
        if is_head and has_classes:
            array = array[..., [position[label] for label in class_names]]
        elif is_head:
            array = np.zeros(variable.shape)
        variable.assign(array)
    normalize = source.get_layer("normalize")
    weights.set_normalization(model, normalize.mean, normalize.std)
    head = "with its classifier" if has_classes else "with a new classifier, zero (other classes)"
    message = f"starting from {path} {head}"
    if others := _differences(card["preprocess"], spec):
        message += f"; its training images differed: {others}"
    before, now = _strides(source), _strides(model)
    if changed := [f"{n} {before[n]} instead of {now[n]}" for n in now if now[n] != before[n]]:
        message += f"; its strides differed: {', '.join(changed)}"
    return message


def _strides(model: keras.Model) -> dict[str, int]:
    """Returns the strides of the stem and the blocks by the names of their layers."""
    blocks = {layer.name: layer.stride for layer in model.layers if hasattr(layer, "stride")}
    return {"stem_conv": model.get_layer("stem_conv").strides[0], **blocks}


def check_fit(
    model: keras.Model, source: keras.Model, origin: str | os.PathLike[str], *, with_head: bool
) -> None:
    """Checks that a model has the layers of another; both may have shapes without values.

    Args:
        model: the model to be trained.
        source: the model whose weights it starts from.
        origin: where `source` is from, for the message.
        with_head: the classifier's weights are taken, too; the numbers of classes may differ.

    Raises:
        ValueError: the layers differ; the message lists the differences.
    """
    shapes = {v.path: tuple(v.shape) for v in source.variables if _is_taken(v, with_head)}
    wanted = [variable for variable in model.variables if _is_taken(variable, with_head)]
    problems = sorted(set(shapes) - {variable.path for variable in wanted})
    for variable in wanted:
        found, shape = shapes.get(variable.path), tuple(variable.shape)
        compared = slice(-1 if variable.path.startswith(_HEAD) else None)
        if found is None:
            problems.append(variable.path)
        elif found[compared] != shape[compared]:
            problems.append(f"{variable.path} {found} instead of {shape}")
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError(
            f"{origin} ({source.name}) has other layers than the {model.name} to be trained: "
            f"{', '.join(problems[:10])}{more}."
        )


def _is_taken(variable: keras.Variable, with_head: bool) -> bool:
    return with_head or not variable.path.startswith(_HEAD)


def _differences(stored: PreprocessSpec, used: PreprocessSpec) -> str:
    """Lists the fields in which two preprocessings differ; "" if they are equal."""
    before, now = map(dataclasses.asdict, (stored, used))
    return ", ".join(
        f"{name} {before[name]} instead of {now[name]}" for name in now if now[name] != before[name]
    )
