"""Records that are wrong: named with their file, skipped where unlabeled, never trained on."""

import pytest
import tensorflow as tf

from data import pipeline, sources, tfrecord_file
from data.preprocess import PreprocessSpec
from data.sources import image_check, record_index, records
from tests.helpers.toy_records import (
    encode,
    flip_byte,
    imagenet,
    in_image,
    raw_example,
    write,
    write_imagenet,
)


def make_no_label():
    return imagenet(1, class__label=None), "exactly one label"


def make_two_names():
    return imagenet(1, class__synset=b"n09"), "'n09' here, but 'n02' before"


def make_two_published_labels():
    return imagenet(1, class__label=[2, 3]), "exactly one label"


def make_two_synsets():
    return imagenet(1, class__synset=[b"n02", b"n03"], class__label=None), "exactly one label"


def make_two_student_ready_labels():
    return raw_example({"image/encoded": encode(1), "label": [0, 1]}), "exactly one label"


def make_no_image():
    return imagenet(1, encoded=None), "none of the features image/encoded, image"


def make_empty_image():
    return imagenet(1, encoded=b""), "empty image"


def make_text():
    return imagenet(1, encoded=b"no image at all"), "not a readable image"


def make_cut_image():
    return imagenet(1, encoded=encode(1)[:-10]), "not a readable image"


def make_other_message():
    return b"\x08\x05", "not a tf.train.Example"


def make_garbage():
    return b"\x0a\xff\x01abc", "not a tf.train.Example"


@pytest.mark.parametrize(
    "make", [value for name, value in sorted(globals().items()) if name.startswith("make_")]
)
def test_labeled_records_that_are_wrong_are_named(tmp_path, make):
    record, message = make()
    good = [imagenet(i) for i in range(3)]
    path = write(tmp_path / "shard", [*good, record])
    offset = sum(len(r) + 16 for r in good)
    with pytest.raises(ValueError, match=f"shard, record at byte {offset}.*{message}") as error:
        records.read_labeled([path])
    assert "\n" not in str(error.value)


def test_a_background_class_is_refused(tmp_path):
    """A 0 beside the published numbers is named where they are said to count from 1."""
    good = [imagenet(i) for i in range(3)]
    path = write(tmp_path / "shard", [*good, imagenet(1, class__label=0)])
    offset = sum(len(record) + 16 for record in good)
    with pytest.raises(ValueError, match=f"shard, record at byte {offset}: image/class/label is 0"):
        records.read_labeled([path], label_offset=1)
    with pytest.raises(ValueError, match="Two class numbers have the same name 'n02'"):
        records.read_labeled([path])


def test_empty_classes_are_an_error(tmp_path):
    path = write(tmp_path / "a", [imagenet(0), imagenet(2)])
    with pytest.raises(ValueError, match="No records of class 1"):
        records.read_labeled([path])
    with pytest.raises(ValueError, match="No labeled records"):
        records.read_labeled([write(tmp_path / "b", [])])


def test_one_name_for_two_classes_is_an_error(tmp_path):
    path = write(tmp_path / "a", [imagenet(0), imagenet(1, class__synset=b"n01")])
    with pytest.raises(ValueError, match="same name 'n01'"):
        records.read_labeled([path])


def test_corrupt_shards_are_named(tmp_path):
    pattern = write_imagenet(tmp_path)
    second = tmp_path / "train-00001-of-00002"
    offset = list(tfrecord_file.spans(second))[3][0]
    flip_byte(second, in_image(second, offset))
    with pytest.raises(ValueError, match=f"{second} is damaged: the record at byte {offset}"):
        sources.load_splits(sources.Records(pattern))
    second.write_bytes(second.read_bytes()[: offset + 60])
    with pytest.raises(ValueError, match=f"{second} is cut short after 3.* at byte {offset}"):
        sources.load_splits(sources.Records(pattern))


def test_damage_in_files_too_large_to_verify_stops_training(tmp_path, monkeypatch):
    monkeypatch.setattr(image_check, "VERIFIED_BYTES", 0)
    path = write(tmp_path / "a", [imagenet(i) for i in range(6)])
    flip_byte(path, in_image(path, list(tfrecord_file.spans(path))[2][0]))
    examples = records.read_labeled([path])
    with pytest.raises(tf.errors.DataLossError):
        list(pipeline.evaluation_batches(examples, PreprocessSpec(12), batch_size=2))


def test_compressed_files_are_refused(tmp_path):
    path = str(tmp_path / "zipped")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        writer.write(imagenet(0))
    with pytest.raises(ValueError, match="zipped is not an uncompressed TFRecord file"):
        list(record_index.index(path))
