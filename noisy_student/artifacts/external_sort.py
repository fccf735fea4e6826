"""Sorts more rows than memory holds: into buckets by leading bits of the key, then each bucket."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class Buckets:
    """Rows on disk in buckets of keys, which are read in the order of the keys.

    Bucket b has the keys from b * 2^shift up to (b + 1) * 2^shift. Memory holds one bucket at a
    time, so that it does not grow with the number of rows if the keys are spread evenly.
    """

    def __init__(self, directory: str | Path, dtype: np.dtype, key: str, shift: int):
        """Starts without rows, and removes the files of an interrupted sort.

        Args:
            directory: of this sort alone; created here, and removed by `close`.
            dtype: of the rows; structured, without objects.
            key: the field to sort by, an unsigned integer.
            shift: bits of the key within a bucket, 0..64.
        """
        self._directory, self._dtype = Path(directory), np.dtype(dtype)
        self._key, self._shift = key, shift
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)

    def add(self, rows: np.ndarray) -> None:
        """Adds rows [N] in any order."""
        numbers = self._bucket_of(rows[self._key])
        order = np.argsort(numbers, kind="stable")
        rows, numbers = rows[order], numbers[order]
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, group in zip(starts, np.split(rows, starts[1:]), strict=True):
            with open(self._file(numbers[start]), "ab") as file:
                group.tofile(file)

    def bucket(self, number: int) -> np.ndarray:
        """Returns the rows of one bucket, sorted by key; none if it is empty."""
        file = self._file(number)
        if not file.exists():
            return np.empty(0, self._dtype)
        rows = np.fromfile(file, self._dtype)
        return rows[np.argsort(np.ascontiguousarray(rows[self._key]))]

    def rows(self) -> Iterator[np.ndarray]:
        """Yields all rows sorted by key, a bucket at a time."""
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
