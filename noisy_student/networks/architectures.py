"""Networks by name: EfficientNets, keras.applications, model files and functions.

A network maps RGB images 0..255 to logits. One that ends in a softmax is used through its logits.
A foreign network keeps its own dropout and stochastic depth, and its batch norm but for a smaller
momentum. Weight decay leaves out variables called gamma and beta.
"""

import abc
import contextlib
import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state

import efficientnet
from efficientnet import archive
from noisy_student.networks import contract, noise

ModelFunction = Callable[[int, int], keras.Model]  # (number of classes, image size) -> model
_KERAS = "keras:"
_COUNTERS = "object_name_uids"  # of the names that Keras gives to layers
# Options of EfficientNets that others do not take.
_UNUSED = (
    *("width", "depth", "strides", "dropout_rate", "stochastic_depth_rate"),
    *("normalization", "batch_norm_replicas"),
)
_functions: dict[str, ModelFunction] = {}  # of this process, by name


@dataclass(frozen=True)
class Network(abc.ABC):
    """A network by its name."""

    name: str  # value of ``--teacher_name`` or ``--student_name``
    resolution: int | None = None  # resolution of its images, in pixels; None: any
    unused: tuple[str, ...] = ()  # options of `efficientnet.build_model` that have no effect on it
    is_foreign = False  # none of this project's own

    def identity(self, build: Callable[[], keras.Model]) -> str:
        """Returns a name for the network and its content; `build` makes a model of it."""
        return self.name

    def settings_hash(self, build: Callable[[], keras.Model]) -> str | None:
        """Returns a hash of all settings of the layers where `identity` lacks them, else None."""
        return None

    @abc.abstractmethod
    def build(self, num_classes: int, image_size: int, arguments: Mapping[str, Any]) -> keras.Model:
        """Returns a new model: RGB 0..255 [B, S, S, 3] -> logits [B, C].

        Names of its layers do not depend on other models of the process, so that equal trainings
        write equal bytes.

        Args:
            num_classes: C.
            image_size: S.
            arguments: of `efficientnet.build_model`; foreign networks take two of them.

        Raises:
            ValueError: there is no such network, or it does not fit.
        """


class EfficientNet(Network):
    """A network of `efficientnet.CONFIGS`."""

    def build(self, num_classes: int, image_size: int, arguments: Mapping[str, Any]) -> keras.Model:
        """Returns the model, for images of any size."""
        return efficientnet.build_model(num_classes=num_classes, **arguments)


