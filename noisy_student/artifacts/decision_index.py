"""Which images a selection takes, and how often: the decision as an index, sorted by id hash.

NumPy files `chosen-00000-of-00032.npy` of rows `DTYPE`, one for each image that is taken: its
`id_hash`, its pseudo `label` and how many `copies`, at least 1. File b of 2^k has the ids that
begin with the k bits b. So the bytes are a function of the set of records alone, whatever order or
shards they were read in, and by which program.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from noisy_student.artifacts import external_sort
from noisy_student.artifacts.decision import Decision
from noisy_student.artifacts.files import atomic_write

DTYPE = np.dtype([("id_hash", "<u8"), ("label", "<i4"), ("copies", "<i4")])
_ROWS_PER_FILE = 2**22  # about, and sorted at once: 64 MiB


class Writer:
    """Collects the rows of a decision in any order, and writes them sorted."""

    def __init__(self, directory: str | Path, decision: Decision):
        """Starts without rows.

        Args:
            directory: receives the files.
            decision: from which the number of rows follows.
        """
        self._directory = Path(directory)
        self.bits = file_bits(decision)
        temporary = self._directory / ".chosen"
        self._buckets = external_sort.Buckets(temporary, DTYPE, "id_hash", 64 - self.bits)

    def add(self, ids: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> None:
        """Adds records, of which those with 0 copies are left out."""
        self._buckets.add(rows_of(ids, labels, copies))

    def close(self) -> list[Path]:
        """Writes the files, and returns them."""
        written = [
            write(self._directory, number, self.bits, self._buckets.bucket(number))
            for number in range(2**self.bits)
        ]
        self._buckets.close()
        return written


def rows_of(ids: np.ndarray, labels: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Rows `DTYPE` of the records that have copies."""
    taken = np.flatnonzero(copies)
    rows = np.empty(len(taken), DTYPE)
    rows["id_hash"], rows["label"], rows["copies"] = ids[taken], labels[taken], copies[taken]
    return rows


def file_bits(decision: Decision) -> int:
    """k, of which there are 2^k files."""
    return max(0, (int(decision.distinct.sum()) - 1) // _ROWS_PER_FILE).bit_length()


def file_of(ids: np.ndarray, bits: int) -> np.ndarray:
    """Numbers of the files, of 2^bits, that ids uint64 [N] belong to: int [N]."""
    return (ids >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(ids), np.int64)


def write(directory: str | Path, number: int, bits: int, rows: np.ndarray) -> Path:
    """Writes file `number` of 2^bits, of sorted rows `DTYPE` [N]."""
    path = Path(directory) / f"chosen-{number:05d}-of-{2**bits:05d}.npy"
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.save(file, rows)
    return path


def read(files: Iterable[str | Path]) -> np.ndarray:
    """All rows of the files, as `DTYPE` [N]."""
    return np.concatenate([np.load(file) for file in sorted(files)])
