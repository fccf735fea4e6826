"""Indexable sets of images with stable ids: decoded in memory, or encoded on disk."""

import abc
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import PIL.Image

from data import tfrecord_file

UNKNOWN_LABEL = -1
WHOLE_FILE = -1  # offset of an image that is a file by itself


@dataclasses.dataclass(frozen=True, eq=False)
class Examples(abc.ABC):
    """Images with ids and labels, either `DecodedExamples` or `EncodedExamples`."""

    # str objects [N], unique and stable from run to run, such as "cifar10/train/00017".
    ids: np.ndarray
    labels: np.ndarray  # int32 [N], 0..len(class_names) - 1, or -1 where the class is unknown
    class_names: tuple[str, ...]  # the name of every class, in the order of the labels

    def __post_init__(self) -> None:
        """Refuses columns that do not belong together."""
        lengths = {name: len(column) for name, column in self.columns().items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"Columns of Examples differ in length: {lengths}.")

    @abc.abstractmethod
    def encoded(self, index: int) -> bytes:
        """Returns the image at `index` as the bytes of an image file."""

    @abc.abstractmethod
    def num_bytes(self, index: int) -> int:
        """Returns the stored size of the image at `index` in bytes."""

    def record_files(self) -> list[str]:
        """Returns the TFRecord files that contain the images, sorted."""
        return []

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.ids)

    def columns(self) -> dict[str, Any]:
        """Returns the arrays [N, ...] by field name."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del columns["class_names"]
        return columns

    def take(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Returns the examples at `indices` (int [M]), in that order; contiguous ones as a view."""
        indices = np.asarray(indices, np.int64)
        contiguous = len(indices) > 0 and indices[0] >= 0 and bool(np.all(np.diff(indices) == 1))
        if contiguous and indices[-1] >= len(self):
            raise IndexError(f"index {indices[-1]} is out of range for {len(self)} examples")
        where = slice(indices[0], indices[-1] + 1) if contiguous else indices
        taken = {name: column[where] for name, column in self.columns().items()}
        return dataclasses.replace(self, **taken)

    def with_classes(self, class_names: Sequence[str], dataset: str) -> Self:
        """Expresses the labels as indices into other class names, matched by name.

        Args:
            class_names: the other classes.
            dataset: name of this set, for the error message.

        Raises:
            ValueError: names a class of this set that is not among `class_names`.
        """
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            raise ValueError(
                f"{dataset} has an unknown class {unknown[0]!r}. Valid: {', '.join(class_names)}."
            )
        index = {name: label for label, name in enumerate(class_names)}
        # An unknown label, -1, takes the last entry.
        table = np.array([*(index[name] for name in self.class_names), UNKNOWN_LABEL], np.int32)
        return dataclasses.replace(self, labels=table[self.labels], class_names=tuple(class_names))

    def fingerprint(self) -> str:
        """Returns a hash (32 hex digits) of the ids and labels in their order."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update("\0".join(self.ids).encode())
        digest.update(np.asarray(self.labels, "<i4").tobytes())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedExamples(Examples):
    """Images of one size in memory."""

    images: np.ndarray  # uint8 [N, H, W, 3], 0..255

    def __post_init__(self) -> None:
        """Refuses columns that do not belong together, and other kinds of images."""
        super().__post_init__()
        kind = (self.images.dtype, self.images.ndim, self.images.shape[-1])
        if kind != (np.uint8, 4, 3):
            raise ValueError(
                f"images must be uint8 [N, H, W, 3], not {self.images.dtype} {self.images.shape}."
            )

    def encoded(self, index: int) -> bytes:
        """Returns the image at `index` as a PNG file, which is lossless."""
        buffer = io.BytesIO()
        PIL.Image.fromarray(self.images[index]).save(buffer, format="PNG")
        return buffer.getvalue()

    def num_bytes(self, index: int) -> int:
        """Returns the size of the pixels of the image at `index`, in bytes."""
        return self.images[index].nbytes


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedExamples(Examples):
    """Images on disk, in files of their own or in TFRecord files."""

    files: np.ndarray  # str objects [N], paths of image files or TFRecord files
    # int64 [N], the byte at which the image's record begins, or WHOLE_FILE where the file is the
    # image itself.
    offsets: np.ndarray

    def encoded(self, index: int) -> bytes:
        """Returns the stored bytes of the image at `index`."""
        if self.offsets[index] == WHOLE_FILE:
            return pathlib.Path(self.files[index]).read_bytes()
        return tfrecord_file.encoded_at(self.files[index], int(self.offsets[index]))

    def num_bytes(self, index: int) -> int:
        """Returns the size of the file or record of the image at `index`, in bytes."""
        if self.offsets[index] == WHOLE_FILE:
            return os.path.getsize(self.files[index])
        return tfrecord_file.length_at(self.files[index], int(self.offsets[index]))

    def place(self, index: int) -> str:
        """Returns the file of the image at `index`, and the byte of its record, for messages."""
        path, offset = self.files[index], int(self.offsets[index])
        return path if offset == WHOLE_FILE else f"{path}, record at byte {offset}"

    def record_files(self) -> list[str]:
        """Returns the TFRecord files that contain the images, sorted."""
        return sorted(set(self.files[self.offsets != WHOLE_FILE]))


def concatenate(first: Examples, second: Examples) -> Examples:
    """Joins two sets with the same classes: both on disk, or both in memory with one image size.

    Raises:
        ValueError: names the sets that cannot be joined.
    """
    if type(first) is not type(second):
        decoded, encoded = (
            (first, second) if isinstance(first, DecodedExamples) else (second, first)
        )
        raise ValueError(
            f"Cannot join images in memory ({decoded.ids[0]}) with image files "
            f"({encoded.ids[0]}): use one kind of source for both."
        )
    pairs = {name: (mine, second.columns()[name]) for name, mine in first.columns().items()}
    for mine, theirs in pairs.values():
        if mine.shape[1:] != theirs.shape[1:]:
            raise ValueError(
                f"Cannot join images of {mine.shape[1:]} ({first.ids[0]}, ...) with images of "
                f"{theirs.shape[1:]} ({second.ids[0]}, ...)."
            )
    joined: dict[str, Any] = {name: np.concatenate(pair) for name, pair in pairs.items()}
    return dataclasses.replace(first, **joined)
