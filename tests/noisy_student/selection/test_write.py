"""The selection stage: predictions in, balanced shuffled records and a report out."""

import dataclasses
import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from data import record_schema
from noisy_student.artifacts import predictions, student_set
from noisy_student.artifacts.decision import Decision
from noisy_student.artifacts.files import read_json
from noisy_student.selection import rule, write
from tests.helpers.toy_predictions import NAMES, SETTINGS, SIZE, write_predictions


def read_records(files):
    return [
        tf.train.Example.FromString(serialized).features.feature
        for file in files
        for serialized in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]


def select_into(tmp_path, columns, examples, **changed):
    write_predictions(tmp_path / "in", columns, examples)
    settings = dataclasses.replace(SETTINGS, **changed)
    return write.write_selected(tmp_path / "in", tmp_path / "out", examples, settings)


def test_records_are_what_the_decision_says(tmp_path, columns, examples):
    files = select_into(tmp_path, columns, examples)
    assert [file.name for file in files] == [
        "records-00000-of-00002.tfrecord",
        "records-00001-of-00002.tfrecord",
    ]
    expected = rule.select(columns["label"], columns["confidence"], columns["id_hash"], 4, 30, 0.6)
    assert expected.max() > 1  # some are duplicated, some dropped
    assert expected.min() == 0
    records = read_records(files)
    assert len(records) == record_schema.count_records(files) == expected.sum() == 90
    found = {}
    for record in records:
        index = int(record["image/id"].bytes_list.value[0].decode().split("/")[1])
        found.setdefault(index, []).append(record)
    for index, copies in found.items():
        assert sorted(r["image/copy"].int64_list.value[0] for r in copies) == list(
            range(expected[index])
        )
        for record in copies:
            encoded = record["image/encoded"].bytes_list.value[0]
            pixels = np.asarray(PIL.Image.open(io.BytesIO(encoded)))
            np.testing.assert_array_equal(pixels, examples.images[index])
            assert record["label"].int64_list.value[0] == columns["label"][index]
            assert np.float32(record["prob"].float_list.value[0]) == columns["confidence"][index]
            probabilities = record["probabilities"].float_list.value
            np.testing.assert_allclose(sum(probabilities), 1, rtol=1e-6)
            np.testing.assert_allclose(probabilities, columns["probabilities"][index], atol=1e-3)
    assert len(found) == np.count_nonzero(expected)


def order_of(files):
    return [
        (record["image/id"].bytes_list.value[0], record["image/copy"].int64_list.value[0])
        for record in read_records(files)
    ]


def test_order_is_shuffled_and_depends_on_the_seed_alone(tmp_path, columns, examples):
    first = select_into(tmp_path / "first", columns, examples)
    other_seed = select_into(tmp_path / "other", columns, examples, seed=4)
    resharded = tmp_path / "resharded"
    order = np.random.default_rng(9).permutation(SIZE)
    write_predictions(resharded / "in", columns, examples, num_shards=7, order=order)
    again = write.write_selected(resharded / "in", resharded / "out", examples, SETTINGS)
    assert [a.read_bytes() for a in again] == [f.read_bytes() for f in first]
    assert order_of(first) != order_of(other_seed)
    assert sorted(order_of(first)) == sorted(order_of(other_seed))
    positions = [int(name.split(b"/")[1]) for name, _ in order_of(first)]
    assert np.abs(np.corrcoef(positions, np.arange(len(positions)))[0, 1]) < 0.3


def test_hard_labels_are_one_hot(tmp_path, columns, examples):
    for record in read_records(select_into(tmp_path, columns, examples, hard_labels=True)):
        expected = np.eye(4)[record["label"].int64_list.value[0]]
        np.testing.assert_array_equal(record["probabilities"].float_list.value, expected)


