"""Selection at scale: time and memory from simulated predictions to the written decision.

Shards of label, confidence and id hash as pseudo-labeling writes them, without distributions:
classes of very different sizes, confidences of which many are equal. Their decision (threshold 0.3,
130 000 per class at 300 million records, in proportion below) is found and written as an index by a
process of its own, whose peak memory is measured.

    python -m benchmarks.selection --records=3000000,30000000

300 million records take 4.2 GB on the disk, their index and its sorting 4 GB more.
"""

import functools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import app, flags

from benchmarks import memory
from noisy_student.artifacts import decision_index, predictions
from noisy_student.selection import radix, rule

_RECORDS = flags.DEFINE_list("records", ["3000000", "30000000"], "Numbers of records.")
_CLASSES = flags.DEFINE_integer("classes", 1000, "Classes.", lower_bound=1)
_FOLDER = flags.DEFINE_string("folder", None, "Where to write; unset: a temporary folder.")
_DECIDE = flags.DEFINE_string("decide", None, "Used by the script itself: FOLDER,TARGET.")

_ROWS_PER_SHARD = 1_000_000
_PER_CLASS = 130_000 / 300_000_000  # paper, section 3.1: of the records
_MIN_CONFIDENCE = 0.3


def _write_shards(folder: pathlib.Path, num_records: int) -> None:
    """Simulated predictions."""
    folder.mkdir(parents=True)
    weights = np.random.default_rng(0).lognormal(0, 1, _CLASSES.value)
    edges = np.cumsum(weights / weights.sum())
    num_shards = -(-num_records // _ROWS_PER_SHARD)
    for shard in range(num_shards):
        rng = np.random.default_rng([1, shard])
        start = shard * _ROWS_PER_SHARD
        count = min(_ROWS_PER_SHARD, num_records - start)
        labels = np.searchsorted(edges[:-1], rng.random(count, np.float32)).astype(np.int32)
        confidences = 1 - rng.random(count, np.float32) ** 3
        rounded = rng.random(count, np.float32) < 0.3
        confidences = np.where(rounded, confidences.round(2), confidences).astype(np.float32)
        numbers = np.arange(start, start + count, dtype=np.uint64)
        table = pa.table({"label": labels, "confidence": confidences, "id_hash": _mixed(numbers)})
        pq.write_table(table, predictions.shard_path(folder, shard, num_shards))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Different numbers as different hashes: the finalizer of SplitMix64 (Steele et al. 2014)."""
    numbers = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)


def _decide(folder: pathlib.Path, target: int) -> None:
    """Prints seconds, images and peak memory of one decision and its index, as JSON."""
    start = time.perf_counter()
    files = predictions.shard_files(folder)
    decision = radix.decide(
        functools.partial(predictions.decision_columns, files, _CLASSES.value),
        _CLASSES.value,
        _MIN_CONFIDENCE,
        target,
    )
    decided = time.perf_counter()
    writer = decision_index.Writer(folder / "index", decision)
    for labels, confidences, ids in predictions.decision_columns(files, _CLASSES.value):
        writer.add(ids, labels, rule.copies_for(labels, confidences, ids, decision))
    writer.close()
    found = {
        "decide": decided - start,
        "index": time.perf_counter() - decided,
        "distinct": int(decision.distinct.sum()),
        "images": int(decision.after.sum()),
        "peak_mib": memory.peak_mib(),
    }
    print(json.dumps(found))


def main(_: list[str]) -> None:
    """Prints a line for each number of records."""
    if _DECIDE.value:
        folder, target = _DECIDE.value.rsplit(",", 1)
        _decide(pathlib.Path(folder), int(target))
        return
    print("records | per class | distinct | images | decide s | index s | all s | peak MiB")
    for num_records in map(int, _RECORDS.value):
        folder = pathlib.Path(tempfile.mkdtemp(dir=_FOLDER.value)) / "predictions"
        _write_shards(folder, num_records)
        target = max(1, round(_PER_CLASS * num_records))
        command = [sys.executable, "-m", "benchmarks.selection", f"--classes={_CLASSES.value}"]
        command.append(f"--decide={folder},{target}")
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        shutil.rmtree(folder.parent)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{num_records:,} | {target:,} | {found['distinct']:,} | {found['images']:,} | "
            f"{found['decide']:.1f} | {found['index']:.1f} | "
            f"{found['decide'] + found['index']:.1f} | {found['peak_mib']:,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
