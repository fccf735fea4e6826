"""Pseudo labels: clean images, eval mode, exact shards, resumable."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from data import seeds, sources
from data.preprocess import PreprocessSpec
from noisy_student import pseudo_label
from noisy_student.artifacts import model_file, predictions
from noisy_student.pseudo_label import shards
from noisy_student.runtime.devices import Devices

NAMES = ("ant", "bee", "cat")
SIZE, BATCH = 23, 4
SPEC = PreprocessSpec(image_size=6, small_image=True)
DEVICES = Devices(tf.distribute.get_strategy(), jit_compile=False)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 64)(inputs))
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, SIZE).astype(np.int32)
    labels[3] = -1
    return sources.DecodedExamples(
        ids=np.array([f"toy/{i}" for i in range(SIZE)], object),
        labels=labels,
        class_names=NAMES,
        images=rng.integers(0, 256, (SIZE, 6, 6, 3), np.uint8),
    )


@pytest.fixture(scope="module")
def teacher(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    model_file.save_model(model, path, NAMES, SPEC)
    return pseudo_label.Teacher(path, DEVICES, BATCH)


def label_into(directory, teacher, examples, num_shards=3, shard_index=None):
    labeler = teacher.labeler(examples, directory)
    return shards.write(labeler, examples, directory, num_shards, shard_index)


def read(directory):
    files = predictions.shard_files(directory)
    names = predictions.pq.read_schema(files[0]).names
    pieces = list(predictions.read(files, names))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}


def test_every_image_once_with_its_probabilities(tmp_path, model, teacher, examples):
    label_into(tmp_path, teacher, examples)
    found = read(tmp_path)
    logits = model(examples.images.astype(np.float32), training=False)
    expected = tf.nn.softmax(logits).numpy()
    np.testing.assert_array_equal(found["index"], np.arange(SIZE))
    np.testing.assert_array_equal(found["id"], examples.ids)
    np.testing.assert_array_equal(found["id_hash"], seeds.hash_ids(examples.ids))
    np.testing.assert_array_equal(found["label"], expected.argmax(1))
    np.testing.assert_allclose(found["confidence"], expected.max(1), rtol=1e-5)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-3)
    np.testing.assert_array_equal(found["true_label"], examples.labels)
    assert found["confidence"].dtype == np.float32
    assert (found["confidence"] != found["confidence"].astype(np.float16)).any()


def test_shards_do_not_change_the_labels(tmp_path, teacher, examples):
    for count in (1, 3):
        label_into(tmp_path / str(count), teacher, examples, num_shards=count)
    one, three = read(tmp_path / "1"), read(tmp_path / "3")
    for name, column in one.items():
        np.testing.assert_allclose(*map(_number, (three[name], column)), rtol=1e-5)


def test_more_shards_than_images(tmp_path, teacher, examples):
    label_into(tmp_path, teacher, examples.take([5, 7]), num_shards=3)
    assert read(tmp_path)["id"].tolist() == ["toy/5", "toy/7"]


def _number(column):
    return seeds.hash_ids(column) if column.dtype == object else column


def test_one_shard_at_a_time(tmp_path, teacher, examples):
    for shard in (2, 0):
        written = label_into(tmp_path, teacher, examples, shard_index=shard)
        assert written == [predictions.shard_path(tmp_path, shard, 3)]
    with pytest.raises(ValueError, match="missing predictions-00001-of-00003"):
        read(tmp_path)
    assert label_into(tmp_path, teacher, examples) == [predictions.shard_path(tmp_path, 1, 3)]
    np.testing.assert_array_equal(read(tmp_path)["index"], np.arange(SIZE))
    with pytest.raises(ValueError, match="0 .. 2"):
        label_into(tmp_path, teacher, examples, shard_index=3)


def test_finished_shards_are_kept_unless_made_from_something_else(tmp_path, teacher, examples):
    assert len(label_into(tmp_path, teacher, examples)) == 3
    assert label_into(tmp_path, teacher, examples) == []
    labeler = teacher.labeler(examples, tmp_path)
    other = dataclasses.replace(labeler, card=labeler.card | {"model": "other"})
    assert len(shards.write(other, examples, tmp_path, num_shards=3)) == 3


def test_rows_are_grouped_for_parquet(tmp_path, teacher, examples, monkeypatch):
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 8)
    (path,) = label_into(tmp_path, teacher, examples, num_shards=1)
    with predictions.pq.ParquetFile(path) as file:
        rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert rows == [8, 8, 7]


def test_true_labels_are_matched_by_class_name(tmp_path, teacher, examples):
    others = dataclasses.replace(examples, class_names=("cat", "wolf", "ant"))
    shards.write(teacher.labeler(examples, tmp_path), others, tmp_path)
    expected = np.array([2, -1, 0, -1])[examples.labels]
    np.testing.assert_array_equal(read(tmp_path)["true_label"], expected)


def test_the_model_runs_in_eval_mode_and_is_traced_once(tmp_path, teacher, examples):
    labeler = teacher.labeler(examples, tmp_path)
    for name in ("first", "second"):
        shards.write(labeler, examples, tmp_path / name)
    first, second = read(tmp_path / "first"), read(tmp_path / "second")
    np.testing.assert_array_equal(first["probabilities"], second["probabilities"])
    assert labeler.predict.experimental_get_tracing_count() == 1


def test_run_is_a_stage(tmp_path, teacher, examples):
    def run(num_shards=2, **arguments):
        return pseudo_label.run(
            teacher, examples, tmp_path / "out", num_shards=num_shards, **arguments
        )

    assert run(shard_index=1) is None
    done = run(skipped=["notes.txt", "cut.jpg"])
    assert done["num_records"] == SIZE
    assert (done["num_skipped"], done["skipped"]) == (2, ["notes.txt", "cut.jpg"])
    assert sorted(done["predictions"]) == [
        "predictions-00000-of-00002.parquet",
        "predictions-00001-of-00002.parquet",
    ]
    assert run() == done
    np.testing.assert_array_equal(read(tmp_path / "out")["index"], np.arange(SIZE))
    card = predictions.read_card(tmp_path / "out" / "predictions-00000-of-00002.parquet")
    assert card["preprocess"] == SPEC.to_dict() and card["class_names"] == list(NAMES)
    with pytest.raises(ValueError, match="num_shards: 2 -> 3"):
        run(num_shards=3)


def test_a_file_that_is_not_a_model_is_named_and_nothing_written(tmp_path, examples):
    (tmp_path / "text.keras").write_text("no model")
    for name in ("nowhere.keras", "text.keras"):
        teacher = pseudo_label.Teacher(tmp_path / name, DEVICES, BATCH)
        with pytest.raises(ValueError, match=str(tmp_path / name)):
            pseudo_label.run(teacher, examples, tmp_path / "out")
    assert not (tmp_path / "out").exists()
