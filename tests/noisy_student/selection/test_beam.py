"""The pipeline on Apache Beam writes the bytes that NumPy writes.

Where Beam is not installed beside TensorFlow, NOISY_STUDENT_BEAM_PYTHON names the Python of an
environment made from requirements-beam.txt; without either the tests are skipped.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from noisy_student.artifacts import decision_index, predictions
from noisy_student.artifacts.files import read_json
from noisy_student.selection import radix, rule

ROOT = Path(__file__).resolve().parents[3]
PYTHON = os.environ.get("NOISY_STUDENT_BEAM_PYTHON") or (
    sys.executable if importlib.util.find_spec("apache_beam") else None
)
pytestmark = pytest.mark.skipif(PYTHON is None, reason="Apache Beam is not installed")


def write_shards(folder, columns, num_classes, order, num_shards):
    labels, confidences, ids = columns
    names = [str(i) for i in range(num_classes)]
    card = {"class_names": names, "model": "m", "examples": "toy"}
    for shard, rows in enumerate(np.array_split(order, num_shards)):
        count = len(rows)
        part = {
            "id": np.array([str(i) for i in ids[rows]], object),
            "id_hash": ids[rows],
            "index": rows,
            "source_shard": np.full(count, "", object),
            "label": labels[rows],
            "confidence": confidences[rows],
            "true_label": np.full(count, -1, np.int32),
            "probabilities": np.ones((count, num_classes), np.float16),
        }
        predictions.write(predictions.shard_path(folder, shard, num_shards), card, [part])


def run_beam(folder, output, *flags):
    command = [PYTHON, "-m", "noisy_student.selection.beam", f"--predictions_dir={folder}"]
    command += [f"--output_dir={output}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return {file.name: file.read_bytes() for file in output.iterdir()}


@pytest.mark.parametrize(
    ("images_per_class", "max_copies"), [("400", None), ("auto", 3), ("none", None)]
)
def test_beam_writes_the_same_bytes(tmp_path, images_per_class, max_copies):
    rng = np.random.default_rng(0)
    labels = np.minimum(rng.geometric(0.3, 6000) - 1, 7).astype(np.int32)
    confidences = rng.random(6000).round(2).astype(np.float32)
    columns = labels, confidences, rng.integers(0, 2**64, 6000, np.uint64)
    target = int(images_per_class) if images_per_class.isdigit() else images_per_class
    write_shards(tmp_path / "a", columns, 9, np.arange(6000), 2)
    files = predictions.shard_files(tmp_path / "a")
    decision = radix.decide(
        lambda with_ids: predictions.decision_columns(files, 9, with_ids),
        9,
        0.3,
        target,
        max_copies,
    )
    writer = decision_index.Writer(tmp_path / "numpy", decision)
    for part in predictions.decision_columns(files, 9):
        writer.add(part[2], part[0], rule.copies_for(*part, decision))
    expected = {file.name: file.read_bytes() for file in writer.close()}
    flags = ["--min_confidence=0.3", f"--images_per_class={images_per_class}"]
    flags += [f"--max_copies={max_copies}"] if max_copies else []
    first, second = np.split(rng.permutation(6000), [1500])
    write_shards(tmp_path / "b1", columns, 9, first, 2)
    write_shards(tmp_path / "b2", columns, 9, second, 3)
    found = run_beam(tmp_path / "b?", tmp_path / "beam", *flags)
    found.pop("decision.json")
    stored = rule.Decision.from_dict(read_json(tmp_path / "beam" / "decision.json", dict))
    assert found == expected
    np.testing.assert_array_equal(stored.cut_id, decision.cut_id)
