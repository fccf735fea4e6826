"""The index of a selection: which images are selected, and how often, sorted by id hash.

NumPy files `chosen-00000-of-00032.npy` of rows `DTYPE`, one per selected image: its `id_hash`, its
pseudo `label` and the number of its `copies`, at least 1. File b of 2^k has the ids whose first k
bits are b. The bytes depend only on the set of records, not on their order, their shards or the
program that selected them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from noisy_student.artifacts import external_sort
from noisy_student.artifacts.decision import Decision
from noisy_student.artifacts.files import atomic_write

DTYPE = np.dtype([("id_hash", "<u8"), ("label", "<i4"), ("copies", "<i4")])
ROWS_PER_FILE = 2**22  # about; sorted in memory: 64 MiB


class Writer:
    """Collects the selected records in any order, and writes them sorted."""

    def __init__(self, directory: str | Path, decision: Decision):
        """Starts without rows; `directory` receives the files, and temporary ones."""
        self._directory = Path(directory)
        self.bits = file_bits(decision)
        temporary = self._directory / ".chosen"
        self._buckets = external_sort.Buckets(temporary, DTYPE, "id_hash", 64 - self.bits)

    def add(self, ids: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> None:
        """Adds records, see `selected_rows`."""
        self._buckets.add(selected_rows(ids, labels, copies))

    def close(self) -> list[Path]:
        """Writes the files and returns their paths."""
        written = [
            write(self._directory, number, self.bits, self._buckets.bucket(number))
            for number in range(2**self.bits)
        ]
        self._buckets.close()
        return written


def selected_rows(ids: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Returns rows `DTYPE` [n] of the records with at least one copy.

    Takes ids uint64 [N], labels and copies int [N].
    """
    taken = np.flatnonzero(copies)
    rows = np.empty(len(taken), DTYPE)
    rows["id_hash"], rows["label"], rows["copies"] = ids[taken], labels[taken], copies[taken]
    return rows


def file_bits(decision: Decision) -> int:
    """Returns k, where 2^k is the number of files."""
    return max(0, (int(decision.distinct.sum()) - 1) // ROWS_PER_FILE).bit_length()


def file_of(ids: np.ndarray, bits: int) -> np.ndarray:
    """Returns the number of the file, of 2^bits, of each id: uint64 [N] -> int64 [N]."""
    return (ids >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(ids), np.int64)


def write(directory: str | Path, number: int, bits: int, rows: np.ndarray) -> Path:
    """Writes file `number` of 2^bits from sorted rows `DTYPE` [N]."""
    path = Path(directory) / f"chosen-{number:05d}-of-{2**bits:05d}.npy"
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.save(file, rows)
    return path


def read(files: Iterable[str | Path]) -> np.ndarray:
    """Returns all rows of the files: `DTYPE` [N]."""
    return np.concatenate([np.load(file) for file in sorted(files)])
