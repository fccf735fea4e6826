"""Sorting more rows than memory holds: into buckets by leading bits of the key, then each one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class Buckets:
    """Rows on disk, apart by ranges of a key, and given back in its order.

    Bucket b has the keys from b * 2^shift up to (b + 1) * 2^shift. One bucket at a time is read, so
    that memory does not grow with the rows as long as the keys are spread evenly.
    """

    def __init__(self, directory: str | Path, dtype: np.dtype, key: str, shift: int):
        """Starts without rows, and without what an interrupted sort may have left.

        Args:
            directory: of this sort alone; made anew, and removed by `close`.
            dtype: of the rows, structured, without objects.
            key: the field to sort by, an integer from 0.
            shift: as above, 0..64.
        """
        self._directory, self._dtype = Path(directory), np.dtype(dtype)
        self._key, self._shift = key, shift
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)

    def add(self, rows: np.ndarray) -> None:
        """Adds rows of the dtype given, [N], in any order."""
        numbers = self._bucket_of(rows[self._key])
        order = np.argsort(numbers, kind="stable")
        rows, numbers = rows[order], numbers[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, part in zip(starts, np.split(rows, starts[1:]), strict=True):
            with open(self._file(numbers[start]), "ab") as file:
                part.tofile(file)

    def bucket(self, number: int) -> np.ndarray:
        """The rows of one bucket in the order of their keys; it may be empty."""
        file = self._file(number)
        if not file.exists():
            return np.empty(0, self._dtype)
        rows = np.fromfile(file, self._dtype)
        return rows[np.argsort(np.ascontiguousarray(rows[self._key]))]

    def rows(self) -> Iterator[np.ndarray]:
        """All rows in the order of their keys, a bucket at a time."""
        for file in sorted(self._directory.iterdir()):
            yield self.bucket(int(file.name))

    def close(self) -> None:
        """Removes the files."""
        shutil.rmtree(self._directory)

    def _bucket_of(self, keys: np.ndarray) -> np.ndarray:
        if self._shift >= 64:
            return np.zeros(len(keys), np.int16)
        return (keys >> keys.dtype.type(self._shift)).astype(np.int16)

    def _file(self, number: int) -> Path:
        return self._directory / f"{number:05d}"
