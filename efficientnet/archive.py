"""Saved models: ``.keras`` files that contain a model card.

The card, ``card.json`` in the zip archive, holds the class names, the preprocessing and the origin
of the weights for later stages. Models with the same weights, layers and card are saved to the same
bytes. Keras ignores the card and reads such a file like any other.
"""

import json
import os
import platform
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

CARD = "card.json"
_LARGEST_JSON = 64 << 20  # bytes; a card with a million class names is smaller
_LARGEST_RATIO = 100  # of unpacked to packed bytes; weights are hardly packed at all
_SHOWN = 5  # models that an error names
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip archive can carry


def save(model: keras.Model, path: str | os.PathLike[str], card: Mapping[str, Any]) -> None:
    """Writes a model and its card atomically; the bytes depend on nothing else.

    Args:
        model: any Keras model.
        path: file ending in ``.keras``; missing folders are created.
        card: JSON-serializable content.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    end = _temporary_end()
    raw = path.with_name(f".{path.name}.raw.{end}.keras")
    temporary = path.with_name(f".{path.name}.{end}")
    model.save(raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(temporary, "w") as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "metadata.json":  # contains the date
                content = _without_date(content)
            elif name == "config.json":  # contains memory addresses
                content = _with_numbered_objects(content)
            target.writestr(zipfile.ZipInfo(name, _EPOCH), content)
        target.writestr(*_card_entry(card))
    raw.unlink()
    os.replace(temporary, path)


def with_card(
    source: str | os.PathLike[str], target: str | os.PathLike[str], card: Mapping[str, Any]
) -> None:
    """Copies a ``.keras`` file atomically and replaces its card; `target` may be `source`."""
    temporary = Path(target).with_name(f".{Path(target).name}.{_temporary_end()}")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(temporary, "w") as new:
        for entry in old.infolist():
            if entry.filename != CARD:
                new.writestr(entry, old.read(entry))
        new.writestr(*_card_entry(card))
    os.replace(temporary, target)


def _temporary_end() -> str:
    """Returns the suffix of unfinished files, which are removed at the next start."""
    return f"tmp-{platform.node()}-{os.getpid()}"


def _card_entry(card: Mapping[str, Any]) -> tuple[zipfile.ZipInfo, str]:
    return zipfile.ZipInfo(CARD, _EPOCH), json.dumps(card, indent=1, sort_keys=True)


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the card of a saved model without loading its weights.

    Raises:
        ValueError: the file is missing, is not a zip archive, contains no card, or unpacks to far
            more than a model has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_sizes(path, archive)
            return json.loads(archive.read(CARD))
    except (FileNotFoundError, IsADirectoryError):
        raise no_file(path) from None
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is damaged or not a .keras file.") from None
    except KeyError:
        raise ValueError(
            f"{path} is a Keras model without {CARD} (class names and preprocessing): python -m "
            "noisy_student.card FILE writes one; python -m efficientnet.convert converts weights."
        ) from None


def no_file(path: str | os.PathLike[str]) -> ValueError:
    """Returns the error for a missing model file; it names the models that exist nearby."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    found = sorted(str(each) for each in folder.glob("**/*.keras" if path.is_dir() else "*.keras"))
    problem = "is a folder, not a .keras file" if path.is_dir() else "does not exist"
    why = ""
    if path.name == "best.keras" and found:
        why = " (best.keras is written where there are validation images)"
    shown = ", ".join([*found[:_SHOWN], *(["..."] if len(found) > _SHOWN else [])])
    there = f" There: {shown}." if found else ""
    return ValueError(f"Model file {path} {problem}{why}.{there}")


def check_sizes(path: str | os.PathLike[str], archive: zipfile.ZipFile) -> None:
    """Raises a ValueError if an entry of a model file unpacks to an implausible size."""
    for entry in archive.infolist():
        largest = _LARGEST_JSON
        if not entry.filename.endswith(".json"):
            largest = max(largest, _LARGEST_RATIO * entry.compress_size)
        if entry.file_size > largest:
            raise ValueError(
                f"{path}: {entry.filename} in it unpacks to {entry.file_size >> 20:,} MiB, over "
                f"the limit of {largest >> 20:,}: not a file that Keras wrote."
            )


def _with_numbered_objects(config: bytes) -> bytes:
    """Replaces the ids of shared objects with their order of appearance."""
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
