r"""Makes a ``.keras`` file, with class names and preprocessing, of published weights.

    python -m efficientnet.convert --name=efficientnet-b0 --source_format=tf1 \
        --source=noisy_student_efficientnet-b0.tar.gz --output=b0.keras

The result takes RGB 0..255 whatever the source, and serves as --model, --teacher_model and
--init_model of the other commands.
"""

import hashlib
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import app, flags

from efficientnet import archive, checkpoint_files, weight_names, weights
from efficientnet import config as config_lib
from efficientnet import model as model_lib

FLAGS = flags.FLAGS
# How the published accuracies of each source were measured, in terms of data.preprocess: the
# center crop is the same, and keras.applications' weights come from the TensorFlow 1 checkpoints.
_INTERPOLATIONS = {"tf1": "bicubic_tf1", "keras": "bicubic_tf1", "timm": "bicubic"}
_CROP_PADDING = 32  # published code
_IMAGENET_CLASSES = 1000


def convert(
    name: str,
    source: str,
    source_format: str,
    output: str,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    use_ema: bool = True,
    drop_head: bool = False,
    small_image: bool = False,
    image_size: int | None = None,
    normalization: model_lib.Normalization | None = None,
    **facts: Any,
) -> keras.Model:
    """Converts a file of weights.

    Args:
        name: a name in `CONFIGS`.
        source: the file, or for "tf1" also a prefix or folder.
        source_format: "tf1", "keras" or "timm".
        output: the ``.keras`` file to write.
        num_classes: of the classifier; None: as many as class names.
        class_names: in the order of the logits; None: ImageNet's 1000 WordNet ids.
        use_ema: of a checkpoint that has both, take the averaged weights.
        drop_head: leave the source's classifier out and give the model an untrained one.
        small_image: the variant for 32x32 images.
        image_size: resolution it is to be tested at; None: the table's.
        normalization: of the pixels, where it is not what sources of this format have.
        **facts: what else the card says, e.g. data="ImageNet".

    Returns:
        The model.

    Raises:
        ValueError: an argument is invalid, or the source is not of that model.
    """
    if source_format not in _INTERPOLATIONS:
        raise ValueError(
            f"source_format must be one of {', '.join(_INTERPOLATIONS)}, got {source_format!r}."
        )
    titles = None
    if class_names is None and num_classes in (None, _IMAGENET_CLASSES):
        class_names, titles = imagenet_classes()
    if class_names is None:
        raise ValueError(f"A model of {num_classes} classes needs class_names (--class_names).")
    if num_classes not in (None, len(class_names)):
        raise ValueError(f"There are {len(class_names)} class names for {num_classes} classes.")
    model = model_lib.build_model(name, len(class_names), small_image=small_image)
    if source_format == "tf1":
        weights.load_tf1_checkpoint(model, source, use_ema, drop_head=drop_head)
    elif source_format == "keras":
        weights.load_keras_applications(model, source, drop_head=drop_head)
    else:
        state = checkpoint_files.read_timm(source, use_ema)
        weights.load_timm(model, state, drop_head=drop_head)
    if normalization is not None:
        weights.set_normalization(model, *model_lib.pixel_statistics(normalization))
    config = config_lib.CONFIGS[name]
    size = image_size or (32 if small_image else config.resolution)
    card = {
        "class_names": list(class_names),
        "preprocess": {
            "image_size": size,
            "small_image": small_image,
            "crop_padding": _CROP_PADDING,
            "interpolation": _INTERPOLATIONS[source_format],
        },
        "model": {"name": name, "small_image": small_image},
        "source": {
            "format": source_format,
            "name": Path(source).name,
            "sha256": _sha256(source),
            "averaged_weights": use_ema if source_format != "keras" else None,
            "classifier": "untrained" if drop_head else "converted",
        },
        **({"class_titles": titles} if titles else {}),
        **facts,
    }
    archive.save(model, output, card)
    return model


