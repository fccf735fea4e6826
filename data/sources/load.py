"""Loads a data set as labeled, validation, unlabeled and test images."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from data.examples import Examples, concatenate
from data.sources import copies, digests, image_check, shared, subset
from data.sources.arrays import Arrays
from data.sources.draw import TEST_SHARE, Draw
from data.sources.source import Builtin, Source
from data.sources.splits import Splits, SplitsInfo, draw_or_load

# The keys of a stored request, in their order; those that do not apply are null.
_REQUEST = (
    *("dataset", "labeled_dir", "unlabeled_dir", "validation_dir", "test_dir"),
    *("unlabeled_records", "unlabeled_dataset", "labeled_split", "test_split", "unlabeled_split"),
    *("unlabeled_fraction", "unlabeled_skew", "num_labeled", "num_validation", "seed"),
)
_SPLIT_NAME = re.compile(
    r"(train(ing)?|test(ing)?|val(id(ation)?)?|dev|eval|(un)?labell?ed)([ _-]?(set|data|images))?",
    re.IGNORECASE,
)
_DEFAULT_DRAW = Draw()


def load_splits(
    source: Source, draw: Draw = _DEFAULT_DRAW, splits_file: str | os.PathLike[str] | None = None
) -> Splits:
    """Loads a data set as labeled, validation, unlabeled and test images.

    Validation and labeled images are drawn from the labeled pool, stratified; the rest of the pool
    is unlabeled. Unlabeled images of other places (`Draw.unlabeled`, a split of the source) join
    them. Labels of unlabeled images are kept where the source knows them; nothing may train on
    them.

    Args:
        source: `Folder`, `Records`, `Tfds`, `Builtin` or `Arrays`.
        draw: how to split the labeled pool, and which unlabeled images to add.
        splits_file: JSON file in which the draw is stored, and from which later calls read it.

    Raises:
        ValueError: names the field, folder or file at fault, or the difference from the stored
            request.
    """
    request = request_of(source, draw)
    if request["validation_dir"] is not None and draw.num_validation > 0:
        raise ValueError("Give either validation_dir or num_validation, not both.")
    info: SplitsInfo = {"skipped": [], "warnings": []}
    pool = source.read_labeled()
    fixed = source.read_held_out(pool.class_names)
    if "validation" in fixed and draw.num_validation > 0:
        raise ValueError("Give either validation images or num_validation, not both.")
    unlabeled = _read_unlabeled(source, draw, pool.class_names, info)
    if unlabeled is not None:
        fixed["unlabeled"] = unlabeled
    if "test" not in fixed and not isinstance(source, Builtin):
        info["warnings"].append(
            f"No test images given: {TEST_SHARE:.0%} of the labeled images are held out."
        )
    info["unlabeled_labels_known"] = unlabeled is None or bool(np.all(unlabeled.labels >= 0))
    shared.refuse({"labeled": pool, **fixed})

    def new_ids() -> dict[str, list[str]]:
        learned = {name: held for name, held in fixed.items() if name != "unlabeled"}
        image_check.refuse_undecodable({"labeled": pool, **learned})
        return draw.ids(pool, fixed)

    marks = digests.by_id([pool, *fixed.values()]) if splits_file else None
    ids = draw_or_load(splits_file, request, new_ids, marks)
    known = digests.of_pixels([pool, *fixed.values()]) if isinstance(source, Arrays) else marks
    splits = _assemble(pool, fixed, ids, draw.exclude, info, known or {})
    if marks is not None:  # for the stages, which ask for the same digests
        for examples in (splits.labeled, splits.validation, splits.unlabeled, splits.test):
            digests.content(examples, marks)
    return splits


def request_of(source: Source, draw: Draw) -> dict[str, Any]:
    """Returns what a file of splits stores of their source and draw, to recognize them again."""
    return dict.fromkeys(_REQUEST) | source.request() | draw.request()


def load_examples(source: Source, class_names: Sequence[str] | None = None) -> Examples:
    """Loads the labeled images of a source, to evaluate on.

    Args:
        source: `Folder`, `Records`, `Tfds`, `Builtin` or `Arrays`; its other images are not read.
        class_names: classes of the model, to which those of the set are matched by name; None: the
            set's own.

    Raises:
        ValueError: names the field, folder or file at fault.
    """
    return source.read_labeled(class_names)


def _read_unlabeled(
    source: Source, draw: Draw, class_names: tuple[str, ...], info: SplitsInfo
) -> Examples | None:
    """Reads the unlabeled images that are not part of the labeled pool."""
    if draw.unlabeled is None:
        return source.read_own_unlabeled(class_names)
    examples, info["skipped"] = draw.unlabeled.read_unlabeled(class_names)
    if info["skipped"]:
        info["warnings"].append(
            f"{len(info['skipped'])} of the unlabeled files or records are not images."
        )
    return examples


def _assemble(
    pool: Examples,
    fixed: Mapping[str, Examples],
    ids: Mapping[str, list[str]],
    exclude: str | os.PathLike[str] | None,
    info: SplitsInfo,
    marks: Mapping[str, str],
) -> Splits:
    """Takes the images with the given ids from the pool and the splits that the source has."""
    in_pool = {name: position for position, name in enumerate(pool.ids)}
    splits, left_out = {}, ids.get("left_out", [])
    for split, wanted in ids.items():
        if split == "left_out":
            continue
        drawn = pool.take([in_pool[name] for name in wanted if name in in_pool])
        others = [name for name in wanted if name not in in_pool]
        if not others:
            splits[split] = drawn
            continue
        splits[split] = _take_ids(fixed.get(split), others, split)
        if len(drawn):
            splits[split] = concatenate(drawn, splits[split])
    _refuse_shared_ids(splits)
    known = len(pool) + sum(map(len, fixed.values())) - len(left_out)
    if (missing := known - sum(map(len, splits.values()))) > 0:
        info["warnings"].append(f"{missing} images are not in the stored splits: left out.")
    if exclude is not None:
        splits, info["excluded"] = subset.without(splits, exclude, left_out)
    splits = shared.take_out(splits, info)
    info["warnings"] += copies.warnings(splits, marks)
    _check_classes(splits, pool, info)
    if left_out:
        info["left_out"] = len(left_out)
    info["counts"] = {name: len(examples) for name, examples in splits.items()}
    return Splits(**splits, class_names=pool.class_names, info=info)


def _take_ids(examples: Examples | None, wanted: list[str], split: str) -> Examples:
    """Returns the examples with the given ids; a ValueError names an id that is gone."""
    positions = {} if examples is None else {name: i for i, name in enumerate(examples.ids)}
    missing = [name for name in wanted if name not in positions]
    if examples is None or missing:
        raise ValueError(
            f"{len(missing)} images of the stored split {split!r} are missing, such as "
            f"{missing[0]}."
        )
    return examples.take([positions[name] for name in wanted])


def _refuse_shared_ids(splits: Mapping[str, Examples]) -> None:
    """Raises a ValueError if two splits share an image."""
    owner: dict[str, str] = {}
    for split, examples in splits.items():
        for name in examples.ids:
            if owner.setdefault(name, split) != split:
                raise ValueError(f"{name} is in both {owner[name]!r} and {split!r}.")


def _check_classes(splits: Mapping[str, Examples], pool: Examples, info: SplitsInfo) -> None:
    """Refuses classes that would not be taught; logs all warnings, also those of odd classes."""
    present = set(splits["labeled"].labels.tolist())
    if not present:
        raise ValueError(f"None of the {len(pool)} labeled images is left to train on.")
    names = pool.class_names
    untaught = [names[label] for label in sorted({*pool.labels.tolist()} - present)]
    if untaught:
        raise ValueError(
            f"No labeled image of class {image_check.abbreviated(untaught)} is left to train on: "
            f"give a --num_labeled of at least {len(present) + len(untaught)} (or 0), list "
            "fewer images in --exclude, or add images that are not also test or validation images."
        )
    absent = [name for label, name in enumerate(names) if label not in present]
    if absent:
        info["warnings"].append(f"No labeled images of the classes {', '.join(absent)}.")
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_letters(name), []).append(name)
    if pairs := [f"{group}"[1:-1] for group in alike.values() if len(group) > 1]:
        info["warnings"].append(
            f"Classes differ only in case, spaces or invisible characters: "
            f"{image_check.abbreviated(pairs)}. Should they be one class?"
        )
    tested = set(splits["test"].labels.tolist())
    if untested := [name for label, name in enumerate(names) if label in present - tested]:
        info["warnings"].append(
            f"No test images of class {image_check.abbreviated(untested)}: the accuracy does not "
            "include it."
        )
    split_names = list(filter(_SPLIT_NAME.fullmatch, names))  # "train" alone may be a vehicle
    if 2 * len(split_names) >= min(len(names), 4) or len(names) == 1:
        info["warnings"].append(
            f"The classes are {image_check.abbreviated(names)}: is --labeled_dir really the folder "
            "whose subfolders are the classes, not one above or below it?"
        )
    for warning in info["warnings"]:
        logging.warning("%s", warning)


def _letters(name: str) -> str:
    """Returns a name without what is hard to see: case, spaces, invisible characters and forms."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if unicodedata.category(c)[0] not in "CZ")
