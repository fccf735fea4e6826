"""Options for networks and noise."""

from dataclasses import dataclass

from noisy_student.config.option import option

MAX_SIDE = 8192  # pixels


@dataclass(frozen=True)
class FramingConfig:
    """Framing: how images are cropped and resized to the input of a network."""

    image_size: int | None = option(
        None,
        "Height and width of the input in pixels. Unset: the network's default.",
        low=1,
        high=MAX_SIDE,
    )
    small_image: bool = option(
        False,
        "Use the protocol for 32x32 images: stride 1 in stages 2 and 3; padding and random crops "
        "instead of resizing.",
    )
    crop_padding: int = option(
        32,
        "In evaluation, crop the central square with a side of image_size / (image_size + this) of "
        "the image's shorter side (without --small_image). 0: the largest square; suits images no "
        "larger than the input.",
        low=0,
        high=MAX_SIDE,
    )
    enlarge: bool = option(
        False,
        "With --small_image, enlarge images smaller than --image_size instead of padding them with "
        "black.",
        name="enlarge_small_image",
    )


@dataclass(frozen=True, kw_only=True)
class ModelConfig(FramingConfig):
    """Networks, and how images are cropped and resized to their input."""

    name: str
    width: float | None
    depth: float | None
    strides: tuple[int, ...] | None = option(
        None, "Strides of the 7 stages, or of the stem and the 7 stages.", low=1, high=2
    )
    dropout_rate: float | None = option(
        None, "Dropout rate before the classifier. Unset: the network's default.", low=0, below=1
    )
    stochastic_depth_rate: float = option(
        0.2,
        "Stochastic depth rate: block i of N, counted from 0, is dropped with probability i / N "
        "times this.",
        low=0,
        below=1,
    )
    batch_norm_momentum: float = option(
        0.99,
        "Batch-norm momentum. Short trainings use 1 - 50 / steps if that is less.",
        low=0,
        below=1,
    )
    batch_norm_replicas: str = option(
        "none",
        "Replicas that share batch-norm statistics. none: each replica has its own; all: fully "
        "synchronized; N: groups of N; published: groups of max(8, replicas / 8).",
    )
    normalization: str = option(
        "imagenet",
        "Per-channel mean and standard deviation used to normalize images.",
        choices=("imagenet", "svhn", "lite", "inception", "none"),
    )


@dataclass(frozen=True)
class ForeignModelConfig:
    """Model without a card: the information missing from its file."""

    class_names: tuple[str, ...] | None = option(
        None,
        "Class names in output order, a file with one name per line, or the word imagenet for the "
        "WordNet ids of its 1000 classes.",
    )
    input_range: str | None = option(
        None,
        "Range of the pixels that the model expects. Unset: 0..255 if the model has a rescaling "
        "layer or an integer input.",
        choices=("0..255", "0..1", "-1..1"),
    )
    outputs: str | None = option(
        None,
        "What the model outputs. Unset: softmax if the outputs sum to 1.",
        choices=("logits", "softmax"),
    )
    interpolation: str = option(
        "bilinear",
        "Resizing method: bilinear or bicubic as in Keras and timm (antialiased), or bicubic as in "
        "TensorFlow 1.",
        choices=("bilinear", "bicubic", "bicubic_tf1"),
    )


@dataclass(frozen=True)
class NoiseConfig:
    """Image noise: RandAugment, crops and flips of training images."""

    kind: str = option(
        "randaugment",
        "Augmentation of training images. crop: random crop and flip only (the paper's B0 and B1); "
        "none: no augmentation at all.",
        name="augment",
        choices=("randaugment", "keras_cv", "crop", "none"),
    )
    num_layers: int = option(2, "RandAugment operations per image.", low=1, high=100)
    magnitude: float = option(
        27.0, "RandAugment magnitude; operations reach full strength at 10.", low=0, high=100
    )
    flip: bool = option(True, "Randomly flip images horizontally. Turn off for digits.")
    cutout: bool = option(
        False,
        "Apply cutout with a square of half the image side (--small_image only), as published for "
        "32x32 images.",
    )
    magnitude_noise: float = option(
        0.0, "Standard deviation of the RandAugment magnitude (paper: 0).", low=0, high=100
    )
    contrast: str = option(
        "true_mean",
        "Gray level that RandAugment's Contrast blends toward. true_mean: the image's mean; "
        "published: the number of pixels / 256, as in the published code.",
        choices=("true_mean", "published"),
    )


@dataclass(frozen=True)
class UnlabeledNoiseConfig:
    """Noise of unlabeled images, where it differs from that of labeled images (ablation)."""

    kind: str | None = option(
        None,
        "Augmentation of the unlabeled images only. crop: no RandAugment and no cutout. Unset: "
        "same as --augment.",
        name="unlabeled_augment",
        choices=("randaugment", "keras_cv", "crop", "none"),
    )
    dropout: bool = option(True, "Apply dropout to unlabeled images.", name="unlabeled_dropout")
    stochastic_depth: bool = option(
        True, "Apply stochastic depth to unlabeled images.", name="unlabeled_stochastic_depth"
    )
