"""Readers for weight files of various formats, which return named arrays."""

import contextlib
import json
import lzma
import os
import pickle
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet import archive

_PART = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")  # a file of a TensorFlow checkpoint
_LARGEST_RATIO = 100  # of unpacked to packed bytes; weights are hardly packed at all
_SMALL = 1 << 30  # bytes that any archive may unpack to
# Prefixes that torch.compile and DistributedDataParallel add to names.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
Path_ = str | os.PathLike[str]


def read_tf1(path: Path_) -> dict[str, np.ndarray]:
    """Reads all variables of a TensorFlow checkpoint.

    Args:
        path: prefix ("dir/model.ckpt"), folder, or tar archive of a folder. In a folder, takes the
            checkpoint named by the file ``checkpoint``, or the only one in it or below it.

    Raises:
        ValueError: there is no checkpoint, there are several, or it cannot be read.
    """
    path = Path(path)
    if path.is_file() and not _PART.search(path.name):
        with tempfile.TemporaryDirectory() as folder:
            _unpack(path, folder)
            return _read_prefix(_only_prefix(Path(folder), str(path)), str(path))
    if path.is_dir():
        return _read_prefix(_only_prefix(path, str(path)), str(path))
    prefix = _PART.sub("", str(path))
    if not Path(f"{prefix}.index").is_file():
        raise ValueError(
            f"Checkpoint {path} does not exist; give a prefix with {prefix}.index next to it, a "
            "folder or a tar archive."
        )
    return _read_prefix(prefix, str(path))


def _unpack(path: Path, folder: str) -> None:
    """Unpacks a tar archive; raises a ValueError if it is damaged or implausibly large."""
    left = max(_LARGEST_RATIO * path.stat().st_size, _SMALL)
    try:
        with tarfile.open(path) as content:
            for member in content:
                left -= member.size
                if left < 0:
                    raise ValueError(f"{path} unpacks to over {_LARGEST_RATIO} times its size.")
                content.extract(member, folder, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].strip(" :.")
        raise ValueError(f"{path} cannot be unpacked as a tar archive: {reason}.") from error


def _only_prefix(folder: Path, label: str) -> str:
    if latest := tf.train.latest_checkpoint(str(folder)):
        return latest
    prefixes = sorted(str(file.with_suffix("")) for file in folder.rglob("*.index"))
    if len(prefixes) == 1:
        return prefixes[0]
    names = ", ".join(os.path.relpath(prefix, folder) for prefix in prefixes)
    raise ValueError(
        f"{label} holds {len(prefixes)} checkpoints{': ' + names if names else ''}; "
        + ("name one of them." if prefixes else "a checkpoint has a file ending in .index.")
    )


def _read_prefix(prefix: str, label: str) -> dict[str, np.ndarray]:
    try:
        reader = tf.train.load_checkpoint(prefix)
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise ValueError(f"Checkpoint {label} cannot be read: {error}") from error


def read_keras_model(path: Path_) -> keras.Model:
    """Loads a ``.keras`` file; raises a ValueError if it is missing or damaged."""
    _check_file(path)
    try:
        with zipfile.ZipFile(path) as content:
            archive.check_sizes(path, content)
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is damaged or not a .keras file.") from None
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a Keras model: {error}") from error


def read_keras_weights(path: Path_, name: str, classes: int | None) -> dict[str, np.ndarray]:
    """Reads an HDF5 file of weights: "layer/variable" -> array.

    Args:
        path: ``.h5`` file of Keras 1 or 2, or ``.weights.h5`` file of Keras 3. The latter has no
            layer names and is loaded into the EfficientNet of keras.applications.
        name: model name, "efficientnet-b0" to "efficientnet-b7".
        classes: classes of the file's classifier; None if the file has none.

    Raises:
        ValueError: the file is missing, damaged, or of another model.
    """
    _check_file(path)
    try:
        with h5py.File(path) as file:
            if "layer_names" in file.attrs or "model_weights" in file:
                return _named_layers(file.get("model_weights", file))
    except OSError as error:
        raise ValueError(f"{path} is damaged or not an HDF5 file: {error}") from error
    builder_name = f"EfficientNet{name.removeprefix('efficientnet-').upper()}"
    if not hasattr(keras.applications, builder_name):
        raise ValueError(f"{path}: keras.applications has no {builder_name}.")
    builder = getattr(keras.applications, builder_name)
    model = builder(weights=None, include_top=classes is not None, classes=classes or 1000)
    try:
        model.load_weights(path)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold the weights of keras.applications.{builder_name}: {error}"
        ) from error
    return arrays_of(model)


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    """Returns all weights of a Keras 3 or tf_keras model: "layer/variable" -> array."""
    return {
        f"{_layer(layer.name)}/{_variable(getattr(weight, 'path', weight.name))}": np.asarray(
            weight
        )
        for layer in model.layers
        for weight in layer.weights
    }


