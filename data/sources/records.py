"""Reader of TFRecord files: ImageNet in its published layout, student-ready records, and others.

Files are indexed, not loaded: see `record_index`.
"""

import collections
import dataclasses
import glob
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from data import tfrecord_file
from data.examples import UNKNOWN_LABEL, EncodedExamples
from data.sources import folders, image_check, record_index
from data.sources.record_index import Entry

_zeros: dict[tuple[tuple[str, int, int], ...], Entry | None] = {}  # of `_first_zero`


def find_files(patterns: Sequence[str]) -> list[str]:
    """Finds TFRecord files by name.

    Args:
        patterns: files, globs such as "train-*", or folders, from which the files are taken whose
            names have "tfrecord" or "-of-" in them.

    Returns:
        Paths, those of a pattern sorted, without repetition.

    Raises:
        ValueError: names a pattern that no file matches.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        folder, name = os.path.split(pattern)
        if os.path.isdir(pattern):
            literal = glob.escape(pattern)
            globs = [os.path.join(literal, f"*{part}*") for part in ("tfrecord", "-of-")]
        elif os.path.isdir(folder):  # brackets in its name are no pattern then
            globs = [os.path.join(glob.escape(folder), name), glob.escape(pattern)]
        else:
            globs = [pattern]
        matches = set(itertools.chain.from_iterable(map(glob.glob, globs)))
        files = sorted(filter(os.path.isfile, matches))
        if not files:
            raise ValueError(f"No TFRecord files match {pattern!r}.")
        found.update(dict.fromkeys(files))
    return list(found)


def verify_if_small(files: Sequence[str]) -> bool:
    """Compares the checksums of files of up to `image_check.VERIFIED_BYTES`; returns if it did.

    Others are checked while training.

    Raises:
        ValueError: see `tfrecord_file.verify`.
    """
    small = sum(map(os.path.getsize, files)) <= image_check.VERIFIED_BYTES
    if small:
        tfrecord_file.verify(files)
    return small


def read_labeled(
    patterns: Sequence[str],
    class_names: Sequence[str] | None = None,
    prefix: str = "records",
    label_offset: int | None = None,
    like: Sequence[str] = (),
) -> EncodedExamples:
    """Indexes labeled TFRecord files.

    A record names its class (`image/class/synset`, else `image/class/text`). Where it names none,
    its number (`image/class/label` from 1, or `label` from 0 as in student-ready records) decides,
    and is the class's name.

    Args:
        patterns: see `find_files`.
        class_names: known classes, which need not all be present; None: those of the records.
        prefix: first part of the ids of records without `image/id`, as in
            "records/train-00000-of-01024/000017".
        label_offset: first class number in `image/class/label`, 0 or 1; None: 0 where a record has
            0, else 1, as published.
        like: files of the labeled set that the images go with, which decide where no record has 0.

    Returns:
        The images in the order of the records, without further copies of an image (`image/copy`).

    Raises:
        ValueError: names file and offset of a record that is damaged, no image, without label or of
            another class; or a class without records.
    """
    entries = _originals(patterns)
    zero = _first_zero(patterns, entries)
    if label_offset == 1 and zero:
        raise ValueError(f"{zero.place}: image/class/label is 0: give label_offset=0.")
    if label_offset is None:
        if zero is None and like and _are_numbered(entries):
            zero = _first_zero(like)
        label_offset = _offset(zero)
    entries = _shifted(entries, label_offset)
    for entry in entries:
        problem = entry.problem
        if not problem and entry.label is None:
            problem = record_index.without_label(entry)
        if problem:
            raise ValueError(f"{entry.place}: {problem}.")
    if class_names is None:
        class_names = _class_names(entries)
    index_of = {folders.normal(name): number for number, name in enumerate(class_names)}
    labels = [_label(entry, index_of) for entry in entries]
    for entry, label in zip(entries, labels, strict=True):
        if label == UNKNOWN_LABEL:
            raise ValueError(
                f"{entry.place}: unknown class {entry.class_name or entry.label}. Valid: "
                f"{image_check.abbreviated(class_names)} ({len(class_names)} in all)."
            )
    return _examples(entries, labels, class_names, prefix)


def read_unlabeled(
    patterns: Sequence[str],
    class_names: Sequence[str],
    prefix: str = "unlabeled",
    label_offset: int | None = None,
    like: Sequence[str] = (),
) -> tuple[EncodedExamples, list[str]]:
    """Indexes unlabeled TFRecord files.

    If all records name one of the known classes, or have a published number among them, these
    labels are kept (to measure pseudo labels, never to train on them). Otherwise all labels are -1.

    Args:
        patterns: see `find_files`.
        class_names: the known classes.
        prefix: see `read_labeled`.
        label_offset: first class number in `image/class/label`, 0 or 1; None: that of the labeled
            set, else 1.
        like: files of the labeled set.

    Returns:
        The images as `read_labeled` does, and the places of the records that were skipped because
        they are no images.

    Raises:
        ValueError: names file and offset of a damaged record; or no image is left.
    """
    entries = _originals(patterns)
    if label_offset is None:
        # A 0 here may mean "no label": only the labeled set decides.
        label_offset = _offset(_first_zero(like) if like and _are_numbered(entries) else None)
    if label_offset == 0 and all(entry.label == UNKNOWN_LABEL for entry in entries):
        label_offset = 1  # 0 alone: no labels
    entries = _shifted(entries, label_offset)
    skipped = [f"{entry.place}: {entry.problem}" for entry in entries if entry.problem]
    if skipped:
        logging.warning(
            "skipped %d records that are not images: %s",
            len(skipped),
            image_check.abbreviated(skipped),
        )
        entries = [entry for entry in entries if not entry.problem]
    if not entries:
        raise ValueError(f"No images in the records of {image_check.abbreviated(patterns)}.")
    index_of = {folders.normal(name): number for number, name in enumerate(class_names)}
    known = [entry.published or entry.class_name is not None for entry in entries]
    labels = [_label(entry, index_of) for entry in entries]
    if UNKNOWN_LABEL in labels or not all(known):
        labels = [UNKNOWN_LABEL] * len(entries)
    return _examples(entries, labels, class_names, prefix), skipped


def _originals(patterns: Sequence[str]) -> list[Entry]:
    """Indexes all files, without further copies of an image."""
    files = find_files(patterns)
    skim = not verify_if_small(files)
    return [entry for path in files for entry in record_index.index(path, skim) if not entry.copy]


def _shifted(entries: list[Entry], label_offset: int) -> list[Entry]:
    """Returns entries whose classes count from 0, given the first number in `image/class/label`."""
    if label_offset == 1:  # as `record_index` takes it
        return entries
    return [
        dataclasses.replace(entry, label=entry.label + 1)
        if entry.published and entry.label is not None
        else entry
        for entry in entries
    ]


def _offset(zero: Entry | None) -> int:
    """Returns the first number in `image/class/label`, given the first entry that has 0."""
    if zero is None:
        return 1
    logging.warning(
        "assuming that image/class/label starts at 0, not at 1 as published: %s has 0 "
        "(set label_offset=0 or label_offset=1 to be sure)",
        zero.place,
    )
    return 0


def _are_numbered(entries: list[Entry]) -> bool:
    """Returns True if `image/class/label` decides the class of a record, which has no name."""
    return any(entry.published and entry.class_name is None for entry in entries)


def _first_zero(patterns: Sequence[str], entries: list[Entry] | None = None) -> Entry | None:
    """Returns the first entry whose `image/class/label` is 0.

    Known once in a process, while the files stay: test and unlabeled images ask for the labeled.

    Args:
        patterns: see `find_files`.
        entries: what is in them, if it is known.
    """
    status = [(path, os.stat(path)) for path in find_files(patterns)]
    key = tuple((path, found.st_size, found.st_mtime_ns) for path, found in status)
    if key not in _zeros:
        entries = _originals(patterns) if entries is None else entries
        zeros = (e for e in entries if e.published and e.label == UNKNOWN_LABEL)
        _zeros[key] = next(zeros, None)
    return _zeros[key]


def _class_names(entries: list[Entry]) -> tuple[str, ...]:
    """Returns the names of the classes 0, 1, ..., each the class of at least one record."""
    names: dict[int, str] = {}
    for entry in entries:
        label = UNKNOWN_LABEL if entry.label is None else entry.label
        name = entry.class_name or str(label)
        if label < 0 or names.setdefault(label, name) != name:
            raise ValueError(
                f"{entry.place}: class number {label} (counted from 0) is {name!r} here"
                + (f", but {names[label]!r} before." if label in names else ".")
            )
    missing = sorted(set(range(max(names, default=-1) + 1)) - set(names))
    if missing or not names:
        raise ValueError(
            f"No records of class {missing[0]} (counted from 0)."
            if missing
            else "No labeled records."
        )
    in_order = tuple(names[number] for number in sorted(names))
    if len(set(in_order)) < len(in_order):
        twice = next(name for name in in_order if in_order.count(name) > 1)
        raise ValueError(f"Two class numbers have the same name {twice!r}.")
    return in_order


def _label(entry: Entry, index_of: Mapping[str, int]) -> int:
    """Returns the class of a record among known ones, by name or else by number; or -1."""
    if entry.class_name is not None:
        return index_of.get(entry.class_name, UNKNOWN_LABEL)
    label = UNKNOWN_LABEL if entry.label is None else entry.label
    return label if 0 <= label < len(index_of) else UNKNOWN_LABEL


def _examples(
    entries: list[Entry], labels: list[int], class_names: Sequence[str], prefix: str
) -> EncodedExamples:
    """Returns records as examples."""
    folder = os.path.commonpath([os.path.dirname(path) for path in {e.path for e in entries}])

    def name(entry: Entry) -> str:
        file = pathlib.PurePath(entry.path).relative_to(folder).as_posix()
        return entry.image_id or f"{prefix}/{file}/{entry.number:06d}"

    ids = [name(entry) for entry in entries]
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in collections.Counter(ids).items() if count > 1)
        raise ValueError(f"Several records have the id {twice!r}.")
    return EncodedExamples(
        ids=np.array(ids, object),
        labels=np.array(labels, np.int32),
        class_names=tuple(class_names),
        files=np.array([entry.path for entry in entries], object),
        offsets=np.array([entry.offset for entry in entries], np.int64),
    )
