"""Builds an EfficientNet as a functional Keras model."""

from collections.abc import Sequence

import keras

from efficientnet import config as config_lib
from efficientnet import layers, noise, synced_norm

# Channel mean and standard deviation in units of 0..255.
NORMALIZATIONS = {
    "imagenet": (  # public code
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    "svhn": (  # public SVHN experiment
        (0.4376821 * 255, 0.4437697 * 255, 0.47280442 * 255),
        (0.19803012 * 255, 0.20101562 * 255, 0.19703614 * 255),
    ),
    "lite": ((127.0,) * 3, (128.0,) * 3),  # public code of the Lite family
    "inception": ((127.5,) * 3, (127.5,) * 3),  # timm's Lite models, AdvProp checkpoints
    "none": ((0.0,) * 3, (1.0,) * 3),
}
Normalization = str | tuple[Sequence[float], Sequence[float]]


def build_model(
    name: str,
    num_classes: int = 1000,
    image_size: int | None = None,
    small_image: bool = False,
    dropout_rate: float | None = None,
    stochastic_depth_rate: float = 0.2,
    width: float | None = None,
    depth: float | None = None,
    strides: Sequence[int] | None = None,
    batch_norm_momentum: float = 0.99,
    batch_norm_replicas: str = "none",
    normalization: Normalization = "imagenet",
) -> keras.Model:
    """Builds a randomly initialized EfficientNet.

    The model maps RGB images [B, H, W, 3] in 0..255, of any real dtype including uint8, to float32
    logits [B, num_classes]. It normalizes the pixels itself. Under the mixed_bfloat16 policy,
    activations are bfloat16; variables, batch statistics and logits stay float32.

    Args:
        name: a name in `CONFIGS`, such as "efficientnet-b0".
        num_classes: number of logits, >= 1.
        image_size: fixed side of the images in pixels; None for any height and width.
        small_image: selects the strides for 32 x 32 images if `strides` is None.
        dropout_rate: dropout before the classifier, 0 <= rate < 1; None: as in `CONFIGS`.
        stochastic_depth_rate: block i of N is dropped with probability i / N times this rate,
            0 <= rate < 1.
        width: overrides the width coefficient in `CONFIGS`, > 0.
        depth: overrides the depth coefficient in `CONFIGS`, > 0.
        strides: strides of the 7 stages, or 8 with the stem's first; each 1 or 2.
        batch_norm_momentum: momentum of the moving statistics, 0 <= momentum < 1.
        batch_norm_replicas: replicas that share batch statistics: "none" (each has its own), "all",
            a group size, or "published" (see `synced_norm.group_size`).
        normalization: "imagenet" (published constants; Lite models have their own), "svhn",
            "lite", "inception", "none", or a pair (mean, std) of three numbers each, in units of
            0..255.

    Returns:
        A functional model whose blocks are layers called blocks_0, blocks_1, ...

    Raises:
        ValueError: an argument is invalid; the message names it and the valid values.
    """
    config = config_lib.get_config(name)
    _check(num_classes, image_size, stochastic_depth_rate, batch_norm_momentum)
    synced_norm.check_replicas(batch_norm_replicas)
    dropout_rate = config.dropout_rate if dropout_rate is None else dropout_rate
    _check_rate("dropout_rate", dropout_rate)
    mean, std = pixel_statistics(normalization, config.lite)
    architecture = config_lib.scale(
        config,
        width=width,
        depth=depth,
        strides=strides,
        small_image=small_image,
        stochastic_depth_rate=stochastic_depth_rate,
    )
    activation = "relu6" if config.lite else "swish"

    norm = (batch_norm_momentum, batch_norm_replicas, activation)

    images = keras.Input((image_size, image_size, 3), name="images")
    x = layers.Normalize(mean, std, name="normalize")(images)
    x = layers.Conv(architecture.stem_filters, 3, architecture.stem_stride, name="stem_conv")(x)
    x = layers.BatchNorm(*norm, name="stem_bn")(x)
    for index, block in enumerate(architecture.blocks):
        x = layers.MBConv(
            block.output_filters,
            kernel_size=block.kernel_size,
            stride=block.stride,
            expansion=block.expansion,
            squeeze_filters=block.squeeze_filters,
            drop_rate=block.drop_rate,
            activation=activation,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_replicas=batch_norm_replicas,
            name=f"blocks_{index}",
        )(x)
    x = layers.Conv(architecture.head_filters, name="head_conv")(x)
    x = layers.BatchNorm(*norm, name="head_bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool", dtype="float32")(x)
    x = noise.Dropout(dropout_rate, name="head_dropout", dtype="float32")(x)
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform"),
        name="head_dense",
        dtype="float32",
    )(x)
    return keras.Model(images, logits, name=name)


def is_decayed(variable: keras.Variable) -> bool:
    """Returns True for variables with weight decay: all but batch norm's gamma and beta."""
    return variable.name not in ("gamma", "beta")


def freeze_batch_norm(model: keras.Model) -> None:
    """Keeps all batch norm of a model from `build_model` in inference mode, even in training."""
    for layer in model.layers:
        for norm in layer.batch_norms() if isinstance(layer, layers.MBConv) else [layer]:
            if isinstance(norm, layers.BatchNorm):
                norm.trainable = False


def _check_rate(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}.")


def _check(
    num_classes: int, image_size: int | None, stochastic_depth_rate: float, momentum: float
) -> None:
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes!r}.")
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be None or at least 1 pixel, got {image_size!r}.")
    _check_rate("stochastic_depth_rate", stochastic_depth_rate)
    _check_rate("batch_norm_momentum", momentum)


def pixel_statistics(
    value: Normalization, lite: bool = False
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and std per channel in units of 0..255; "imagenet" of Lite models is "lite"."""
    if isinstance(value, str):
        if value not in NORMALIZATIONS:
            raise ValueError(
                f"normalization must be one of {', '.join(NORMALIZATIONS)} or a pair (mean, std), "
                f"got {value!r}."
            )
        return NORMALIZATIONS["lite" if lite and value == "imagenet" else value]
    mean, std = (tuple(float(number) for number in numbers) for numbers in value)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(
            "normalization must be a pair (mean, std) of three numbers each, std above 0, "
            f"got {value!r}."
        )
    return mean, std