def _layer(name: str) -> str:
    """Strips the number that keras.applications appends for the second model in a process."""
    return "normalization" if re.fullmatch(r"normalization_\d+", name) else name


def _named_layers(group: h5py.Group) -> dict[str, np.ndarray]:
    return {
        f"{_text(layer)}/{_variable(_text(weight))}": group[layer][weight][()]
        for layer in group.attrs["layer_names"]
        for weight in group[layer].attrs["weight_names"]
    }


def _variable(name: str) -> str:
    """Returns a variable's last name in Keras 3: "x/depthwise_kernel:0" -> "kernel"."""
    last = name.rsplit("/", 1)[-1].split(":")[0]
    return "kernel" if last == "depthwise_kernel" else last


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def read_timm(path: Path_, averaged: bool = True) -> Mapping[str, Any]:
    """Reads a state dict.

    Args:
        path: ``.safetensors``; or ``.pth``, ``.pt`` or ``.bin``, which need PyTorch.
        averaged: prefer the averaged weights of a training checkpoint that has both.

    Raises:
        ValueError: the file is missing, cannot be read, or needs PyTorch.
    """
    _check_file(path)
    content = _read_state(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, but must hold a state dict.")
    _refuse_symmetric(Path(path), content)
    for key in ("state_dict_ema", "state_dict") if averaged else ("state_dict",):
        if key in content:
            content = content[key]
            break
    return content


def _read_state(path: Path_) -> Any:
    """Reads a file of PyTorch tensors."""
    if Path(path).suffix == ".safetensors":
        try:
            from safetensors import SafetensorError  # optional: only for such files
            from safetensors.numpy import load_file
        except ImportError:
            raise ValueError(
                f"{path}: the package safetensors is not installed: "
                "pip install 'noisy-student[convert]'."
            ) from None
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    try:
        import torch  # optional: only for files that PyTorch pickled
    except ImportError:
        raise ValueError(
            f"Reading {path} needs PyTorch: pip install torch, or use a .safetensors file."
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read by torch.load: {error}") from error


def unwrapped(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a state dict without the prefixes of wrapped modules."""
    return {_WRAPPERS.sub("", name): value for name, value in state_dict.items()}


def _refuse_symmetric(path: Path, content: Mapping[str, Any]) -> None:
    """Refuses weights of timm models other than ``tf_*``; warns if the files do not tell.

    The others have the same names and shapes, but PyTorch's padding and epsilon.
    """
    config, name = path.with_name("config.json"), content.get("arch")
    if name is None and config.is_file():
        with contextlib.suppress(ValueError, AttributeError):
            name = json.loads(config.read_text()).get("architecture")
    if name is None and re.match(r"(tf_)?efficientnet(v2|_)", path.name):
        name = path.stem
    if name is None:
        logging.warning(
            "%s does not name its timm model. Only tf_efficientnet_* weights are supported; others "
            "have the same variable names, but compute something else.",
            path,
        )
    elif not str(name).startswith("tf_"):
        raise ValueError(
            f"{path} has weights of timm's {name}, which uses PyTorch's padding: convert those of "
            "a tf_efficientnet_* model."
        )


def _check_file(path: Path_) -> None:
    if not Path(path).is_file():
        raise ValueError(f"File {path} does not exist.")
