"""Numbers of classes in TFRecord files, from 1 as published or from 0."""

import pytest

from data import sources
from data.sources import record_index, records
from tests.helpers.toy_records import CLASSES, imagenet, write


def numbered(folder, numbers):
    """Records without names of classes; each image differs from those of other folders."""
    start = sum(map(ord, folder.name)) % 200
    serialized = [
        imagenet(start + i, False, class__text=None, class__label=n) for i, n in enumerate(numbers)
    ]
    return write(folder / "a.tfrecord", serialized)


def test_labels_from_0_are_detected_and_said(tmp_path, caplog):
    path = numbered(tmp_path / "train", [0, 1, 2, 0, 1])
    examples = records.read_labeled([path])
    assert examples.labels.tolist() == [0, 1, 2, 0, 1] and examples.class_names == ("0", "1", "2")
    assert f"{path}, record at byte 0 has 0" in caplog.text
    caplog.clear()
    examples = records.read_labeled([numbered(tmp_path / "other", [1, 2, 3])])
    assert examples.labels.tolist() == [0, 1, 2] and not caplog.text


def test_label_offset_decides(tmp_path):
    path = numbered(tmp_path / "train", [1, 2, 1])
    assert records.read_labeled([path], CLASSES, label_offset=0).labels.tolist() == [1, 2, 1]
    assert records.read_labeled([path], CLASSES, label_offset=1).labels.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="No records of class 0"):
        records.read_labeled([path], label_offset=0)
    path = numbered(tmp_path / "zero", [1, 0])
    with pytest.raises(ValueError, match="zero/a.tfrecord, record at .*label is 0: give label_off"):
        records.read_labeled([path], label_offset=1)


def test_a_test_set_without_0_counts_like_the_labeled_set(tmp_path):
    labeled = numbered(tmp_path / "train", [0, 1, 2] * 4)
    test = numbered(tmp_path / "test", [1, 2, 1])
    more = numbered(tmp_path / "more", [2, 2, 1])
    draw = sources.from_options(
        {
            "dataset": "records",
            "labeled_dir": labeled,
            "test_dir": test,
            "unlabeled_records": [more],
            "num_validation": 0,
        }
    )
    splits = sources.load_splits(*draw)
    assert splits.test.labels.tolist() == [1, 2, 1]
    assert splits.unlabeled.labels.tolist() == [2, 2, 1]


def test_a_0_that_stands_for_no_label_is_none(tmp_path):
    labeled = numbered(tmp_path / "train", [0, 1, 2])
    path = numbered(tmp_path / "more", [0, 0])
    for like in ([], [labeled]):
        assert records.read_unlabeled([path], CLASSES, like=like)[0].labels.tolist() == [-1, -1]
    mixed = numbered(tmp_path / "mixed", [0, 2])
    assert records.read_unlabeled([mixed], CLASSES)[0].labels.tolist() == [-1, -1]
    found = records.read_unlabeled([mixed], CLASSES, label_offset=0)[0]
    assert found.labels.tolist() == [0, 2]


def test_the_labeled_set_is_indexed_once_for_all_that_go_with_it(tmp_path, monkeypatch):
    labeled = numbered(tmp_path / "train", [1, 2, 3])
    indexed = []
    index = record_index.index
    monkeypatch.setattr(
        record_index, "index", lambda path, skim: indexed.append(path) or index(path, skim)
    )
    records.read_labeled([labeled])
    for name in ("test", "more"):
        records.read_labeled([numbered(tmp_path / name, [1, 2])], CLASSES, like=[labeled])
    assert indexed.count(labeled) == 1 and len(indexed) == 3
    numbered(tmp_path / "train", [0, 1, 2, 0])  # another file there
    found = records.read_labeled([str(tmp_path / "test/a.tfrecord")], CLASSES, like=[labeled])
    assert found.labels.tolist() == [1, 2] and indexed.count(labeled) == 2
