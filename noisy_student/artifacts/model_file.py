"""Saved models: one `.keras` file with the averaged weights and a card.

The card says what later stages need to know: class names, preprocessing, where the weights come
from. Two trainings that end with the same weights write the same bytes.
"""

import os
from typing import Any, NotRequired, TypedDict

import keras
import numpy as np

from data.preprocess import PreprocessSpec
from efficientnet import archive, weights  # also registers the layers of saved models

_HEAD = "head_dense/"


class Card(TypedDict):
    """The card of a saved model as `read_card` returns it; `card.json` has lists and dicts."""

    class_names: tuple[str, ...]  # in the order of the logits
    preprocess: PreprocessSpec  # at evaluation
    # a model trained here
    role: NotRequired[str]
    round: NotRequired[int]
    model: NotRequired[dict[str, Any]]  # fields of `config.ModelConfig`
    seed: NotRequired[int]
    step: NotRequired[int]
    validation_top1: NotRequired[float | None]  # percent
    # a converted model
    source: NotRequired[str]
    class_titles: NotRequired[list[str]]  # names for people, in the order of `class_names`


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
    archive.save(model, path, card)


def load_model(path: str | os.PathLike[str]) -> tuple[keras.Model, Card]:
    """Reads a saved model.

    Returns:
        The model, RGB 0..255 [B, H, W, 3] -> logits [B, C], and its card.

    Raises:
        ValueError: the file is missing, is not a Keras model, or has no card.
    """
    card = read_card(path)
    return keras.saving.load_model(path, compile=False), card


def read_card(path: str | os.PathLike[str]) -> Card:
    """Returns the card of a saved model, without loading the weights.

    Raises:
        ValueError: see `load_model`.
    """
    card: Any = archive.read_card(path)
    card["class_names"] = tuple(card["class_names"])
    card["preprocess"] = PreprocessSpec.from_dict(card["preprocess"])
    return card


def start_from(
    model: keras.Model,
    path: str | os.PathLike[str],
    class_names: tuple[str, ...],
    spec: PreprocessSpec,
) -> str:
    """Copies the weights and the pixel normalization of a saved model into a fresh one.

    The classifier is copied class by class if the saved model knows all of `class_names`; otherwise
    it keeps its initial weights.

    Args:
        model: a fresh model of the same layers.
        path: a saved or converted model.
        class_names: of `model`, in the order of its logits.
        spec: preprocessing of the images that `model` will be trained on.

    Returns:
        A log message: the source, its classifier, and differences in preprocessing.

    Raises:
        ValueError: the saved model has other layers; the message lists the differences.
    """
    source, card = load_model(path)
    arrays = {variable.path: np.asarray(variable) for variable in source.variables}
    position = {name: index for index, name in enumerate(card["class_names"])}
    has_classes = all(name in position for name in class_names)
    for name in [name for name in arrays if name.startswith(_HEAD)]:
        if has_classes:
            arrays[name] = arrays[name][..., [position[label] for label in class_names]]
        else:
            del arrays[name]
    wanted = [v for v in model.variables if has_classes or not v.path.startswith(_HEAD)]
    if problems := _misfits(arrays, wanted):
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError(
            f"{path} ({source.name}) has other layers than the {model.name} to be trained: "
            f"{', '.join(problems[:10])}{more}."
        )
    for variable in wanted:
        variable.assign(arrays[variable.path])
    normalize = source.get_layer("normalize")
    weights.set_normalization(model, normalize.mean, normalize.std)
    head = "with its classifier" if has_classes else "with a new classifier (other classes)"
    message = f"starting from {path} {head}"
    if others := _differences(card["preprocess"], spec):
        message += f"; its training images differed: {others}"
    return message


def _misfits(arrays: dict[str, np.ndarray], wanted: list[keras.Variable]) -> list[str]:
    """Lists the weights that one side lacks or that differ in shape."""
    problems = sorted(set(arrays) - {variable.path for variable in wanted})
    for variable in wanted:
        array, shape = arrays.get(variable.path), tuple(variable.shape)
        if array is None:
            problems.append(variable.path)
        elif array.shape != shape:
            problems.append(f"{variable.path} {array.shape} instead of {shape}")
    return problems


def _differences(stored: PreprocessSpec, used: PreprocessSpec) -> str:
    """Lists the fields in which two preprocessings differ; "" if they are equal."""
    before, now = stored.to_dict(), used.to_dict()
    return ", ".join(
        f"{name} {before[name]} instead of {now[name]}" for name in now if now[name] != before[name]
    )
