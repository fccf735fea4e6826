"""The kinds of data sets on disk: folders, TFRecord files, tensorflow-datasets, a built-in one.

A `Source` has labeled images, and perhaps validation, test and unlabeled ones. An `Unlabeled` adds
unlabeled images of another place: `read_unlabeled` returns them, with true labels where all classes
are known and -1 otherwise, and the files or records that it skips because they are no images. Each
is a frozen dataclass with the fields that apply to it.
"""

import abc
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.examples import UNKNOWN_LABEL, Examples
from data.sources import builtin, folders, records, tfds


class Source(abc.ABC):
    """A labeled data set."""

    @abc.abstractmethod
    def read_labeled(self, class_names: Sequence[str] | None = None) -> Examples:
        """Reads the labeled images, from which splits are drawn.

        Args:
            class_names: classes to which those of the images are matched by name; None: their own.

        Raises:
            ValueError: names the folder, file, class or split at fault.
        """

    def read_held_out(self, class_names: Sequence[str]) -> dict[str, Examples]:
        """Reads the "validation" and "test" images that the source has itself."""
        return {}

    def read_own_unlabeled(self, class_names: Sequence[str]) -> Examples | None:
        """Reads the unlabeled images that the source has itself; None: it has none."""
        return None

    @abc.abstractmethod
    def request(self) -> dict[str, Any]:
        """Returns what identifies the source in a file of splits, JSON values only."""


@dataclasses.dataclass(frozen=True)
class _OnDisk(Source):
    """Labeled images in one place, and validation and test images in others."""

    labeled_dir: str
    validation_dir: str | None = None
    test_dir: str | None = None

    @abc.abstractmethod
    def _read(self, place: str, class_names: Sequence[str] | None, prefix: str) -> Examples: ...

    def read_labeled(self, class_names: Sequence[str] | None = None) -> Examples:
        return self._read(absolute(self.labeled_dir), class_names, self.request()["dataset"])

    def read_held_out(self, class_names: Sequence[str]) -> dict[str, Examples]:
        given = {"validation": self.validation_dir, "test": self.test_dir}
        return {
            name: self._read(absolute(place), class_names, name)
            for name, place in given.items()
            if place is not None
        }

    def request(self) -> dict[str, Any]:
        names = ("labeled_dir", "validation_dir", "test_dir")
        places = {name: (place := getattr(self, name)) and absolute(place) for name in names}
        return {"dataset": type(self).__name__.lower(), **places}


@dataclasses.dataclass(frozen=True)
class Folder(_OnDisk):
    """Image files in folders with a sub-folder for each class.

    Attributes:
        labeled_dir: folder of the labeled images.
        validation_dir: folder of the validation images; None: drawn from the labeled ones.
        test_dir: folder of the test images; None: a fifth of the labeled ones, with a warning.
    """

    def _read(self, place: str, class_names: Sequence[str] | None, prefix: str) -> Examples:
        labeled = absolute(self.labeled_dir)
        if place != labeled and os.path.dirname(place) == labeled:
            raise ValueError(
                f"{labeled} holds the labeled classes, so {place}, which is in it, would be one of "
                "them: give a folder of classes alone, next to it."
            )
        return folders.read_labeled(place, class_names, prefix)


@dataclasses.dataclass(frozen=True)
class Records(_OnDisk):
    """TFRecord files, as ImageNet is published in: each a folder of them or a glob.

    Attributes:
        labeled_dir: labeled images, such as "imagenet/train-*".
        validation_dir: validation images; None: drawn from the labeled ones.
        test_dir: test images; None: a fifth of the labeled ones, with a warning.
        label_offset: first class number in `image/class/label`, 0 or 1; None: detected.
    """

    label_offset: int | None = None

    def _read(self, place: str, class_names: Sequence[str] | None, prefix: str) -> Examples:
        labeled = absolute(self.labeled_dir)
        like = [] if place == labeled else [labeled]
        return records.read_labeled([place], class_names, prefix, self.label_offset, like)

    def request(self) -> dict[str, Any]:
        # Left out where it is detected: files of splits from before this option are still valid.
        offset = {} if self.label_offset is None else {"label_offset": self.label_offset}
        return super().request() | offset


