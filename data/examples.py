"""An indexable set of images: pixels in memory, or encoded ones on disk, with stable ids."""

import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
import PIL.Image

from data import tfrecord_file

UNKNOWN_LABEL = -1


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Images with ids and labels; exactly one of `images` and `files` is set.

    Attributes:
        ids: str objects [N], unique and stable from run to run, such as "cifar10/train/00017".
        labels: int32 [N], 0..len(class_names) - 1, or -1 where the class is unknown.
        class_names: the name of every class, in the order of the labels.
        images: uint8 [N, H, W, 3], 0..255, or None.
        files: str objects [N], paths of encoded images or of the TFRecord files they lie in, or
            None.
        offsets: int64 [N], goes with `files`: the byte at which the image's record begins, or -1
            where the file is the image itself; None: all are.
    """

    ids: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    images: np.ndarray | None = None
    files: np.ndarray | None = None
    offsets: np.ndarray | None = None

    def __post_init__(self):
        """Refuses columns that do not belong together."""
        if (self.images is None) == (self.files is None):
            raise ValueError("Examples take exactly one of images and files.")
        if self.offsets is not None and self.files is None:
            raise ValueError("Examples take offsets only with files.")
        lengths = {name: len(column) for name, column in self._columns().items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"Columns of Examples differ in length: {lengths}.")
        if self.images is not None and (
            self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[-1] != 3
        ):
            raise ValueError(
                f"images must be uint8 [N, H, W, 3], not {self.images.dtype} {self.images.shape}."
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.ids)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Examples":
        """The examples at `indices` (int [M]), in that order; a run of neighbors is a view."""
        indices = np.asarray(indices, np.int64)
        contiguous = len(indices) > 0 and indices[0] >= 0 and bool(np.all(np.diff(indices) == 1))
        if contiguous and indices[-1] >= len(self):
            raise IndexError(f"index {indices[-1]} is out of range for {len(self)} examples")
        where = slice(indices[0], indices[-1] + 1) if contiguous else indices
        return dataclasses.replace(self, **{k: v[where] for k, v in self._columns().items()})

    def _columns(self) -> dict[str, np.ndarray]:
        """The columns that are there, by name."""
        names = ("ids", "labels", "images", "files", "offsets")
        columns = {name: getattr(self, name) for name in names}
        return {name: column for name, column in columns.items() if column is not None}

    def encoded(self, index: int) -> bytes:
        """The encoded image at `index`: its bytes on disk, or its pixels as PNG (lossless)."""
        if self.offsets is not None and self.offsets[index] >= 0:
            return tfrecord_file.encoded_at(self.files[index], int(self.offsets[index]))
        if self.files is not None:
            return pathlib.Path(self.files[index]).read_bytes()
        buffer = io.BytesIO()
        PIL.Image.fromarray(self.images[index]).save(buffer, format="PNG")
        return buffer.getvalue()

    def num_bytes(self, index: int) -> int:
        """Size of the image at `index` where it is: of its file or record, or of its pixels."""
        if self.offsets is not None and self.offsets[index] >= 0:
            return tfrecord_file.length_at(self.files[index], int(self.offsets[index]))
        if self.files is not None:
            return os.path.getsize(self.files[index])
        return self.images[index].nbytes

    def record_files(self) -> list[str]:
        """The TFRecord files that images lie in, sorted."""
        if self.offsets is None:
            return []
        return sorted(set(self.files[self.offsets >= 0]))

    def fingerprint(self) -> str:
        """A hash (32 hex digits) of the ids and labels in their order."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update("\0".join(self.ids).encode())
        digest.update(np.asarray(self.labels, "<i4").tobytes())
        return digest.hexdigest()


def concatenate(first: Examples, second: Examples) -> Examples:
    """Joins two sets of the same classes; both on disk, or both in arrays of one image size."""
    if (first.files is None) != (second.files is None):
        raise ValueError(
            f"Cannot join images in memory ({_origin(first, second, in_memory=True)}) with image "
            f"files ({_origin(first, second, in_memory=False)}): use one kind of source for both."
        )
    if first.images is not None and first.images.shape[1:] != second.images.shape[1:]:
        raise ValueError(
            f"Cannot join images of {first.images.shape[1:]} ({first.ids[0]}, ...) "
            f"with images of {second.images.shape[1:]} ({second.ids[0]}, ...)."
        )
    if (first.offsets is None) != (second.offsets is None):
        first, second = _with_offsets(first), _with_offsets(second)
    theirs = second._columns()
    joined = {k: np.concatenate([mine, theirs[k]]) for k, mine in first._columns().items()}
    return dataclasses.replace(first, **joined)


def _with_offsets(examples: Examples) -> Examples:
    """The same examples, with offsets in any case."""
    if examples.offsets is not None:
        return examples
    return dataclasses.replace(examples, offsets=np.full(len(examples), -1, np.int64))


def _origin(first: Examples, second: Examples, in_memory: bool) -> str:
    """The first id of whichever set is (not) in memory."""
    return next(str(e.ids[0]) for e in (first, second) if (e.images is not None) == in_memory)
