r"""Converts published weights to a ``.keras`` file with class names and preprocessing.

    python -m efficientnet.convert --name=efficientnet-b0 \
        --source=noisy_student_efficientnet-b0.tar.gz --output=b0.keras
    python -m efficientnet.convert --name=efficientnet-b0 --source=efficientnetb0.h5 \
        --output=b0.keras
    python -m efficientnet.convert --name=efficientnet-lite0 --source=model.safetensors \
        --class_names=classes.txt --output=lite0.keras
    python -m efficientnet.convert --source=hf:timm/tf_efficientnet_b0.ns_jft_in1k \
        --output=b0.keras

The converted model always takes RGB images in 0..255. Use it as --model, --teacher_model or
--init_model of the other commands.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import app, flags

from efficientnet import archive, checkpoint_files, hub, weight_names, weights
from efficientnet import config as config_lib
from efficientnet import model as model_lib

FLAGS = flags.FLAGS
# Interpolation with which the published accuracies of each source were measured, in terms of
# data.preprocess. The center crop is the same, and the weights of keras.applications come from the
# TensorFlow 1 checkpoints.
_INTERPOLATIONS = {"tf1": "bicubic_tf1", "keras": "bicubic_tf1", "timm": "bicubic"}
_CROP_PADDING = 32  # public code
_FORMATS = {".h5": "keras", ".keras": "keras", ".safetensors": "timm"}
_FORMATS |= dict.fromkeys((".pth", ".pt", ".bin"), "timm")


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of published weights."""

    path: str  # the file; for "tf1" also a prefix or folder
    format: str  # "tf1", "keras" or "timm"
    use_ema: bool = True  # prefers the averaged weights of a checkpoint that has both
    drop_head: bool = False  # leaves the source's classifier out; the model gets one of zeros
    name: str | None = None  # origin of the file, for the card; None: its name

    def __post_init__(self) -> None:
        if self.format not in _INTERPOLATIONS:
            raise ValueError(
                f"source_format must be one of {', '.join(_INTERPOLATIONS)}, got {self.format!r}."
            )

    def load(self, model: keras.Model) -> None:
        """Loads the weights into a model from `build_model`."""
        if self.format == "tf1":
            weights.load_tf1_checkpoint(model, self.path, self.use_ema, drop_head=self.drop_head)
        elif self.format == "keras":
            weights.load_keras_applications(model, self.path, drop_head=self.drop_head)
        else:
            state = checkpoint_files.read_timm(self.path, self.use_ema)
            weights.load_timm(model, state, drop_head=self.drop_head)
        if self.drop_head:
            for variable in model.get_layer(weight_names.HEAD).variables:
                variable.assign(np.zeros(variable.shape))

    def describe(self) -> dict[str, Any]:
        """Returns the card entry about the origin of the weights."""
        return {
            "format": self.format,
            "name": self.name or Path(self.path).name,
            "sha256": _sha256(self.path),
            "averaged_weights": self.use_ema if self.format != "keras" else None,
            "classifier": "untrained" if self.drop_head else "converted",
        }


def convert(
    name: str,
    source: Source,
    output: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    small_image: bool = False,
    image_size: int | None = None,
    normalization: model_lib.Normalization | None = None,
    **card_entries: Any,
) -> keras.Model:
    """Converts a file of weights.

    Args:
        name: a name in `CONFIGS`.
        source: the weights.
        output: ``.keras`` file to write.
        class_names: names in the order of the logits; None: ImageNet's 1000 WordNet ids.
        small_image: selects the variant for 32 x 32 images.
        image_size: test resolution in pixels; None: that in `CONFIGS`.
        normalization: pixel normalization; None: the default of the source's format.
        **card_entries: further entries of the card, such as trained_on="ImageNet".

    Returns:
        The model.

    Raises:
        ValueError: an argument is invalid, or the source is of another model.
    """
    titles = None
    if class_names is None:
        class_names, titles = imagenet_classes()
    model = model_lib.build_model(name, len(class_names), small_image=small_image)
    source.load(model)
    if normalization is not None:
        weights.set_normalization(model, *model_lib.pixel_statistics(normalization))
    size = image_size or (32 if small_image else config_lib.CONFIGS[name].resolution)
    card = {
        "class_names": list(class_names),
        "preprocess": {
            "image_size": size,
            "small_image": small_image,
            "crop_padding": _CROP_PADDING,
            "interpolation": _INTERPOLATIONS[source.format],
        },
        "model": {"name": name, "small_image": small_image},
        "source": source.describe(),
        **({"class_titles": titles} if titles else {}),
        **card_entries,
    }
    archive.save(model, output, card)
    return model


def format_of(path: str | Path) -> str:
    """Returns the format of a weight file by its extension; "tf1" for all others."""
    return _FORMATS.get(Path(path).suffix, "tf1")


