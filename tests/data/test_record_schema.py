import numpy as np
import pytest
import tensorflow as tf

from data import record_schema


def record(i, **optional):
    probabilities = np.array([0.5, 0.25, i], np.float32)
    return record_schema.serialize(b"bytes %d" % i, i % 3, 0.5, probabilities, **optional)


def write(directory, count, shards=1, **optional):
    return record_schema.write_shards(
        (record(i, **optional) for i in range(count)), directory, count, shards
    )


def read(files, num_classes=3):
    return [
        {name: value.numpy() for name, value in parsed.items()}
        for file in files
        for parsed in record_schema.read_file(str(file), num_classes)
    ]


def test_round_trip():
    parsed = record_schema.parse(record(7, example_id="x/7", copy=5), 3)
    assert parsed["encoded"] == b"bytes 7"
    assert parsed["label"] == 1 and parsed["label"].dtype == tf.int32
    assert parsed["prob"] == 0.5 and parsed["prob"].dtype == tf.float32
    np.testing.assert_array_equal(parsed["probabilities"], np.float32([0.5, 0.25, 7]))
    assert parsed["copy"] == 5 and parsed["copy"].dtype == tf.int32
    assert parsed["id_hash"].dtype == tf.int64


def test_the_fields_are_the_published_ones():
    example = tf.train.Example.FromString(record(1, example_id="x/1", copy=2))
    feature = example.features.feature
    assert feature["image/encoded"].bytes_list.value == [b"bytes 1"]
    assert feature["label"].int64_list.value == [1]
    assert feature["prob"].float_list.value == [0.5]
    assert list(feature["probabilities"].float_list.value) == [0.5, 0.25, 1.0]
    assert feature["image/id"].bytes_list.value == [b"x/1"]
    assert feature["image/copy"].int64_list.value == [2]
    first_copy = tf.train.Example.FromString(record(1, copy=0)).features.feature
    assert first_copy["image/copy"].int64_list.value == [0]
    published = tf.train.Example.FromString(record(1)).features.feature
    assert set(published) == {"image/encoded", "label", "prob", "probabilities"}


def test_id_hash_is_the_ids():
    first, same, other = (
        int(record_schema.parse(record(i, example_id=name), 3)["id_hash"])
        for i, name in [(0, "a/1"), (1, "a/1"), (0, "a/2")]
    )
    assert first == same != other


def test_records_without_id_are_told_apart_by_file_and_position(tmp_path):
    records = read(write(tmp_path, 20, shards=2))
    assert len({r["id_hash"] for r in records}) == 20
    assert all(r["copy"] == 0 for r in records)
    moved = tmp_path / "elsewhere"
    assert [r["id_hash"] for r in read(write(moved, 20, shards=2))] == [
        r["id_hash"] for r in records
    ]


def test_records_with_id_do_not_depend_on_their_place(tmp_path):
    records = read(write(tmp_path, 20, shards=2, example_id="x"))
    assert len({r["id_hash"] for r in records}) == 1


def test_wrong_number_of_classes_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="probabilities"):
        record_schema.parse(record(1), 4)


@pytest.mark.parametrize(("count", "shards"), [(10, 4), (3, 5), (0, 2), (8, 1)])
def test_shards_hold_every_record_once_in_order(tmp_path, count, shards):
    files = write(tmp_path, count, shards)
    names = [f"records-{i:05d}-of-{shards:05d}.tfrecord" for i in range(shards)]
    assert [file.name for file in files] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [r["encoded"] for r in read(files)] == [b"bytes %d" % i for i in range(count)]
    sizes = [record_schema.count_records([file]) for file in files]
    assert max(sizes) - min(sizes) <= 1
    assert record_schema.count_records(files) == count


@pytest.mark.parametrize(("count", "word"), [(4, "fewer"), (6, "more")])
def test_wrong_count_is_refused(tmp_path, count, word):
    with pytest.raises(ValueError, match=f"5 records, got {word}"):
        record_schema.write_shards((record(i) for i in range(count)), tmp_path, 5, 2)


def test_a_file_is_there_when_it_is_complete(tmp_path):
    def records():
        yield record(0)
        assert not list(tmp_path.glob("*.tfrecord"))
        yield record(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_schema.write_shards(records(), tmp_path, 4, 1)
    assert not list(tmp_path.glob("*.tfrecord"))


def test_no_shards_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_shards must be at least 1, not 0"):
        record_schema.write_shards([], tmp_path, 0, 0)


@pytest.mark.parametrize("missing", [1, 5, 60])
def test_a_file_cut_short_is_named(tmp_path, missing):
    (file,) = write(tmp_path, 3)
    file.write_bytes(file.read_bytes()[:-missing])
    with pytest.raises(ValueError, match=f"{file.name} is cut short after 2 records"):
        record_schema.count_records([file])