def imagenet_classes() -> tuple[list[str], list[str]]:
    """ImageNet's 1000 WordNet ids in the order of the published logits, and what they mean."""
    text = resources.files("efficientnet").joinpath("imagenet_classes.tsv").read_text()
    ids, titles = zip(*(line.split("\t") for line in text.splitlines()), strict=True)
    return list(ids), list(titles)


def read_class_names(path: str) -> list[str]:
    """One class name a line, in the order of the logits.

    Raises:
        ValueError: the file is missing, empty, or names a class twice.
    """
    try:
        names = [line.strip() for line in Path(path).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"class names {path} cannot be read: {error}") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise ValueError(
            f"{path} must name each class on a line of its own"
            + (
                f"; these stand there twice: {', '.join(twice[:10])}."
                if twice
                else ", it is empty."
            )
        )
    return names


def _sha256(source: str) -> str:
    """Of a file; of a checkpoint, of all its files in the order of their names."""
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
    else:
        files = [path] if path.is_file() else sorted(path.parent.glob(f"{path.name}.*"))
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _define_flags() -> None:
    flags.DEFINE_enum("name", None, list(config_lib.CONFIGS), "Which model the weights are of.")
    flags.DEFINE_string(
        "source",
        None,
        "tf1: the downloaded tar, a folder, or a prefix; keras: .h5, .weights.h5 or .keras; "
        "timm: .safetensors or .pth of a tf_efficientnet_* model.",
    )
    flags.DEFINE_enum("source_format", "tf1", list(_INTERPOLATIONS), "Who wrote it.")
    flags.DEFINE_string("output", None, "The .keras file to write.")
    flags.DEFINE_bool("raw", False, "Take the last weights, not the averaged ones.")
    flags.DEFINE_bool("drop_head", False, "Leave the classifier out; the model's is untrained.")
    flags.DEFINE_string(
        "class_names", None, "File with one class name a line; unset: ImageNet's 1000 WordNet ids."
    )
    flags.DEFINE_bool("small_image", False, "The variant for 32x32 images.")
    flags.DEFINE_integer(
        "image_size",
        None,
        "Resolution to test at, stored beside the weights; unset: the name's.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "normalization",
        None,
        list(model_lib.NORMALIZATIONS),
        "Of the pixels; unset: as sources of this format have it (AdvProp weights: inception).",
    )
    flags.DEFINE_string("trained_on", None, "For the card: the data it learned from.")
    flags.DEFINE_list("metrics", [], "For the card: published figures, as top1=77.3,top5=93.4.")


def _main(argv: list[str]) -> None:
    try:
        if len(argv) > 1:
            raise ValueError(f"unknown argument {argv[1]}: flags are written --name=value.")
        for flag in ("name", "source", "output"):
            if FLAGS[flag].value is None:
                raise ValueError(f"--{flag} is required: {FLAGS[flag].help}")
        if not FLAGS.output.endswith(".keras"):
            raise ValueError(f"--output={FLAGS.output}: must end in .keras.")
        names = read_class_names(FLAGS.class_names) if FLAGS.class_names else None
        model = convert(
            FLAGS.name,
            FLAGS.source,
            FLAGS.source_format,
            FLAGS.output,
            class_names=names,
            use_ema=not FLAGS.raw,
            drop_head=FLAGS.drop_head,
            small_image=FLAGS.small_image,
            image_size=FLAGS.image_size,
            normalization=FLAGS.normalization,
            trained_on=FLAGS.trained_on,
            metrics=_metrics(FLAGS.metrics),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    head = model.get_layer(weight_names.HEAD).units
    print(f"{FLAGS.output}: {FLAGS.name}, {count:,} trainable parameters, {head} classes")
    card = archive.read_card(FLAGS.output)
    print(f"images: {card['preprocess']}")
    print(f"weights: {card['source']}")


def _metrics(items: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (item.split("=") for item in items)}
    except ValueError:
        raise ValueError(
            f"--metrics={','.join(items)}: must be like top1=77.3,top5=93.4."
        ) from None


if __name__ == "__main__":
    _define_flags()
    app.run(_main)
