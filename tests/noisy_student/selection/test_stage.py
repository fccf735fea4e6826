"""Selection as a stage: finished predictions in, a finished set out."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from data import record_schema
from noisy_student.artifacts import decision_index, stage, student_set
from noisy_student.artifacts.files import read_json
from noisy_student.selection import write
from tests.helpers import toy_teacher
from tests.helpers.toy_batches import textured
from tests.helpers.toy_predictions import SETTINGS, SIZE, write_predictions


def finish(directory: Path) -> None:
    """Makes predictions the result of a stage."""
    labels = stage.open_stage(directory, {})
    labels.finish(directory.glob("*.parquet"), predictions={"shard": "hash"})


def test_run_is_a_stage(tmp_path, columns, examples):
    settings = dataclasses.replace(SETTINGS, images_per_class="auto", num_shards=1)
    write_predictions(tmp_path / "in", columns, examples)
    with pytest.raises(ValueError, match="not finished"):
        write.run(tmp_path / "in", tmp_path / "out", examples, settings)
    finish(tmp_path / "in")
    report = write.run(tmp_path / "in", tmp_path / "out", examples, settings)
    assert report["num_written"] == report["images_per_class"] * 3
    done = read_json(tmp_path / "out" / "done.json")
    assert len(done["records_hash"]) == 16
    (record_file,) = (tmp_path / "out").glob("*.tfrecord")
    written = record_file.stat().st_mtime_ns
    assert write.run(tmp_path / "in", tmp_path / "out", examples, settings) == report
    assert record_file.stat().st_mtime_ns == written
    other = dataclasses.replace(settings, min_confidence=0.5)
    with pytest.raises(ValueError, match="min_confidence"):
        write.run(tmp_path / "in", tmp_path / "out", examples, other)


def test_a_trial_keeps_all_if_none_is_confident_enough(tmp_path, columns, examples):
    columns["confidence"] = np.minimum(columns["confidence"], 0.5)
    write_predictions(tmp_path / "in", columns, examples)
    finish(tmp_path / "in")
    settings = dataclasses.replace(SETTINGS, images_per_class="none", min_confidence=0.6)
    given = tmp_path / "in", tmp_path / "out", examples, settings
    with pytest.raises(ValueError, match=r"min_confidence = 0.6 .* 0.500"):
        write.run(*given)
    report = write.run(*given, trial=True)
    assert report["num_written"] == SIZE and report["min_confidence"] == 0
    assert write.run(*given) == report  # the trial's result is the stage's


def test_parts_are_selected_by_the_decision_on_all(tmp_path, model_path):
    examples = textured(toy_teacher.COUNT)
    toy_teacher.label(model_path, examples, tmp_path / "labels")
    settings = toy_teacher.selection(images_per_class=5, num_shards=1)
    write.run(tmp_path / "labels", tmp_path / "all", examples, settings)
    parts = []
    for number, rows in enumerate((np.arange(15), np.arange(15, toy_teacher.COUNT))):
        part = examples.take(rows)
        toy_teacher.label(model_path, part, tmp_path / f"labels{number}")
        write.run(
            tmp_path / f"labels{number}",
            tmp_path / f"part{number}",
            part,
            settings,
            tmp_path / "all/decision.json",
        )
        parts.append(tmp_path / f"part{number}")
    together = np.sort(np.concatenate([decision_index.read(p.glob("chosen-*")) for p in parts]))
    expected = decision_index.read((tmp_path / "all").glob("chosen-*"))
    np.testing.assert_array_equal(together, np.sort(expected))
    reports = [read_json(folder / "selection.json") for folder in (*parts, tmp_path / "all")]
    written = [report["num_written"] for report in reports]
    assert written[0] + written[1] == written[2] and min(written) > 0


def test_copies_are_capped(tmp_path, model_path):
    examples = textured(toy_teacher.COUNT)
    toy_teacher.label(model_path, examples, tmp_path / "labels")
    report = {}
    for cap in (None, 2):
        directory = toy_teacher.select(
            tmp_path / "labels", examples, images_per_class=60, max_copies=cap
        )
        report[cap] = json.loads((directory / "selection.json").read_text())
        assert (
            record_schema.count_records(student_set.files_of(directory))
            == report[cap]["num_written"]
        )
    above = np.array(report[2]["per_class"]["above_threshold"])
    assert report[2]["per_class"]["after"] == np.minimum(2 * above, 60).tolist()
    assert set(report[None]["per_class"]["after"]) <= {0, 60}
    assert report[2]["max_copies"] == 2