@dataclasses.dataclass(frozen=True)
class Tfds(Source):
    """An image classification set of tensorflow-datasets.

    As an `Unlabeled`, it is the images of `unlabeled_split`, or else of "train".
    """

    name: str  # "NAME", "NAME/CONFIG" or "NAME:VERSION"
    labeled_split: str | None = None  # split or slice such as "train[:10%]"; None: "train"
    # Split or slice; None: "test", or "validation" where the labels of "test" are secret.
    test_split: str | None = None
    # Split or slice; None: "extra" of svhn_cropped, none of other sets.
    unlabeled_split: str | None = None
    data_dir: str | None = None  # where tensorflow-datasets keeps its data; None: its default

    def _read(self, split: str) -> Examples:
        return tfds.read(self.name, split, self.data_dir)

    def _read_known(self, split: str) -> Examples:
        examples = self._read(split)
        unknown = examples.ids[examples.labels < 0]
        if len(unknown):
            raise ValueError(
                f"{len(unknown)} images of split {split!r} of tfds:{self.name} have no label, such "
                f"as {unknown[0]}: give another labeled_split or test_split."
            )
        return examples

    def _default(self, kind: str) -> str | None:
        return tfds.default_splits(self.name, self.data_dir).get(kind)

    def read_labeled(self, class_names: Sequence[str] | None = None) -> Examples:
        examples = self._read_known(self.labeled_split or tfds.TRAIN)
        if class_names is None:
            return examples
        return examples.with_classes(class_names, f"tfds:{self.name}")

    def read_held_out(self, class_names: Sequence[str]) -> dict[str, Examples]:
        split = self.test_split or self._default("test")
        return {} if split is None else {"test": self._read_known(split)}

    def read_own_unlabeled(self, class_names: Sequence[str]) -> Examples | None:
        split = self.unlabeled_split or self._default("unlabeled")
        return None if split is None else _as_unlabeled(self._read(split), class_names)

    def read_unlabeled(self, class_names: Sequence[str]) -> tuple[Examples, list[str]]:
        examples = self._read(self.unlabeled_split or tfds.TRAIN)
        return _as_unlabeled(examples, class_names), []

    def request(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        splits = {name: split for name, split in fields.items() if name.endswith("_split")}
        return {"dataset": f"tfds:{self.name}", **splits}

    def unlabeled_request(self) -> dict[str, Any]:
        split = self.unlabeled_split
        return {"unlabeled_dataset": f"tfds:{self.name}", "unlabeled_split": split}


@dataclasses.dataclass(frozen=True)
class Builtin(Source):
    """A data set that comes inside a package."""

    name: str = "mnist5k"  # "mnist5k", 5000 handwritten digits

    def __post_init__(self) -> None:
        if self.name != "mnist5k":
            raise ValueError(
                f"Unknown dataset {self.name!r}. Valid: mnist5k, folder, records, tfds:NAME."
            )

    def read_labeled(self, class_names: Sequence[str] | None = None) -> Examples:
        examples = builtin.read_mnist5k()
        return examples if class_names is None else examples.with_classes(class_names, self.name)

    def read_unlabeled(self, class_names: Sequence[str]) -> tuple[Examples, list[str]]:
        return _as_unlabeled(builtin.read_mnist5k(), class_names), []

    def request(self) -> dict[str, Any]:
        return {"dataset": self.name}

    def unlabeled_request(self) -> dict[str, Any]:
        return {"unlabeled_dataset": self.name}


@dataclasses.dataclass(frozen=True)
class UnlabeledFolder:
    """Image files in a flat or nested folder."""

    unlabeled_dir: str  # the folder

    def read_unlabeled(self, class_names: Sequence[str]) -> tuple[Examples, list[str]]:
        return folders.read_unlabeled(absolute(self.unlabeled_dir), class_names)

    def unlabeled_request(self) -> dict[str, Any]:
        return {"unlabeled_dir": absolute(self.unlabeled_dir)}


@dataclasses.dataclass(frozen=True)
class UnlabeledRecords:
    """TFRecord files."""

    patterns: Sequence[str]  # globs or folders of the files
    label_offset: int | None = None  # see `Records`
    # The labeled `Records` that the images go with; None: other images.
    labeled_dir: str | None = None

    def read_unlabeled(self, class_names: Sequence[str]) -> tuple[Examples, list[str]]:
        patterns = list(map(absolute, self.patterns))
        like = [] if self.labeled_dir is None else [absolute(self.labeled_dir)]
        return records.read_unlabeled(
            patterns, class_names, label_offset=self.label_offset, like=like
        )

    def unlabeled_request(self) -> dict[str, Any]:
        return {"unlabeled_records": list(map(absolute, self.patterns))}


Unlabeled = UnlabeledFolder | UnlabeledRecords | Tfds | Builtin


def absolute(place: str) -> str:
    """Returns an absolute path, so that a request does not depend on the working directory."""
    return os.path.abspath(os.path.expanduser(place))


def _as_unlabeled(examples: Examples, class_names: Sequence[str]) -> Examples:
    """Keeps labels if all classes of `examples` are among `class_names`, else sets them to -1."""
    if set(examples.class_names) <= set(class_names):
        return examples.with_classes(class_names, "")
    labels = np.full(len(examples), UNKNOWN_LABEL, np.int32)
    return dataclasses.replace(examples, labels=labels, class_names=tuple(class_names))
