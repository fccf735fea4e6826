"""Options of networks and noise."""

from dataclasses import dataclass

from noisy_student.config.option import option

MAX_SIDE = 8192  # pixels


@dataclass(frozen=True)
class FramingConfig:
    """Framing: how images are brought to the size of a network's input."""

    image_size: int | None = option(
        None, "Side of the input in pixels. Unset: that of the network.", low=1, high=MAX_SIDE
    )
    small_image: bool = option(
        False, "Use the 32x32 protocol: stages 2 and 3 keep stride 1, crops are padded ones."
    )
    crop_padding: int = option(
        32,
        "Evaluation sees the central image_size / (image_size + this) of the shorter side (not "
        "with --small_image). 0: the largest square, for images as small as the input.",
        low=0,
        high=MAX_SIDE,
    )
    enlarge: bool = option(
        False,
        "With --small_image: resize images below --image_size to it instead of padding them with "
        "black.",
        name="enlarge_small_image",
    )


@dataclass(frozen=True, kw_only=True)
class ModelConfig(FramingConfig):
    """Networks, and how images are brought to the size of their input."""

    name: str
    width: float | None
    depth: float | None
    strides: tuple[int, ...] | None = option(
        None, "Strides of the 7 stages, or of the stem and the 7 stages.", low=1, high=2
    )
    dropout_rate: float | None = option(
        None, "Dropout before the classifier. Unset: that of the network.", low=0, below=1
    )
    stochastic_depth_rate: float = option(
        0.2, "Stochastic depth: block i of N, from 0, is dropped at i / N of this.", low=0, below=1
    )
    batch_norm_momentum: float = option(
        0.99, "Largest momentum of batch norm; in short trainings 1 - 50 / steps.", low=0, below=1
    )
    batch_norm_replicas: str = option(
        "none",
        "Replicas that share batch-norm statistics: none (per replica), all (fully synchronized), "
        "N (groups of N) or published (groups of max(8, replicas / 8)).",
    )
    normalization: str = option(
        "imagenet",
        "Channel mean and standard deviation.",
        choices=("imagenet", "svhn", "lite", "inception", "none"),
    )


@dataclass(frozen=True)
class ForeignModelConfig:
    """Model without a card: answers to what its file does not say."""

    class_names: tuple[str, ...] | None = option(
        None,
        "Classes in the order of the outputs, or a file with a name per line, or the word imagenet "
        "for the WordNet ids of its 1000 classes.",
    )
    input_range: str | None = option(
        None,
        "Pixels that the model takes. Unset: 0..255 if a layer of it rescales them, or if it takes "
        "whole numbers.",
        choices=("0..255", "0..1", "-1..1"),
    )
    outputs: str | None = option(
        None,
        "Numbers that the model returns. Unset: softmax if they sum to 1.",
        choices=("logits", "softmax"),
    )
    interpolation: str = option(
        "bilinear",
        "How images are resized: as Keras and timm do (with antialiasing), or as TensorFlow 1 did.",
        choices=("bilinear", "bicubic", "bicubic_tf1"),
    )


@dataclass(frozen=True)
class NoiseConfig:
    """Image noise: RandAugment, crops and flips of training images."""

    kind: str = option(
        "randaugment",
        "Image noise in training. crop: random crop and flip only (the paper's B0 and B1); none: "
        "not even these.",
        name="augment",
        choices=("randaugment", "keras_cv", "crop", "none"),
    )
    num_layers: int = option(2, "RandAugment operations per image.", low=1, high=100)
    magnitude: float = option(
        27.0, "Magnitude of RandAugment; 10 is full strength.", low=0, high=100
    )
    flip: bool = option(True, "Flip images horizontally at random. Turn off for digits.")
    cutout: bool = option(
        False,
        "Cut a square of half the side out of every image (small images only), as published for "
        "32x32 images.",
    )
    magnitude_noise: float = option(
        0.0, "Standard deviation of RandAugment's magnitude (paper: 0).", low=0, high=100
    )
    contrast: str = option(
        "true_mean",
        "Gray level toward which RandAugment's Contrast blends: the image's mean, or the number of "
        "pixels / 256 as in the published code.",
        choices=("true_mean", "published"),
    )


@dataclass(frozen=True)
class UnlabeledNoiseConfig:
    """Noise of unlabeled images, if it is not that of labeled ones (an ablation of the paper)."""

    kind: str | None = option(
        None,
        "Image noise of the unlabeled images alone. crop: neither RandAugment nor cutout. Unset: "
        "--augment.",
        name="unlabeled_augment",
        choices=("randaugment", "keras_cv", "crop", "none"),
    )
    dropout: bool = option(True, "Apply dropout to unlabeled images.", name="unlabeled_dropout")
    stochastic_depth: bool = option(
        True, "Apply stochastic depth to unlabeled images, too.", name="unlabeled_stochastic_depth"
    )
