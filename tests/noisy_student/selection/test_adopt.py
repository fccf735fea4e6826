"""Student records of the published code as a finished selection."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from data import record_schema
from noisy_student.artifacts import student_set
from noisy_student.artifacts.files import read_json
from noisy_student.artifacts.stage import read_done
from noisy_student.selection import adopt
from tests.helpers.toy_batches import textured
from tests.helpers.toy_teacher import NAMES, SPEC, training_batches

SOURCE = textured(6)
PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(5), 6).astype(np.float32)
COPIES = (3, 1, 1, 2, 1, 1)


def fields(image, **changed):
    """The features of a record as the published code writes them: neither id nor copy."""
    probabilities = PROBABILITIES[image]
    label = int(probabilities.argmax())
    values = {
        "image/encoded": [SOURCE.encoded(image)],
        "label": [label],
        "prob": [probabilities[label]],
        "probabilities": probabilities,
    } | {name.replace("image_", "image/"): value for name, value in changed.items()}
    kinds = {bytes: "bytes", int: "int64"}
    features = {}
    for name, value in values.items():
        kind = kinds.get(type(value[0]), "float") if len(value) else "float"
        make = {
            "bytes": lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=v)),
            "int64": lambda v: tf.train.Feature(int64_list=tf.train.Int64List(value=v)),
            "float": lambda v: tf.train.Feature(float_list=tf.train.FloatList(value=v)),
        }[kind]
        features[name] = make(value)
    return features


def serialized(features):
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write(path, records):
    path.parent.mkdir(exist_ok=True, parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


@pytest.fixture
def published(tmp_path):
    """Two tasks' files, as `filter_unlabel.py` names them."""
    records = [serialized(fields(i)) for i, count in enumerate(COPIES) for _ in range(count)]
    write(tmp_path / "data" / "train-0-00000-of-00001", records[:5])
    write(tmp_path / "data" / "train-1-00000-of-00001", records[5:])
    return str(tmp_path / "data" / "train-*")


def test_published_records_become_a_selection(tmp_path, published):
    report = adopt.run([published], tmp_path / "out", NAMES)
    assert (report["num_written"], report["num_kept"], report["num_duplicates"]) == (9, 6, 3)
    labels = PROBABILITIES.argmax(1)
    per_class = report["per_class"]
    assert per_class["distinct"] == np.bincount(labels, minlength=5).tolist()
    assert per_class["after"] == np.bincount(labels, COPIES, 5).tolist()
    assert report["min_confidence"] == PROBABILITIES.max(1).min()
    assert report == read_json(tmp_path / "out" / "selection.json")
    files = student_set.files_of(tmp_path / "out")
    assert record_schema.count_records(files) == 9
    before = read_done(tmp_path / "out")
    assert len(before["records_hash"]) == 16
    assert adopt.run([published], tmp_path / "out", NAMES) == report
    assert read_done(tmp_path / "out") == before


def test_training_on_them_sees_their_images_and_distributions(tmp_path, published):
    adopt.run([published], tmp_path / "out", NAMES)
    seen = training_batches(tmp_path / "out", None, SPEC, steps=3)  # four passes of nine
    images = np.concatenate([batch["unlabeled_images"] for batch in seen])
    targets = np.concatenate([batch["probabilities"] for batch in seen])
    which = [int(np.flatnonzero((SOURCE.images == image).all((1, 2, 3)))[0]) for image in images]
    assert np.bincount(which).tolist() == [4 * count for count in COPIES]
    np.testing.assert_array_equal(targets, PROBABILITIES[which])


def test_a_dry_run_checks_and_writes_nothing(tmp_path, published):
    assert adopt.run([published], tmp_path / "out", NAMES, dry=True)["num_written"] == 9
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_is_completed(tmp_path, published):
    adopt.run([published], tmp_path / "out", NAMES)
    (tmp_path / "out" / "done.json").unlink()
    assert adopt.run([published], tmp_path / "out", NAMES)["num_written"] == 9
    assert read_done(tmp_path / "out")["records_hash"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": [5]}, "label 5 is not in 0..4"),
        ({"label": [int(PROBABILITIES[1].argmin())]}, "is not the most likely class, "),
        ({"prob": [1.5]}, "prob 1.5 is not in 0..1"),
        ({"probabilities": PROBABILITIES[1][:4]}, "has 4 probabilities for 5 classes"),
        ({"probabilities": PROBABILITIES[1] * 2}, "sum to 2"),
        ({"probabilities": np.full(5, np.nan)}, "sum to nan"),
        ({"label": []}, "one label"),
        ({"image_encoded": [b"no image"]}, "image/encoded is not a readable image"),
    ],
)
def test_a_record_that_does_not_fit_is_named(tmp_path, changed, message):
    write(tmp_path / "data" / "train-0", [serialized(fields(0)), serialized(fields(1, **changed))])
    with pytest.raises(ValueError, match=f"data/train-0, record 1: .*{message}"):
        adopt.run([str(tmp_path / "data" / "train-0")], tmp_path / "out", NAMES)
    assert not (tmp_path / "out" / "done.json").exists()


def test_files_that_are_no_student_records_are_named(tmp_path, published):
    features = fields(0)
    del features["prob"]
    for name, content in (("lacking", serialized(features)), ("other", b"\xff")):
        write(tmp_path / "bad" / name, [content])
        with pytest.raises(
            ValueError, match=f"bad/{name}, record 0: (has no prob|is not a tf.train)"
        ):
            adopt.run([str(tmp_path / "bad" / name)], tmp_path / "out", NAMES)
    cut = tmp_path / "data" / "train-1-00000-of-00001"
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"train-1-00000-of-00001 is "):
        adopt.run([published], tmp_path / "out2", NAMES)
    write(tmp_path / "empty" / "train-0", [])
    with pytest.raises(ValueError, match="no records in 1 file"):
        adopt.run([str(tmp_path / "empty" / "*")], tmp_path / "out3", NAMES)
    with pytest.raises(ValueError, match="data holds the records"):
        adopt.run([published], tmp_path / "data", NAMES)


def test_other_records_in_a_finished_directory_are_refused(tmp_path, published):
    adopt.run([published], tmp_path / "out", NAMES)
    write(tmp_path / "data" / "train-2-00000-of-00001", [serialized(fields(2))])
    with pytest.raises(ValueError, match="records: "):
        adopt.run([published], tmp_path / "out", NAMES)


def test_the_command_needs_no_predictions(tmp_path):
    """On the ten classes of the package's own digits."""
    one_hot = np.eye(10, dtype=np.float32)
    records = [
        serialized(fields(i, label=[i], prob=[1.0], probabilities=one_hot[i])) for i in range(6)
    ]
    write(tmp_path / "data" / "train-0-00000-of-00001", records)
    command = [sys.executable, "-m", "noisy_student.selection", "--dataset=mnist5k"]
    command += [f"--adopt_records={tmp_path / 'data'}", f"--output_dir={tmp_path / 'out'}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "6 records of 6 images" in result.stdout
    assert read_done(tmp_path / "out")["records_hash"]
