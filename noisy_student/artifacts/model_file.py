"""Saved models: one `.keras` file with the averaged weights and a card.

The card says what later stages need to know: class names, preprocessing, where the weights come
from. Two trainings that end with the same weights write the same bytes.
"""

import collections
import dataclasses
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import keras
import numpy as np

from data.preprocess import PreprocessSpec
from efficientnet import archive, hub, pretrained, weights
from efficientnet.layers import Normalize  # also registers the layers of saved models
from noisy_student import networks
from noisy_student.artifacts import integrity, keras_file, shapes
from noisy_student.artifacts.files import named
from noisy_student.config.schema.model import MAX_SIDE
from noisy_student.networks import contract
from noisy_student.runtime import inference


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
    # a third-party model, see `networks.contract.fit`
    input_range: NotRequired[str]
    outputs: NotRequired[str]
    # a converted model
    source: NotRequired[str]
    class_titles: NotRequired[list[str]]  # display names, in the order of `class_names`


def given(flag: str, name: str, network: str) -> Path:
    """Returns the file of the model that a flag gives, with the weights of a network.

    See `pretrained.find` for names, URLs and other files.

    Raises:
        ValueError: it cannot be had, or is of another network.
    """
    try:
        return pretrained.find(name, network)
    except ValueError as error:
        raise ValueError(f"--{flag}={name}: {error}") from None


def find(flag: str, name: str) -> str:
    """Returns the path of a model, which may be a name such as timm/tf_efficientnet_b0.ns_jft_in1k.

    What is no such name is returned as it is.

    Raises:
        ValueError: the weights cannot be had; the message says what to download.
    """
    if not name.startswith(("timm/", hub.PREFIX)):
        return name
    return str(given(flag, name, hub.network_of(name, "")))


def save_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    class_names: tuple[str, ...],
    spec: PreprocessSpec,
    /,
    **facts: Any,
) -> None:
    """Writes model and card atomically; the bytes depend on weights and card alone.

    The card has class names in the order of the logits, preprocessing at evaluation, and `facts`,
    further fields of `Card`.
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
    model = keras_file.load(path)
    classes, side = model.output_shape[-1], card["preprocess"].image_size
    fits = len(model.input_shape) == 4 and all(n in (None, side) for n in model.input_shape[1:3])
    if classes != len(card["class_names"]):
        names = len(card["class_names"])
        raise ValueError(
            f"{path} has {classes} logits, but its {archive.CARD} names {names} classes"
        )
    if not fits:
        raise ValueError(
            f"{path} has input shape {model.input_shape}, which does not fit its {archive.CARD}"
        )
    if "outputs" in card:
        model = contract.fit(model, side, card.get("input_range", "0..255"), card["outputs"])
    return model, card


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
            problem = f"class_names lists {twice[0]!r} twice"
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


def is_foreign(card: Card) -> bool:
    """Returns True for the card of a model that is no EfficientNet of this project."""
    name = (card.get("model") or {}).get("name")
    return "outputs" in card or (name is not None and networks.get(name).is_foreign)


def check_classes(flag: str, path: str | os.PathLike[str], class_names: Sequence[str]) -> Card:
    """Returns the card of a saved model, if that knows all of some classes.

    Raises:
        ValueError: the file is no saved model, or it does not know a class; names the flag.
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
        ValueError: see `check_fit`.
    """
    source, card = load_model(path)
    position = {name: index for index, name in enumerate(card["class_names"])}
    has_classes = all(name in position for name in class_names)
    check_fit(model, source, path, with_head=has_classes)
    arrays, head = {w.path: np.asarray(w) for w in source.weights}, head_path(model)
    for variable in model.weights:
        array, is_head = arrays[variable.path], variable.path.startswith(head)
        if is_head and has_classes:
            array = array[..., [position[label] for label in class_names]]
        elif is_head:
            array = np.zeros(variable.shape)
        variable.assign(array)
    copy_normalization(source, model)
    head = (
        "with its classifier"
        if has_classes
        else "with a new classifier, initialized to zero (other classes)"
    )
    message = f"starting from {path} {head}"
    if others := _differences(card["preprocess"], spec):
        message += f"; preprocessing differs: {others}"
    before, now = _strides(source), _strides(model)
    if changed := [f"{n} {before[n]} instead of {now[n]}" for n in now if now[n] != before[n]]:
        message += f"; strides differ: {', '.join(changed)}"
    return message


def copy_normalization(source: keras.Model, model: keras.Model) -> None:
    """Copies the pixel normalization of an EfficientNet; others have it in their layers."""
    for layer in source.layers:
        if isinstance(layer, Normalize):
            weights.set_normalization(model, layer.mean, layer.std)


def _strides(model: keras.Model) -> dict[str, int]:
    """Returns the strides of the stem and the blocks by the names of their layers."""
    blocks = {layer.name: layer.stride for layer in model.layers if hasattr(layer, "stride")}
    stems = {layer.name: layer.strides[0] for layer in model.layers if layer.name == "stem_conv"}
    return {**stems, **blocks}


def head_path(model: keras.Model) -> str:
    """Returns the beginning of the paths of the classifier's weights."""
    return model.weights[-1].path.rpartition("/")[0] + "/"


def check_fit(
    model: keras.Model, source: keras.Model, origin: str | os.PathLike[str], *, with_head: bool
) -> None:
    """Checks that a model has the layers of the one whose weights it starts from.

    Both may have shapes without values. With `with_head` the classifier's weights are taken, too;
    the numbers of classes may differ.

    Raises:
        ValueError: the layers differ; the message lists the differences, and the origin.
    """
    head = head_path(model)

    def taken(model: keras.Model) -> list[keras.Variable]:
        return [w for w in model.weights if with_head or not w.path.startswith(head)]

    shapes = {weight.path: tuple(weight.shape) for weight in taken(source)}
    wanted = taken(model)
    problems = sorted(set(shapes) - {variable.path for variable in wanted})
    for variable in wanted:
        found, shape = shapes.get(variable.path), tuple(variable.shape)
        compared = slice(-1 if variable.path.startswith(head) else None)
        if found is None:
            problems.append(variable.path)
        elif found[compared] != shape[compared]:
            problems.append(f"{variable.path} {found} instead of {shape}")
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError(
            f"{origin} ({source.name}) does not match the {model.name} to be trained: "
            f"{', '.join(problems[:10])}{more}."
        )


def _differences(stored: PreprocessSpec, used: PreprocessSpec) -> str:
    """Lists the fields in which two preprocessings differ; "" if they are equal."""
    before, now = map(dataclasses.asdict, (stored, used))
    return ", ".join(
        f"{name} {before[name]} instead of {now[name]}" for name in now if now[name] != before[name]
    )