@dataclass(frozen=True)
class Foreign(Network):
    """A third-party network."""

    unused: tuple[str, ...] = _UNUSED
    is_foreign = True

    def build(self, num_classes: int, image_size: int, arguments: Mapping[str, Any]) -> keras.Model:
        """Returns a new model, made to keep the contract of `Network.build`."""
        with _fresh_names(), _statistics_per_replica():
            try:
                made = self._make(num_classes, image_size, arguments.get("width"))
                if not isinstance(made, keras.Model):
                    raise ValueError(f"it is not a keras.Model, but a {type(made).__name__}")
                bare = contract.without_softmax(made) or made
                model = contract.fit(bare, image_size, self._input_range(), "logits")
                _check_outputs(bare, model, num_classes)
            except Exception as error:  # of any type: the code is not ours
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
                raise ValueError(f"{self.name}: {reason.rstrip('.')}.") from error
        for layer in contract.layers_of(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = min(layer.momentum, arguments["batch_norm_momentum"])
        noise.make_reproducible(model)
        return model

    @abc.abstractmethod
    def _make(self, num_classes: int, image_size: int, width: float | None) -> keras.Model: ...

    def _input_range(self) -> str:
        return "0..255"


class Application(Foreign):
    """A network of keras.applications, ``keras:NAME``, with random weights."""

    def _make(self, num_classes: int, image_size: int, width: float | None) -> keras.Model:
        function = _applications()[self.name.removeprefix(_KERAS)]
        options = {} if width is None or "width" in self.unused else {"alpha": width}
        shape = (image_size, image_size, 3)
        model = function(
            input_shape=shape,
            weights=None,
            classes=num_classes,
            classifier_activation=None,
            **options,
        )
        images = keras.Input(shape, name="inputs")
        return keras.Model(images, model(_preprocessed(function, images)), name=model.name)


class ModelFile(Foreign):
    """A ``.keras`` file, whose weights a training starts from."""

    def identity(self, build: Callable[[], keras.Model]) -> str:
        """Returns a hash of the file."""
        return f"file:{hashlib.sha256(Path(self.name).read_bytes()).hexdigest()[:16]}"

    def _make(self, num_classes: int, image_size: int, width: float | None) -> keras.Model:
        if not Path(self.name).is_file():
            raise ValueError("no such file")
        return keras.saving.load_model(self.name, compile=False)

    @property
    def assumes_range(self) -> bool:
        """True if neither a card nor the layers say that its pixels are 0..255."""
        return not self._card() and not contract.rescales(
            keras.saving.load_model(self.name, compile=False)
        )

    def _input_range(self) -> str:
        return self._card().get("input_range", "0..255")

    def _card(self) -> dict[str, Any]:
        try:
            return archive.read_card(self.name)
        except ValueError:  # no card
            return {}


class Function(Foreign):
    """A function ``module:function`` that returns a model, see `ModelFunction`."""

    def identity(self, build: Callable[[], keras.Model]) -> str:
        """Returns the name and a hash of the layers that the function makes."""
        layers = [
            (type(layer).__name__, layer.name, [list(v.shape) for v in layer.weights])
            for layer in contract.layers_of(build())
        ]
        return f"{self.name}:{hashlib.sha256(json.dumps(layers).encode()).hexdigest()[:16]}"

    def settings_hash(self, build: Callable[[], keras.Model]) -> str | None:
        """Returns a hash of the layers' configurations; None if one cannot be written."""
        try:
            text = json.dumps(_settings(keras.saving.serialize_keras_object(build())))
        except Exception:  # of any type: the code is not ours
            return None
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _make(self, num_classes: int, image_size: int, width: float | None) -> keras.Model:
        return self._function()(num_classes, image_size)

    def _function(self) -> ModelFunction:
        if self.name in _functions:
            return _functions[self.name]
        module, _, name = self.name.partition(":")
        sys.path.insert(0, "")  # the current directory, also for the console command
        try:
            found = getattr(importlib.import_module(module), name, None)
        finally:
            sys.path.remove("")
        if not callable(found):
            raise ValueError(f"the module {module} has no function {name}")
        return found


def get(name: str) -> Network:
    """Returns a network by its name.

    Args:
        name: of `efficientnet.CONFIGS`, ``keras:NAME``, ``module:function``, or a file that ends in
            ``.keras``.

    Raises:
        ValueError: it is none of these.
    """
    if name in efficientnet.CONFIGS:
        return EfficientNet(name, efficientnet.CONFIGS[name].resolution, ())
    if name.startswith(_KERAS):
        function = _applications().get(name.removeprefix(_KERAS))
        if function is None:
            raise ValueError(f"unknown network {name}; keras: takes {', '.join(_applications())}.")
        scaled = "alpha" in inspect.signature(function).parameters
        unused = tuple(option for option in _UNUSED if not (scaled and option == "width"))
        return Application(name, None, unused)
    if name.endswith(".keras"):
        return ModelFile(name)
    if ":" in name:
        return Function(name)
    raise ValueError(
        f"unknown network {name}; --teacher_name and --student_name must be one of "
        f"{', '.join(efficientnet.CONFIGS)}, or keras:NAME, module:function or a .keras file."
    )


def register(function: ModelFunction) -> str:
    """Makes a function of this process a network; returns the name to give for it."""
    name = f"{function.__module__}:{function.__qualname__}"
    _functions[name] = function
    return name


def _applications() -> dict[str, Callable[..., keras.Model]]:
    """Returns the functions of keras.applications by name."""
    found = vars(keras.applications).items()
    return {name: each for name, each in found if inspect.isfunction(each)}


def _preprocessed(function: Callable[..., keras.Model], pixels: Any) -> Any:
    """Applies the preprocessing of a network of keras.applications to pixels 0..255.

    It is affine and may reverse the channels: a black pixel and one pixel per channel determine it.
    """
    probe = np.zeros((1, 4, 1, 3), np.float32)
    probe[0, 1:, 0] = 255 * np.eye(3)
    seen = sys.modules[function.__module__].preprocess_input(probe.copy())[0, :, 0]
    matrix = (seen[1:] - seen[0]) / 255  # from channels of the image, the rows
    if matrix[0, 0] == 0:
        pixels, matrix = keras.ops.flip(pixels, axis=-1), matrix[::-1]
    scale, offset = np.diag(matrix), seen[0]
    if np.allclose(scale, 1) and not np.any(offset):
        return pixels
    options = {"name": "preprocessing", "dtype": "float32"}
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), **options)(pixels)


def _check_outputs(bare: keras.Model, model: keras.Model, num_classes: int) -> None:
    """Refuses outputs that are not one logit per class; `model` is `bare` with the contract."""
    shape = tuple(model.output_shape)
    if len(shape) != 2 or shape[1] != num_classes:
        raise ValueError(f"its output shape is {shape} for {num_classes} classes")
    last = contract.last_operation(bare)
    activation = getattr(last, "activation", keras.activations.linear)
    if activation is not keras.activations.linear:
        raise ValueError(f"it ends in {activation.__name__}: return logits")
    if contract.are_probabilities(model(np.zeros((1, *model.input_shape[1:]), np.float32))):
        raise ValueError("it ends in a softmax that cannot be removed: return logits")


def _settings(config: Any) -> Any:
    """Returns a configuration without what differs from process to process, or by a line break."""
    if isinstance(config, dict):
        kept = config.keys() - {"seed", "code", "shared_object_id"}
        return {key: _settings(config[key]) for key in sorted(kept)}
    return list(map(_settings, config)) if isinstance(config, list | tuple) else config


@contextlib.contextmanager
def _fresh_names() -> Iterator[None]:
    """Counts the names that Keras gives to layers from the beginning."""
    before = global_state.get_global_attribute(_COUNTERS)
    global_state.set_global_attribute(_COUNTERS, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(_COUNTERS, before)


def _statistics_per_replica() -> AbstractContextManager[None]:
    """Gives each replica its own moving statistics, whose mean is read and saved."""

    def create(next_creator: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
        if not options.get("trainable", True) and tf.as_dtype(options["dtype"]).is_floating:
            options["synchronization"] = tf.VariableSynchronization.ON_READ
            options["aggregation"] = tf.VariableAggregation.MEAN
        return next_creator(**options)

    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return contextlib.nullcontext()
    return tf.variable_creator_scope(create)
