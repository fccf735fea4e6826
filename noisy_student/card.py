r"""Adds a card to a third-party Keras model, so that every command accepts it.

python -m noisy_student.card resnet.keras --class_names=classes.txt --input_range=-1..1
python -m noisy_student.card net.keras --class_names=cat,dog --image_size=96 \
    --crop_padding=16 --output=net.keras
python -m noisy_student.card vit.keras --class_names=imagenet --outputs=logits --image_size=224

The card holds the information that other commands need: class names, image size and crop, pixel
range, and whether the model outputs logits or a softmax. The model itself is unchanged. The copy
can be used as --teacher_model and --selection_model, and as --model of predict, label, evaluate and
export. A model that ends in a softmax labels with its probabilities. `--interpolation` sets how
images are resized; `--crop_padding=0`, the default here, uses the largest square.
"""

import dataclasses
from pathlib import Path

from efficientnet import archive
from noisy_student import config
from noisy_student.artifacts import disk, foreign, model_file
from noisy_student.artifacts.foreign import Description, Opened
from noisy_student.config import schema
from noisy_student.runtime.devices import make_devices


def run(model: str | Path, description: Description, output: str | Path | None = None) -> Opened:
    """Adds a card to a copy of a model, or to the model itself.

    Args:
        model: a `.keras` file; a card from this command is replaced.
        description: content of the card.
        output: file to write; `model` changes it in place; None: NAME-card.keras.

    Returns:
        The opened model.

    Raises:
        ValueError: the file is not a Keras model, has a card from its training, or does not match
            the description; or the output exists.
    """
    model = Path(model)
    output = Path(output or model.with_name(f"{model.stem}-card.keras"))
    if model.suffix != ".keras" or not model.is_file():
        raise ValueError(
            f"--model={model}: must be a .keras file; evaluate takes SavedModels directly."
        )
    if output.suffix != ".keras" or (output.exists() and output.resolve() != model.resolve()):
        problem = "already exists" if output.exists() else "must end in .keras"
        raise ValueError(f"--output={output} {problem}: choose another file.")
    if foreign.has_card(model) and "outputs" not in model_file.read_card(model):
        raise ValueError(f"--model={model} has a card from its training, which cannot be replaced.")
    opened = foreign.open_model(model, description)
    disk.check_writable("output", output.parent)
    card = {**opened.card, "preprocess": opened.card["preprocess"].to_dict()}
    archive.with_card(model, output, card)
    return dataclasses.replace(opened, path=output)


def _main(settings: config.Config, arguments: list[str]) -> None:
    given = settings.group(schema.CardCommandConfig)
    if len(arguments) + bool(given.model) != 1:
        raise ValueError(
            "give exactly one model: python -m noisy_student.card FILE --class_names=..."
        )
    model = given.model or arguments[0]
    make_devices(**dataclasses.asdict(settings.device))
    description = Description(
        settings.group(schema.ForeignModelConfig), settings.group(schema.FramingConfig)
    )
    print(run(model, description, given.output).describe())


if __name__ == "__main__":
    config.run(
        _main,
        schema.CardCommandConfig,
        schema.ForeignModelConfig,
        schema.FramingConfig,
        schema.DeviceConfig,
        takes_arguments=True,
        crop_padding=0,
    )
