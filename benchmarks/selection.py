"""Selection at scale: time and memory from simulated predictions to the written decision.

Simulates shards of label, confidence and id hash as pseudo-labeling writes them, without
probabilities. Classes differ widely in size, and many confidences are equal. A process of its own
decides (threshold 0.3; 130 000 images per class for 300 million records, else in proportion) and
writes the index, and its peak memory is measured.

    python -m benchmarks.selection --records=3000000,30000000

300 million records take 4.2 GB on disk, and their index and its sorting 4 GB more.
"""

import functools
import json
import pathlib
import shutil
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import harness
from noisy_student.artifacts import decision_index, predictions
from noisy_student.selection import radix, rule

_ROWS_PER_SHARD = 1_000_000
_PER_CLASS = 130_000 / 300_000_000  # images per record (Xie et al., arXiv v4, 3.1)
_MIN_CONFIDENCE = 0.3


def _write_shards(folder: pathlib.Path, num_records: int, num_classes: int) -> None:
    """Writes simulated predictions."""
    folder.mkdir(parents=True)
    weights = np.random.default_rng(0).lognormal(0, 1, num_classes)
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
    """Hashes numbers without collisions: the finalizer of SplitMix64 (Steele et al., 2014)."""
    numbers = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)


def _decide(folder: pathlib.Path, target: int, num_classes: int) -> None:
    """Decides, writes the index, and prints seconds, images and peak memory as JSON."""
    start = time.perf_counter()
    files = predictions.shard_files(folder)
    decision = radix.decide(
        functools.partial(predictions.decision_columns, files, num_classes),
        num_classes,
        _MIN_CONFIDENCE,
        target,
    )
    decided = time.perf_counter()
    writer = decision_index.Writer(folder / "index", decision)
    for labels, confidences, ids in predictions.decision_columns(files, num_classes):
        writer.add(ids, labels, rule.copies_for(labels, confidences, ids, decision))
    writer.close()
    found = {
        "decide": decided - start,
        "index": time.perf_counter() - decided,
        "distinct": int(decision.distinct.sum()),
        "images": int(decision.after.sum()),
        "peak_mib": harness.peak_mib(),
    }
    print(json.dumps(found))


def main() -> None:
    """Prints a line per number of records."""
    options = harness.parser(
        __doc__,
        records=([3_000_000, 30_000_000], "Numbers of records."),
        classes=(1000, "Number of classes."),
        folder=(None, "Folder to write to; unset: a temporary one."),
        decide=(None, "Internal: FOLDER,TARGET that a child process decides."),
    ).parse_args()
    if options.decide:
        predictions_folder, target = options.decide.rsplit(",", 1)
        _decide(pathlib.Path(predictions_folder), int(target), options.classes)
        return
    print("records | per class | distinct | images | decide s | index s | all s | peak MiB")
    for num_records in options.records:
        folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder)) / "predictions"
        _write_shards(folder, num_records, options.classes)
        target = max(1, round(_PER_CLASS * num_records))
        decide = f"{folder},{target}"
        found = harness.run_child("benchmarks.selection", classes=options.classes, decide=decide)
        shutil.rmtree(folder.parent)
        print(
            f"{num_records:,} | {target:,} | {found['distinct']:,} | {found['images']:,} | "
            f"{found['decide']:.1f} | {found['index']:.1f} | "
            f"{found['decide'] + found['index']:.1f} | {found['peak_mib']:,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
