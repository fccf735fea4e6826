"""Which images a selection takes, and how often: the decision as an index, sorted by id hash.

Parquet files `chosen-00000-of-00032.parquet` with the columns `id_hash` (uint64), `label` (int32)
and `copies` (int32, at least 1), one row for each image that is taken. File b of 2^k has the ids
that begin with the k bits b. So the bytes are a function of the set of records alone, whatever
order or shards they were read in and by which program.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisy_student import balance, external_sort, manifest

DTYPE = np.dtype([("id_hash", "<u8"), ("label", "<i4"), ("copies", "<i4")])
_ROWS_PER_FILE = 2**22  # about, and sorted at once: 64 MiB
_SCHEMA = pa.schema([("id_hash", pa.uint64()), ("label", pa.int32()), ("copies", pa.int32())])


class Writer:
    """Collects the rows of a decision in any order, and writes them sorted."""

    def __init__(self, directory: str | Path, decision: balance.Decision):
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
        taken = np.flatnonzero(copies)
        rows = np.empty(len(taken), DTYPE)
        rows["id_hash"], rows["label"], rows["copies"] = ids[taken], labels[taken], copies[taken]
        self._buckets.add(rows)

    def close(self) -> list[Path]:
        """Writes the files, and returns them."""
        written = [
            write(self._directory, number, self.bits, self._buckets.bucket(number))
            for number in range(2**self.bits)
        ]
        self._buckets.close()
        return written


def file_bits(decision: balance.Decision) -> int:
    """k, of which there are 2^k files."""
    return max(0, (int(decision.distinct.sum()) - 1) // _ROWS_PER_FILE).bit_length()


def write(directory: str | Path, number: int, bits: int, rows: np.ndarray) -> Path:
    """Writes file `number` of 2^bits, of sorted rows `DTYPE` [N]."""
    path = Path(directory) / f"chosen-{number:05d}-of-{2**bits:05d}.parquet"
    table = pa.table([rows[name] for name in DTYPE.names], schema=_SCHEMA)
    with manifest.appearing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=["label", "copies"])
    return path


def read(files: Iterable[str | Path]) -> np.ndarray:
    """All rows of the files, as `DTYPE` [N]."""
    tables = [pq.read_table(file) for file in sorted(files)]
    rows = np.empty(sum(table.num_rows for table in tables), DTYPE)
    for name in DTYPE.names:
        rows[name] = np.concatenate([table.column(name).to_numpy() for table in tables])
    return rows