def test_report_by_hand(tmp_path, columns, examples):
    select_into(tmp_path, columns, examples)
    report = json.loads((tmp_path / "out" / "selection.json").read_text())
    label, confidence, truth = (columns[n] for n in ("label", "confidence", "true_label"))
    copies = rule.select(label, confidence, columns["id_hash"], 4, 30, 0.6)
    taken, known, right = copies > 0, truth >= 0, label == truth
    assert report["num_records"] == SIZE
    assert report["num_kept"] == taken.sum()
    assert report["num_written"] == copies.sum() == 90
    assert report["num_duplicates"] == copies.sum() - taken.sum()
    assert (report["min_confidence"], report["images_per_class"]) == (0.6, 30)
    per_class = report["per_class"]
    assert per_class["names"] == list(NAMES)
    assert per_class["before"] == [(label == c).sum() for c in range(4)]
    above = confidence >= np.float32(0.6)
    assert per_class["above_threshold"] == [(above & (label == c)).sum() for c in range(4)]
    assert per_class["distinct"] == [(taken & (label == c)).sum() for c in range(4)]
    assert per_class["after"] == [30, 30, 30, 0]
    for c in range(3):
        chosen = taken & known & (label == c)
        assert per_class["accuracy"][c] == pytest.approx(right[chosen].mean())
    assert per_class["accuracy"][3] is None
    assert report["empty_classes"] == ["dog"]
    assert report["accuracy_all"] == pytest.approx(right[known].mean())
    assert report["accuracy_kept"] == pytest.approx(right[known & taken].mean())
    written = np.repeat(np.arange(SIZE), copies)
    written = written[known[written]]
    assert report["accuracy_written"] == pytest.approx(right[written].mean())
    histogram = report["confidence_histogram"]
    assert len(histogram["edges"]) == 21 and histogram["edges"][6] == 0.3
    assert sum(histogram["all"]) == SIZE and sum(histogram["kept"]) == taken.sum()
    assert histogram["all"][-1] == (confidence >= np.float32(0.95)).sum()
    last = report["reliability"][-1]
    tenth = known & (confidence >= np.float32(0.9))
    assert (last["low"], last["high"], last["count"]) == (0.9, 1.0, tenth.sum())
    assert last["accuracy"] == pytest.approx(right[tenth].mean())
    assert last["confidence"] == pytest.approx(confidence[tenth].mean())
    assert sum(row["count"] for row in report["reliability"]) == known.sum()


def test_report_without_any_truth(tmp_path, columns, examples):
    columns["true_label"] = np.full(SIZE, -1, np.int32)
    select_into(tmp_path, columns, examples, images_per_class="auto")
    report = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert report["accuracy_all"] is report["accuracy_kept"] is report["accuracy_written"] is None
    assert report["reliability"] == [] and report["per_class"]["accuracy"] == [None] * 4
    assert report["images_per_class"] == max(report["per_class"]["above_threshold"])


def test_without_balance_each_image_above_the_threshold_is_written_once(
    tmp_path, columns, examples
):
    files = select_into(tmp_path, columns, examples, images_per_class="none")
    found = sorted(
        record["image/id"].bytes_list.value[0].decode() for record in read_records(files)
    )
    assert found == sorted(examples.ids[columns["confidence"] >= np.float32(0.6)])
    report = json.loads((tmp_path / "out" / "selection.json").read_text())
    assert report["images_per_class"] is None and report["num_duplicates"] == 0
    assert report["images_per_class_rule"] == "none: no balance"
    assert report["noised_labels"] is False


def test_nothing_above_the_threshold_is_refused(tmp_path, columns, examples):
    columns["confidence"] = columns["confidence"] * np.float32(0.5)
    with pytest.raises(ValueError, match=r"drops all 120 pseudo labels; .* is 0\.\d+"):
        select_into(tmp_path, columns, examples)
    assert not (tmp_path / "out").exists()


def test_a_confidence_that_is_not_a_number_is_refused(tmp_path, columns, examples):
    columns["confidence"][7] = np.nan
    with pytest.raises(ValueError, match="confidence nan"):
        select_into(tmp_path, columns, examples)


