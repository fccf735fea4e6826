"""A selected set that a new teacher labels again."""

from pathlib import Path

import numpy as np
import pytest

from data import tfrecord_file
from noisy_student import pseudo_label
from noisy_student.artifacts import model_file, student_set
from noisy_student.artifacts.stage import read_done
from noisy_student.selection import write
from tests.helpers.marks import slow_param
from tests.helpers.toy_batches import assert_equal, textured
from tests.helpers.toy_teacher import (
    COUNT,
    SPEC,
    label,
    save_model,
    selection,
    teacher,
    training_batches,
)


@pytest.mark.parametrize(
    ("source", "form"),
    [
        ("memory", {}),
        slow_param("memory", {"published_names": True}),
        slow_param("records", {"index_only": True}),
    ],
    indirect=["source"],
    ids=["records", "published names", "index"],
)
def test_a_better_teacher_labels_the_same_set_again(tmp_path, model_path, source, form):
    label(model_path, source, tmp_path / "labels")
    settings = selection(**form)
    write.run(tmp_path / "labels", tmp_path / "old", source, settings)
    better = save_model(tmp_path / "better.keras", seed=7)

    def again(model, output):
        return pseudo_label.reassign(teacher(model), tmp_path / "old", source, tmp_path / output)

    again(model_path, "same")
    report = again(better, "new")
    assert again(better, "new") == report
    old, same, new = (student_set.files_of(tmp_path / name) for name in ("old", "same", "new"))
    assert [Path(file).name for file in new] == [Path(file).name for file in old]
    if "index_only" not in form:
        assert [recordfile_bytes(f) for f in same] == [recordfile_bytes(f) for f in old]
    before, same, after = (
        training_batches(tmp_path / name, source, SPEC) for name in ("old", "same", "new")
    )
    assert_equal(before, same)
    assert_equal(*([{"x": b["unlabeled_images"]} for b in found] for found in (before, after)))
    before, after = student_set.read_set(old, source), student_set.read_set(new, source)
    np.testing.assert_array_equal(before.positions, after.positions)
    logits = model_file.load_model(better)[0](textured(COUNT).images.astype(np.float32))
    np.testing.assert_array_equal(after.labels, np.argmax(logits, axis=1)[after.images])
    changed = int((before.labels != after.labels).sum())
    assert report["reassigned"] == {"images": len(after.images), "changed": changed}
    assert 0 < changed < len(after.images)
    assert report["num_written"] == before.copies.sum()
    assert report["per_class"]["after"] == np.bincount(after.labels, after.copies, 5).tolist()
    assert (
        read_done(tmp_path / "new")["records_hash"] != read_done(tmp_path / "old")["records_hash"]
    )


def recordfile_bytes(path):
    tfrecord_file.verify([path])
    with open(path, "rb") as file:
        return file.read()
