"""Turns the values of command-line flags into a typed source and a draw."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.sources.draw import Draw
from data.sources.source import (
    Builtin,
    Folder,
    Records,
    Source,
    Tfds,
    Unlabeled,
    UnlabeledFolder,
    UnlabeledRecords,
)

ON_DISK: dict[str, type[Folder] | type[Records]] = {"folder": Folder, "records": Records}
_TFDS = "tfds:"
_PLACES = ("labeled_dir", "validation_dir", "test_dir")
_SPLITS = ("labeled_split", "test_split", "unlabeled_split")
_UNLABELED = ("unlabeled_dir", "unlabeled_records", "unlabeled_dataset")
_OFFSET = ("label_offset",)
_DRAW = (
    *("num_labeled", "num_validation", "least_validation", "seed"),
    *("unlabeled_fraction", "unlabeled_skew", "exclude"),
)


def from_options(options: Mapping[str, Any], source: Source | None = None) -> tuple[Source, Draw]:
    """Reads a source and a draw from options by name.

    Args:
        options: `dataset` ("mnist5k", "folder", "records" or "tfds:NAME"), and the fields of
            `Folder`, `Records`, `Tfds` and `Draw`. `unlabeled_dir`, `unlabeled_records` and
            `unlabeled_dataset` name the place of unlabeled images. Options that are None or empty
            count as absent, others are ignored.
        source: a source that no option names, such as `Arrays`; None: the one of the options.

    Raises:
        ValueError: names an option that is missing, out of range or does not apply.
    """
    given = {name: value for name, value in options.items() if value not in (None, "", [], ())}
    if source is None:
        source = _source(given)
    else:
        others = (*_PLACES, *_SPLITS, *_UNLABELED)
        _refuse(given, others, "arrays", "'folder', 'records' or 'tfds:NAME'")
    return source, Draw(unlabeled=_unlabeled(given), **_pick(given, _DRAW))


def _source(given: Mapping[str, Any]) -> Source:
    dataset = given["dataset"]
    if dataset in ON_DISK:
        _refuse(given, _SPLITS[:2], dataset, "'tfds:NAME'")
        if dataset != "records" and "unlabeled_records" not in given:
            _refuse(given, _OFFSET, dataset, "'records'")
        if "labeled_dir" not in given:
            raise ValueError(
                f"dataset {dataset!r} needs labeled_dir, the folder of the labeled images."
            )
        places = (*_PLACES, *_OFFSET) if dataset == "records" else _PLACES
        return ON_DISK[dataset](**_pick(given, places))
    _refuse(given, _PLACES, dataset, "'folder' or 'records'")
    if "unlabeled_records" not in given:
        _refuse(given, _OFFSET, dataset, "'records'")
    if dataset.startswith(_TFDS):
        names = _SPLITS[:2] if "unlabeled_dataset" in given else _SPLITS
        return _tfds(dataset, _pick(given, (*names, "data_dir")))
    _refuse(given, _SPLITS[:2], dataset, "'tfds:NAME'")
    return Builtin(dataset)


def _unlabeled(given: Mapping[str, Any]) -> Unlabeled | None:
    named = [name for name in _UNLABELED if name in given]
    if len(named) > 1:
        raise ValueError(f"Give either {' or '.join(named)}, not both.")
    dataset = given.get("unlabeled_dataset", given["dataset"])
    is_tfds = dataset.startswith(_TFDS)
    if not is_tfds:
        _refuse(given, _SPLITS[2:], dataset, "'tfds:NAME', or unlabeled_dataset 'tfds:NAME'")
    if "unlabeled_dir" in given:
        return UnlabeledFolder(given["unlabeled_dir"])
    if "unlabeled_records" in given:
        names = (*_OFFSET, "labeled_dir") if given["dataset"] == "records" else _OFFSET
        return UnlabeledRecords(tuple(given["unlabeled_records"]), **_pick(given, names))
    if "unlabeled_dataset" not in given:
        return None
    if is_tfds:
        return _tfds(dataset, _pick(given, ("unlabeled_split", "data_dir")))
    return Builtin(dataset)


def _tfds(dataset: str, options: Mapping[str, Any]) -> Tfds:
    return Tfds(dataset.removeprefix(_TFDS), **options)


def _pick(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _refuse(given: Mapping[str, Any], names: Iterable[str], dataset: str, valid: str) -> None:
    """Raises a ValueError if one of the options, which do not apply to the data set, is given."""
    for name in names:
        if name in given:
            raise ValueError(
                f"{name} {given[name]!r} only works with dataset {valid}, not {dataset!r}: set "
                "--dataset."
            )