def test_predictions_of_other_images_are_refused(tmp_path, columns, examples):
    with pytest.raises(ValueError, match="other images"):
        write_predictions(tmp_path / "in", columns, examples)
        others = dataclasses.replace(examples, labels=np.roll(examples.labels, 1))
        write.write_selected(tmp_path / "in", tmp_path / "out", others, SETTINGS)
    columns["id"] = np.roll(columns["id"], 1)
    with pytest.raises(ValueError, match="but that image is"):
        select_into(tmp_path, columns, examples)


def test_predictions_of_two_models_are_refused(tmp_path, columns, examples):
    write_predictions(tmp_path / "in", columns, examples, num_shards=2)
    path = predictions.shard_path(tmp_path / "in", 1, 2)
    predictions.write(path, predictions.read_card(path) | {"model": "another"}, [])
    with pytest.raises(ValueError, match="another model"):
        write.write_selected(tmp_path / "in", tmp_path / "out", examples, SETTINGS)


@pytest.mark.parametrize("images_per_class", ["none", 9])
def test_the_largest_confidence_too_can_be_limited(tmp_path, columns, examples, images_per_class):
    """The same as selecting from the others alone; the decision remembers it."""
    limits = {"min_confidence": 0.5, "max_confidence": 0.8, "images_per_class": images_per_class}
    files = select_into(tmp_path, columns, examples, **limits)
    confidence = columns["confidence"]
    below = confidence <= np.float32(0.8)
    expected = np.zeros(SIZE, np.int32)
    names = ("label", "confidence", "id_hash")
    expected[below] = rule.select(*(columns[n][below] for n in names), 4, images_per_class, 0.5)
    assert 0 < np.count_nonzero(expected) < np.count_nonzero(confidence >= 0.5)
    found = np.zeros(SIZE, np.int32)
    for name, _ in order_of(files):
        found[int(name.split(b"/")[1])] += 1
    np.testing.assert_array_equal(found, expected)
    decision = Decision.from_dict(read_json(tmp_path / "out" / "decision.json"))
    copies = rule.copies_for(*(columns[n] for n in names), decision)
    np.testing.assert_array_equal(copies, expected)
    with pytest.raises(ValueError, match=r"all 0 .* max_confidence = 0.01; .* is 0\.\d+"):
        select_into(tmp_path / "none", columns, examples, min_confidence=0, max_confidence=0.01)


def test_records_have_the_published_names_if_asked_for(tmp_path, columns, examples):
    """Read as the published code reads: `train*` in the folder, and four features of theirs."""
    ours = select_into(tmp_path / "ours", columns, examples)
    theirs = select_into(tmp_path / "theirs", columns, examples, published_names=True)
    directory = tmp_path / "theirs" / "out"
    assert sorted(directory.glob("train*")) == theirs and not list(directory.glob("records*"))
    assert [file.name for file in theirs] == ["train-0-00000-of-00002", "train-0-00001-of-00002"]
    assert [file.read_bytes() for file in theirs] == [file.read_bytes() for file in ours]
    assert student_set.files_of(directory) == list(map(str, theirs))
    features = {
        "probabilities": tf.io.FixedLenFeature([4], tf.float32),
        "label": tf.io.FixedLenFeature([], tf.int64, -1),
        "prob": tf.io.FixedLenFeature([], tf.float32),
        "image/encoded": tf.io.FixedLenFeature((), tf.string, ""),
    }
    for serialized in tf.data.TFRecordDataset(list(map(str, theirs))):
        record = tf.io.parse_single_example(serialized, features)
        assert tf.image.decode_jpeg(record["image/encoded"], channels=3).shape == (4, 4, 3)
        assert 0 <= record["label"] < 4
    with pytest.raises(ValueError, match="train-0-00000-of-00002"):
        select_into(tmp_path / "theirs", columns, examples)
    with pytest.raises(ValueError, match="--index_only .*--published_names"):
        select_into(tmp_path / "both", columns, examples, published_names=True, index_only=True)


def test_records_of_another_number_of_shards_are_refused(tmp_path, columns, examples):
    select_into(tmp_path, columns, examples)
    select_into(tmp_path, columns, examples)  # the same number is replaced
    with pytest.raises(ValueError, match="records-00000-of-00002.tfrecord"):
        select_into(tmp_path, columns, examples, num_shards=3)
