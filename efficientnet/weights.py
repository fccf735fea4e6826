"""Loads published weights into a model: TensorFlow 1 checkpoints, keras.applications, timm.

Every variable must match. Otherwise a ValueError lists missing and unused variables and those with
another shape or non-finite values, and the model stays unchanged.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from efficientnet import checkpoint_files, weight_names
from efficientnet.model import NORMALIZATIONS

_AVERAGE = "/ExponentialMovingAverage"
_TF1_STEM = re.compile(r"^(?P<scope>.+)/stem/conv2d/kernel$")
_TF1_BATCH_NORM = re.compile(r"/stem/(?P<kind>\w*batch_normalization)/gamma$")
# Optimizer state, which models do not need.
_TF1_TRAINING = re.compile(r"(^global_step|/(RMSProp|Momentum|Adam|adam_[mv])(_\d+)?)$")
_LISTED = 40  # maximum number of names in an error message


def load_tf1_checkpoint(
    model: keras.Model,
    path: str | os.PathLike[str],
    use_ema: bool = True,
    *,
    drop_head: bool = False,
) -> None:
    """Loads a checkpoint of the public TensorFlow 1 code.

    Args:
        model: a model from `efficientnet.build_model`.
        path: prefix of the checkpoint ("dir/model.ckpt"), a folder with one checkpoint, or a tar
            archive of such a folder, as published.
        use_ema: loads the averaged weights, to which the published accuracies refer.
        drop_head: keeps the classifier of `model`.

    Raises:
        ValueError: the checkpoint is missing, unreadable or of another model; the message lists
            the variables that do not match.
    """
    arrays = checkpoint_files.read_tf1(path)
    averaged = {n.removesuffix(_AVERAGE): a for n, a in arrays.items() if n.endswith(_AVERAGE)}
    raw = {n: a for n, a in arrays.items() if not n.endswith(_AVERAGE)}
    raw = {n: a for n, a in raw.items() if not _TF1_TRAINING.search(n)}
    arrays_used = averaged if use_ema else raw
    stem = next(filter(None, map(_TF1_STEM.match, arrays_used)), None)
    if stem is None:
        if any(map(_TF1_STEM.match, raw if use_ema else averaged)):
            have, flag = ("no", "use_ema=False (--raw)") if use_ema else ("only", "use_ema=True")
            raise ValueError(f"{path} has {have} averaged weights; load it with {flag}.")
        raise ValueError(
            f"{path} is not an EfficientNet checkpoint: it has no variable "
            f".../stem/conv2d/kernel, but {_listing(arrays)}."
        )
    kinds = filter(None, map(_TF1_BATCH_NORM.search, arrays_used))
    kind = next((match["kind"] for match in kinds), "tpu_batch_normalization")
    names = weight_names.tf1(model, stem["scope"], kind)
    _assign(model, arrays_used, names, str(path), drop_head)


def load_keras_applications(
    model: keras.Model, source: keras.Model | str | os.PathLike[str], *, drop_head: bool = False
) -> None:
    """Loads a model of keras.applications, or weights of it or of qubvel's package.

    The model adopts the pixel normalization of the source, which is part of its layers in
    keras.applications. Without published weights, it only divides by 255.

    Args:
        model: a model from `efficientnet.build_model`.
        source: an EfficientNet of keras.applications (Keras 3 or tf_keras), or a file: ``.keras``,
            ``.weights.h5``, or an ``.h5`` of older versions or of qubvel's package `efficientnet`.
        drop_head: keeps the classifier of `model`.

    Raises:
        ValueError: the file is missing or unreadable, or the source is another model; the message
            lists the variables that do not match.
    """
    label = str(source) if isinstance(source, str | os.PathLike) else f"model {source.name!r}"
    if isinstance(source, str | os.PathLike) and Path(source).suffix == ".keras":
        source = checkpoint_files.read_keras_model(source)
    if isinstance(source, str | os.PathLike):
        classes = None if drop_head else model.get_layer(weight_names.HEAD).units
        arrays = checkpoint_files.read_keras_weights(source, model.name, classes)
        normalization = _stored_normalization(arrays)
    else:
        arrays = checkpoint_files.arrays_of(source)
        normalization = _probed_normalization(source)
    arrays = {name: a for name, a in arrays.items() if not name.startswith("normalization")}
    head = "probs" if "probs/kernel" in arrays else "predictions"
    _assign(model, arrays, weight_names.keras_applications(model, head), label, drop_head)
    set_normalization(model, *normalization)


def load_timm(
    model: keras.Model, state_dict: Mapping[str, Any], *, drop_head: bool = False
) -> None:
    """Loads a state dict of one of timm's ``tf_efficientnet_*`` models.

    Only these have TensorFlow's padding and epsilon. Other EfficientNets of timm have the same
    names and shapes, so they would load without error but compute something else.
    Lite models adopt timm's pixel normalization, (x - 127.5) / 127.5.

    Args:
        model: a model from `efficientnet.build_model`.
        state_dict: name -> PyTorch tensor or array; names may begin with "module." or "_orig_mod.".
        drop_head: keeps the classifier of `model`.

    Raises:
        ValueError: it is the state dict of another model; the message lists the variables that do
            not match.
    """
    arrays = {
        name: _from_torch(name, value)
        for name, value in checkpoint_files.unwrapped(state_dict).items()
        if not name.endswith("num_batches_tracked")
    }
    _assign(model, arrays, weight_names.timm(model), "the state dict", drop_head)
    if not any("/se/" in variable.path for variable in model.variables):
        set_normalization(model, *NORMALIZATIONS["inception"])


def set_normalization(model: keras.Model, mean: Iterable[float], std: Iterable[float]) -> None:
    """Replaces the constants of pixel normalization, per channel in units of 0..255."""
    layer = model.get_layer("normalize")
    layer.mean, layer.std = tuple(map(float, mean)), tuple(map(float, std))
    # These functions were traced with the old constants.
    model.predict_function = model.test_function = model.train_function = None


def _assign(
    model: keras.Model,
    arrays: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    source: str,
    drop_head: bool,
) -> None:
    """Assigns every variable the array of its name, or none if any does not match."""
    head = {path for path in names if path.startswith(f"{weight_names.HEAD}/")}
    wanted = {path: name for path, name in names.items() if not (drop_head and path in head)}
    shapes = {variable.path: tuple(variable.shape) for variable in model.variables}
    missing = [name for name in wanted.values() if name not in arrays]
    unused = sorted(set(arrays) - set(names.values()))
    misshaped, broken = {}, []
    for path, name in wanted.items():
        if name in arrays and arrays[name].shape != shapes[path]:
            misshaped[name] = f"{name} {arrays[name].shape} instead of {shapes[path]}"
        if name in arrays and not np.all(np.isfinite(arrays[name])):
            broken.append(name)
    problems = {
        "missing": missing,
        "unused": unused,
        "with another shape": list(misshaped.values()),
        "not finite": broken,
    }
    if any(problems.values()):
        listed = "; ".join(
            f"{kind}: {_listing(found)}" for kind, found in problems.items() if found
        )
        only_head = not unused and not broken and {*missing, *misshaped} <= {names[p] for p in head}
        hint = " Only the classifier does not match: drop_head (--drop_head) leaves it out."
        raise ValueError(
            f"{source} does not match {model.name}; nothing was loaded. Variables {listed}."
            + (hint if only_head else "")
        )
    for variable in model.variables:
        if variable.path in wanted:
            variable.assign(arrays[wanted[variable.path]])


def _listing(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} ({', '.join(names[:_LISTED])}{more})"


def _from_torch(name: str, value: Any) -> np.ndarray:
    """Converts to an array with TensorFlow's order of axes."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    array = np.asarray(value, np.float32)
    if array.ndim == 2:  # dense: [out, in]
        return array.T
    if array.ndim == 4:  # convolutions: [out, in / groups, height, width]
        return array.transpose((2, 3, 0, 1) if "conv_dw" in name else (2, 3, 1, 0))
    return array


