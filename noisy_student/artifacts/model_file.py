"""Saved models.

A saved model is one ``.keras`` file holding the averaged weights and a card: class names,
preprocessing, where the weights come from. Two trainings that end with the same weights give the
same bytes.
"""

import os
from typing import Any

import keras
import numpy as np

from data.preprocess import PreprocessSpec
from efficientnet import archive, weights  # and the layers that a saved model is made of


def save_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    class_names: tuple[str, ...],
    spec: PreprocessSpec,
    /,
    **facts: Any,
) -> None:
    """Writes model and card atomically, bytes depending on nothing but weights and card.

    Args:
        model: the averaged model.
        path: ends in ``.keras``.
        class_names: in the order of the logits.
        spec: preprocessing at evaluation.
        **facts: what else the card says (JSON-like).
    """
    card = {"class_names": list(class_names), "preprocess": spec.to_dict(), **facts}
    archive.save(model, path, card)


def load_model(path: str | os.PathLike[str]) -> tuple[keras.Model, dict[str, Any]]:
    """Reads a saved model.

    Returns:
        The model (RGB 0..255 [B, H, W, 3] -> logits) and its card, see `read_card`.

    Raises:
        ValueError: for a file that is missing, no Keras model, or has no card.
    """
    card = read_card(path)
    return keras.saving.load_model(path, compile=False), card


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a saved model, without loading the weights.

    Returns:
        The card, with ``preprocess`` as a `PreprocessSpec` and ``class_names`` as a tuple.
    """
    card = archive.read_card(path)
    card["class_names"] = tuple(card["class_names"])
    card["preprocess"] = PreprocessSpec.from_dict(card["preprocess"])
    return card


def start_from(
    model: keras.Model,
    path: str | os.PathLike[str],
    class_names: tuple[str, ...],
    spec: PreprocessSpec,
) -> str:
    """Gives a model the weights of a saved one, and its normalization of pixels.

    The classifier comes along where the saved model knows all of `class_names`, each class with
    its own weights; otherwise it stays as it is.

    Args:
        model: a fresh model of the same layers.
        path: a saved or converted model.
        class_names: of `model`, in the order of its logits.
        spec: how the images are made that it will be trained on.

    Returns:
        What was loaded, and on what other images it was trained, in words.

    Raises:
        ValueError: the saved model has other layers; the message lists what does not fit.
    """
    source, card = load_model(path)
    arrays = {variable.path: np.asarray(variable) for variable in source.variables}
    position = {name: index for index, name in enumerate(card["class_names"])}
    known = all(name in position for name in class_names)
    for name in [name for name in arrays if name.startswith("head_dense/")]:
        if known:
            arrays[name] = arrays[name][..., [position[label] for label in class_names]]
        else:
            del arrays[name]
    wanted = [v for v in model.variables if known or not v.path.startswith("head_dense/")]
    problems = sorted(set(arrays) - {variable.path for variable in wanted})
    problems += [v.path for v in wanted if v.path not in arrays]
    problems += [
        f"{v.path} {arrays[v.path].shape} instead of {tuple(v.shape)}"
        for v in wanted
        if v.path in arrays and arrays[v.path].shape != tuple(v.shape)
    ]
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError(
            f"{path} ({source.name}) has other layers than the {model.name} to be trained: "
            f"{', '.join(problems[:10])}{more}."
        )
    for variable in wanted:
        variable.assign(arrays[variable.path])
    normalize = source.get_layer("normalize")
    weights.set_normalization(model, normalize.mean, normalize.std)
    head = "with its classifier" if known else "with a new classifier: its classes are others"
    told = f"starting from {path} {head}"
    if others := differences(card["preprocess"], spec):
        told += f"; its images were made differently: {others}"
    return told


def differences(stored: PreprocessSpec, used: PreprocessSpec) -> str:
    """What of a saved model's preprocessing is not what is used, in words; "" where all is."""
    before, now = stored.to_dict(), used.to_dict()
    return ", ".join(
        f"{name} {before[name]} instead of {now[name]}" for name in now if now[name] != before[name]
    )
