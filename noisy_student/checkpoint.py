"""Saved models, and the state of a half-finished training.

A saved model is one ``.keras`` file holding the averaged weights and, as one more member of the zip
archive, ``card.json``: class names, preprocessing, where the weights come from. Two trainings that
end with the same weights give the same bytes.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

import efficientnet  # noqa: F401  registers the layers that a saved model is made of
from data.preprocess import PreprocessSpec

CARD = "card.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip archive can carry


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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = path.with_name(f".{path.stem}.raw.keras")
    temporary = path.with_name(f".{path.stem}.tmp.keras")
    model.save(raw)
    card = {"class_names": list(class_names), "preprocess": spec.to_dict(), **facts}
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(temporary, "w") as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "metadata.json":  # carries the date
                content = _without_date(content)
            elif name == "config.json":  # carries addresses in memory
                content = _with_numbered_objects(content)
            target.writestr(zipfile.ZipInfo(name, _EPOCH), content)
        target.writestr(zipfile.ZipInfo(CARD, _EPOCH), json.dumps(card, indent=1, sort_keys=True))
    raw.unlink()
    os.replace(temporary, path)


def load_model(path: str | os.PathLike[str]) -> tuple[keras.Model, dict[str, Any]]:
    """Reads a saved model.

    Returns:
        The model (RGB 0..255 [B, H, W, 3] -> logits) and its card with ``preprocess`` as a
        ``PreprocessSpec`` and ``class_names`` as a tuple.

    Raises:
        ValueError: for a file that is missing, no Keras model, or has no card.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"model file {path} does not exist.")
    card = read_card(path)
    return keras.saving.load_model(path, compile=False), card


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of a saved model, without loading the weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            card = json.loads(archive.read(CARD))
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is not a .keras file (or is damaged).") from None
    except KeyError:
        raise ValueError(
            f"{path} is a Keras model without {CARD} (class names and preprocessing): "
            "only models saved by this project carry one."
        ) from None
    card["class_names"] = tuple(card["class_names"])
    card["preprocess"] = PreprocessSpec.from_dict(card["preprocess"])
    return card


class TrainingState:
    """Checkpoints of everything that changes while training, in ``<directory>/checkpoints``."""

    def __init__(self, directory: str | os.PathLike[str], **trackables: Any):
        """Names what is kept.

        Args:
            directory: of the stage.
            **trackables: name -> Keras model, optimizer or tf.Variable.
        """
        self._checkpoint = tf.train.Checkpoint(**trackables)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(Path(directory) / "checkpoints"), max_to_keep=2
        )

    def save(self, step: int) -> None:
        """Saves; the last two are kept."""
        self._manager.save(checkpoint_number=step, check_interval=False)

    def restore(self) -> str | None:
        """Restores the newest checkpoint that can be read and returns its path.

        A damaged one is named in a warning and the one before it is taken.
        """
        for path in reversed(self._manager.checkpoints):
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except (tf.errors.OpError, AssertionError, IndexError, ValueError) as error:
                logging.warning("checkpoint %s cannot be read (%s): trying older.", path, error)
                continue
            return path
        return None

    def remove(self) -> None:
        """Deletes the checkpoints of a finished training."""
        directory = Path(self._manager.directory)
        for file in directory.glob("*"):
            file.unlink()
        if directory.exists():
            directory.rmdir()


def _with_numbered_objects(config: bytes) -> bytes:
    """Replaces the ids of shared objects by their order of appearance."""
    numbers: dict[int, int] = {}

    def number(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if content.get("shared_object_id") is not None:
            key = content["shared_object_id"]
            content["shared_object_id"] = numbers.setdefault(key, len(numbers))
        return content

    return json.dumps(json.loads(config, object_pairs_hook=number)).encode()


def _without_date(metadata: bytes) -> bytes:
    content: Mapping[str, Any] = json.loads(metadata)
    return json.dumps({k: v for k, v in content.items() if k != "date_saved"}).encode()