def _stored_normalization(arrays: Mapping[str, np.ndarray]) -> tuple[Iterable[float], ...]:
    """Returns mean and std in units of 0..255 from a Normalization layer, or ImageNet's.

    Published files contain the ImageNet standard deviation instead of the layer's variance, which
    keras.applications corrects outside of the layer.
    """
    imagenet = NORMALIZATIONS["imagenet"]
    if "normalization/mean" not in arrays:
        return imagenet
    mean, variance = (
        255 * arrays[f"normalization/{name}"].ravel() for name in ("mean", "variance")
    )
    if np.allclose(mean, imagenet[0], atol=0.1) and np.allclose(variance, imagenet[1], atol=0.1):
        return imagenet
    return mean, np.sqrt(255 * variance)


def _probed_normalization(source: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and std in units of 0..255 of the layers before a model's first convolution.

    These are affine in each channel, so a black and a white image determine them.
    """
    layers = [layer.name for layer in source.layers]
    first = "stem_conv_pad" if "stem_conv_pad" in layers else "stem_conv"
    front = type(source)(source.inputs[0], source.get_layer(first).input)
    size = [side or 32 for side in source.inputs[0].shape[1:3]]
    black, white = (
        np.asarray(front(np.full((1, *size, 3), value, np.float32)))[0, 0, 0].astype(np.float64)
        for value in (0, 255)
    )
    std = 255 / (white - black)
    return -black * std, std