def imagenet_classes() -> tuple[list[str], list[str]]:
    """Returns ImageNet's 1000 WordNet ids, in the order of published logits, and their titles."""
    text = resources.files("efficientnet").joinpath("imagenet_classes.tsv").read_text()
    ids, titles = zip(*(line.split("\t") for line in text.splitlines()), strict=True)
    return list(ids), list(titles)


def read_class_names(path: str) -> list[str]:
    """Reads one class name per line, in the order of the logits.

    Raises:
        ValueError: the file is missing or empty, or lists a class twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Class names {path} cannot be read: {error}") from error
    if not names:
        raise ValueError(f"{path} is empty; it must list one class name per line.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} lists classes twice: {', '.join(twice[:10])}.")
    return names


def _sha256(source: str) -> str:
    """Hashes a file, or all files of a checkpoint in sorted order."""
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
    flags.DEFINE_enum(
        "name",
        None,
        list(config_lib.CONFIGS),
        "Network of the weights. Not needed for timm/tf_efficientnet_* from the hub.",
    )
    flags.DEFINE_string(
        "source",
        None,
        "Weights. tf1: downloaded tar, folder or prefix; keras: .h5, .weights.h5 or .keras; "
        "timm: .safetensors or .pth of a tf_efficientnet_* model; hf:OWNER/NAME or "
        "hf:OWNER/NAME/FILE: a repository on https://huggingface.co.",
    )
    flags.DEFINE_enum(
        "source_format",
        None,
        list(_INTERPOLATIONS),
        "Library that wrote the file. Unset: inferred from its extension; tf1 unless it is .h5, "
        ".keras, .safetensors, .pth, .pt or .bin.",
    )
    flags.DEFINE_string("output", None, "File to write, ending in .keras.")
    flags.DEFINE_bool("raw", False, "Load the raw weights instead of their moving averages.")
    flags.DEFINE_bool("drop_head", False, "Replace the classifier with one initialized to zero.")
    flags.DEFINE_string(
        "class_names", None, "File with one class name per line; unset: ImageNet's WordNet ids."
    )
    flags.DEFINE_bool("small_image", False, "Build the variant for 32x32 images.")
    flags.DEFINE_integer(
        "image_size",
        None,
        "Test resolution in pixels to store in the card; unset: the network's default.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "normalization",
        None,
        list(model_lib.NORMALIZATIONS),
        "Pixel normalization (AdvProp weights: inception); unset: that of the source format.",
    )
    flags.DEFINE_string("trained_on", None, "Name of the training data, for the model card.")
    flags.DEFINE_list(
        "metrics", [], "Published metrics for the model card, such as top1=77.3,top5=93.4."
    )


def _main(argv: list[str]) -> None:
    try:
        if len(argv) > 1:
            raise ValueError(f"unknown argument {argv[1]}; flags have the form --name=value.")
        is_named = (FLAGS.source or "").startswith(hub.PREFIX)
        for flag in ("source", "output") if is_named else ("name", "source", "output"):
            if FLAGS[flag].value is None:
                raise ValueError(f"--{flag} is required: {FLAGS[flag].help}")
        if not FLAGS.output.endswith(".keras") or "://" in FLAGS.output:
            raise ValueError(f"--output={FLAGS.output}: must be a local path that ends in .keras.")
        names = read_class_names(FLAGS.class_names) if FLAGS.class_names else None
        network, source, normalization = _given()
        model = convert(
            network,
            source,
            FLAGS.output,
            class_names=names,
            small_image=FLAGS.small_image,
            image_size=FLAGS.image_size,
            normalization=normalization,
            trained_on=FLAGS.trained_on,
            metrics=_metrics(FLAGS.metrics),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    count = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    head = model.get_layer(weight_names.HEAD).units
    print(f"{FLAGS.output}: {network}, {count:,} trainable parameters, {head} classes")
    card = archive.read_card(FLAGS.output)
    print(f"images: {card['preprocess']}")
    print(f"weights: {card['source']}")


def _given() -> tuple[str, Source, str | None]:
    """Returns the network, the source and the pixel normalization that the flags describe."""
    network, path, normalization = FLAGS.name, FLAGS.source, FLAGS.normalization
    origin = None
    if path.startswith(hub.PREFIX):
        try:
            found = hub.find(path.removeprefix(hub.PREFIX), network)
        except ValueError as error:
            raise ValueError(f"--source={path}: {error}") from None
        origin, path, network = path, str(found.path), found.network
        normalization = normalization or found.normalization
    file_format = FLAGS.source_format or format_of(path)
    return network, Source(path, file_format, not FLAGS.raw, FLAGS.drop_head, origin), normalization


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
