"""Readers of ImageNet-C and CIFAR-10-C; see `data.robustness_sets` for the layouts."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from data.corruptions import CORRUPTIONS, SEVERITIES, TEST_CORRUPTIONS
from data.examples import DecodedExamples, Examples
from data.robustness_sets import layout
from data.sources import folders

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Pairs (corruption, severity) in the order of the benchmark.
SETTINGS = tuple((name, severity) for name in CORRUPTIONS for severity in SEVERITIES)


@dataclasses.dataclass(frozen=True, eq=False)
class CorruptedImages:
    """Corrupted versions of one set of images."""

    # Available (corruption, severity 1..5) in the benchmark's order.
    settings: tuple[tuple[str, int], ...]
    unknown: tuple[str, ...]  # paths that belong to no corruption or severity
    _read: Callable[[str, int, Sequence[str]], Examples]
    _count: Callable[[str, int], int]

    @property
    def missing(self) -> tuple[tuple[str, int], ...]:
        """Settings of the 15 test corruptions that are not available."""
        tested = [setting for setting in SETTINGS if setting[0] in TEST_CORRUPTIONS]
        return tuple(setting for setting in tested if setting not in self.settings)

    def count(self, corruption: str, severity: int) -> int:
        """Counts the images of one setting without opening them.

        The number grows while a folder is being filled.

        Raises:
            ValueError: the setting is not available.
        """
        self._require(corruption, severity)
        return self._count(corruption, severity)

    def examples(self, corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        """Reads the images of one setting.

        Args:
            corruption: name of the corruption.
            severity: 1..5.
            class_names: the model's classes. Folders, or the classes of CIFAR-10, are matched to
                them by name; classes without images are allowed.

        Returns:
            Examples of files, or of images in a memory-mapped file.

        Raises:
            ValueError: the setting is not available, or a class or file is invalid.
        """
        self._require(corruption, severity)
        return self._read(corruption, severity, class_names)

    def _require(self, corruption: str, severity: int) -> None:
        if (corruption, severity) not in self.settings:
            available = ", ".join(f"{name} {level}" for name, level in self.settings)
            raise ValueError(
                f"{corruption!r} of severity {severity} is not available; available: {available}."
            )


def imagenet_c(root: str) -> CorruptedImages:
    """Opens a folder with ImageNet-C or a set of the same layout.

    Raises:
        ValueError: the folder does not exist, holds no corruption, or holds one twice.
    """
    found, unknown = layout.grouped_folders(root, CORRUPTIONS)
    paths = {}
    for corruption, folder in found.items():
        for entry in layout.visible(folder):
            if entry.is_dir() and entry.name in map(str, SEVERITIES):
                if any(layout.visible(entry)):
                    paths[corruption, int(entry.name)] = str(entry)
            else:
                unknown.append(str(entry))
    if not paths:
        raise ValueError(f"{root} has no images; expected {root}/CORRUPTION/SEVERITY/WNID/.")

    def read(corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        prefix = f"imagenet_c/{corruption}/{severity}"
        return folders.read_labeled(paths[corruption, severity], class_names, prefix=prefix)

    return CorruptedImages(
        settings=tuple(setting for setting in SETTINGS if setting in paths),
        unknown=tuple(unknown),
        _read=read,
        _count=lambda corruption, severity: folders.count_files(paths[corruption, severity]),
    )


def cifar10_c(root: str) -> CorruptedImages:
    """Opens a folder with CIFAR-10-C or arrays of the same layout.

    Raises:
        ValueError: the folder does not exist, has no array of a corruption or no labels.npy, or
            the labels of the five severities differ.
    """
    found, unknown = layout.arrays(root, CORRUPTIONS)
    labels = _cifar10_labels(root)
    count = len(labels)

    def read(corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        images = layout.open_array(found[corruption], 4, "images [5 N, H, W, 3]")
        expected = count * len(SEVERITIES)
        if images.dtype != np.uint8 or images.shape[-1] != 3 or len(images) != expected:
            raise ValueError(
                f"{found[corruption]} must hold uint8 [{expected}, H, W, 3], one image per label, "
                f"got {images.dtype} {list(images.shape)}."
            )
        start = SEVERITIES.index(severity) * count
        prefix = f"cifar10_c/{corruption}/{severity}"
        examples = DecodedExamples(
            ids=np.array([f"{prefix}/{position:05d}" for position in range(count)], object),
            labels=labels,
            class_names=CIFAR10_CLASSES,
            images=images[start : start + count],
        )
        return examples.with_classes(class_names, "CIFAR-10-C")

    return CorruptedImages(
        settings=tuple(setting for setting in SETTINGS if setting[0] in found),
        unknown=tuple(unknown),
        _read=read,
        _count=lambda corruption, severity: count,
    )


def _cifar10_labels(root: str) -> np.ndarray:
    """Reads labels.npy, checks that the severities agree, and returns int32 [N] of one of them."""
    path = layout.existing(root) / layout.LABELS
    if not path.is_file():
        raise ValueError(f"{path} is missing; it holds the classes of the images.")
    labels = layout.open_array(path, 1, "labels [5 N]")
    if labels.dtype.kind not in "iu" or not len(labels) or len(labels) % len(SEVERITIES):
        raise ValueError(f"{path} must hold integers [5 N], got {labels.dtype} {labels.shape}.")
    blocks = labels.reshape(len(SEVERITIES), -1)
    if (blocks != blocks[0]).any() or not 0 <= labels.min() <= labels.max() < len(CIFAR10_CLASSES):
        raise ValueError(f"{path} must hold the same classes 0..9 for each of five severities.")
    return blocks[0].astype(np.int32)
