import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import pipeline, record_schema, sources, tfrecord_file
from data.examples import concatenate
from data.pipeline import Augmentation
from data.preprocess import PreprocessSpec
from data.sources import records
from data.sources.folders import read_labeled as read_folder
from tests.helpers.toy_records import (
    CLASSES,
    encode,
    example,
    flip_byte,
    imagenet,
    raw_example,
    write,
    write_imagenet,
)

# Files.


def test_spans_tell_where_records_begin(tmp_path):
    serialized = [b"x" * length for length in (0, 1, 1000, 7)]
    path = write(tmp_path / "a", serialized)
    assert list(tfrecord_file.spans(path)) == [(0, 0), (16, 1), (33, 1000), (1049, 7)]
    assert not list(tfrecord_file.spans(write(tmp_path / "b", [])))


@pytest.mark.parametrize("position", [33, 45, 500, 1046])  # length, image, and both checksums
def test_damage_is_named_with_file_and_offset(tmp_path, position):
    path = write(tmp_path / "shard", [b"x", b"y", b"z" * 1000, b"w"])  # at bytes 0, 17, 34, 1050
    flip_byte(path, position + 1)
    with pytest.raises(ValueError, match="shard .*damaged.*byte 34"):
        tfrecord_file.verify([path])


def test_sound_files_pass(tmp_path):
    tfrecord_file.verify([write(tmp_path / "a", [b"x" * 300] * 70), write(tmp_path / "b", [])])


def test_images_are_read_by_offset(tmp_path):
    path = write(tmp_path / "a", [imagenet(i) for i in range(5)] + [raw_example({"image": b"i"})])
    offsets = [offset for offset, _ in tfrecord_file.spans(path)]
    for number in (4, 0, 2):
        assert tfrecord_file.encoded_at(path, offsets[number]) == encode(number)
        assert tfrecord_file.read_encoded(path, offsets[number]) == encode(number)
    assert tfrecord_file.encoded_at(path, offsets[5]) == b"i"
    assert tfrecord_file.read_encoded(path, offsets[5]) == b"i"
    with pytest.raises(ValueError, match=f"{path} has no record at byte 3"):
        tfrecord_file.encoded_at(path, 3)
    flip_byte(path, offsets[2] + 40)
    with pytest.raises(tf.errors.DataLossError):
        tfrecord_file.read_encoded(path, offsets[2])
    with pytest.raises(ValueError, match="no image in the record at byte 0"):
        tfrecord_file.encoded_at(write(tmp_path / "b", [raw_example({"label": 1})]), 0)


# The published layout.


def test_imagenet_records(tmp_path):
    examples = records.read_labeled([write_imagenet(tmp_path)])
    assert len(examples) == 30
    assert examples.class_names == CLASSES
    assert examples.ids[0] == "records/train-00000-of-00002/000000"
    assert examples.ids[29] == "records/train-00001-of-00002/000014"
    numbers = [*range(0, 30, 2), *range(1, 30, 2)]
    assert examples.labels.tolist() == [number % 3 for number in numbers]
    assert [examples.encoded(i) for i in range(30)] == [encode(number) for number in numbers]
    assert examples.take([7, 3]).encoded(1) == encode(6)


def test_classes_of_a_test_set_are_matched_by_name(tmp_path):
    (tmp_path / "test").mkdir()
    some = [imagenet(i, class__label=1) for i in (1, 2, 4)]  # numbers of another list of classes
    path = write(tmp_path / "test" / "a", some)
    assert records.read_labeled([path], CLASSES).labels.tolist() == [1, 2, 1]
    with pytest.raises(ValueError, match="a, record at byte 0: unknown class n02. Valid: n01"):
        records.read_labeled([path], ("n01", "n03"))


def test_classes_without_names_are_numbers(tmp_path):
    pattern = write_imagenet(tmp_path, synset=False, class__text=None)
    assert records.read_labeled([pattern]).class_names == ("0", "1", "2")
    assert records.read_labeled([pattern], CLASSES).labels.max() == 2
    with pytest.raises(ValueError, match="unknown class 2"):
        records.read_labeled([pattern], CLASSES[:2])


def test_student_ready_records_are_labeled_ones(tmp_path):
    def published(number):  # without id and copy
        return record_schema.serialize(encode(number), number % 3, 0.5, np.ones(3) / 3)

    examples = records.read_labeled([write(tmp_path / "a", map(published, range(6)))])
    assert examples.labels.tolist() == [0, 1, 2, 0, 1, 2]

    def ours(number):
        distribution = np.ones(3) / 3
        return record_schema.serialize(
            encode(number), number % 3, 0.5, distribution, f"x/{number}", 0
        )

    copy = record_schema.serialize(encode(0), 0, 0.5, np.ones(3) / 3, "x/0", 1)
    examples = records.read_labeled([write(tmp_path / "b", [*map(ours, range(6)), copy])])
    assert examples.ids.tolist() == [f"x/{number}" for number in range(6)]
    (tmp_path / "selected").mkdir()
    (tmp_path / "b").rename(tmp_path / "selected" / "records.tfrecord")
    (tmp_path / "selected" / "done.json").write_text("{}")
    unlabeled, _ = records.read_unlabeled([str(tmp_path / "selected")], CLASSES)
    assert unlabeled.ids.tolist() == [f"x/{number}" for number in range(6)]


# Unlabeled records.


def test_unlabeled_globs(tmp_path):
    patterns = [
        write_imagenet(tmp_path / "one", 6, class__label=None, synset=False, class__text=None),
        str(tmp_path / "two"),
    ]
    write(tmp_path / "two" / "train-00000-of-00002", [example(encoded=encode(9))])
    examples, skipped = records.read_unlabeled(patterns, CLASSES)
    assert examples.ids.tolist() == [
        *(f"unlabeled/one/train-00000-of-00002/{i:06d}" for i in range(3)),
        *(f"unlabeled/one/train-00001-of-00002/{i:06d}" for i in range(3)),
        "unlabeled/two/train-00000-of-00002/000000",
    ]
    assert examples.encoded(6) == encode(9)
    assert set(examples.labels) == {-1} and not skipped
    with pytest.raises(ValueError, match="No TFRecord files match .*three"):
        records.read_unlabeled([*patterns, str(tmp_path / "three*")], CLASSES)


def test_unlabeled_records_that_are_no_images_are_skipped(tmp_path):
    good = imagenet(1)
    path = write(tmp_path / "shard", [good, example(encoded=b"text"), imagenet(2)])
    examples, skipped = records.read_unlabeled([path], CLASSES)
    assert examples.labels.tolist() == [1, 2]
    assert len(skipped) == 1
    assert f"shard, record at byte {len(good) + 16}: is not a readable image" in skipped[0]
    with pytest.raises(ValueError, match="No images in the records"):
        records.read_unlabeled([write(tmp_path / "x", [example(encoded=b"text")])], CLASSES)


def test_pseudo_labels_are_not_taken_for_true_ones(tmp_path):
    record = record_schema.serialize(encode(1), 1, 0.9, np.ones(3) / 3)
    examples, _ = records.read_unlabeled([write(tmp_path / "a", [record])], CLASSES)
    assert examples.labels.tolist() == [-1]


# As a data set.


def test_records_are_a_data_set(tmp_path):
    labeled = write_imagenet(tmp_path, 60, shards=3)
    test = write_imagenet(tmp_path, 6, shards=1, split="validation")
    write(tmp_path / "more" / "a.tfrecord", [example(encoded=encode(i)) for i in range(5)])
    splits = sources.load_splits(
        sources.Records(labeled, test_dir=test),
        sources.Draw(
            num_labeled=12,
            num_validation=6,
            unlabeled=sources.UnlabeledRecords([str(tmp_path / "more")]),
        ),
        splits_file=tmp_path / "splits.json",
    )
    counts = {"labeled": 12, "validation": 6, "unlabeled": 42 + 5, "test": 6}
    assert splits.info["counts"] == counts
    assert np.bincount(splits.labeled.labels).tolist() == [4, 4, 4]
    assert splits.unlabeled.ids[-1] == "unlabeled/a.tfrecord/000004"
    assert splits.test.ids[0] == "test/validation-00000-of-00001/000000"
    with pytest.raises(ValueError, match="both labeled and test images, such as .*byte 0"):
        sources.load_splits(sources.Records(labeled, test_dir=labeled))
    alone = sources.load_examples(sources.Records(test), CLASSES)
    assert alone.labels.tolist() == splits.test.labels.tolist()


def test_records_give_the_batches_of_the_same_images_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 20, 20, 3)).astype(np.uint8)

    def encoded(i):
        buffer = io.BytesIO()
        Image.fromarray(images[i]).save(buffer, "PNG")
        return buffer.getvalue()

    serialized = [imagenet(i, encoded=encoded(i)) for i in range(12)]
    indexed = records.read_labeled([write(tmp_path / "a", serialized)])
    loaded = sources.DecodedExamples(indexed.ids, indexed.labels, CLASSES, images=images)
    for spec in (PreprocessSpec(16), PreprocessSpec(20, small_image=True)):
        first, second = (
            pipeline.training_batches(
                examples, spec, Augmentation("none"), pipeline.Order(seed=0), batch_size=4
            ).take(4)
            for examples in (indexed, loaded)
        )
        for ours, theirs in zip(first, second, strict=True):
            np.testing.assert_array_equal(ours["images"], theirs["images"])
            np.testing.assert_array_equal(ours["labels"], theirs["labels"])


def test_records_and_folders_can_be_joined(tmp_path):
    indexed = records.read_labeled([write(tmp_path / "a", [imagenet(i) for i in range(3)])])
    for name in CLASSES:
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "x.png").write_bytes(encode(99))
    files = read_folder(str(tmp_path / "images"), CLASSES)
    joined = concatenate(files, indexed)
    assert joined.offsets.tolist()[:4] == [-1, -1, -1, 0]
    assert [joined.encoded(i) for i in (2, 3)] == [encode(99), encode(0)]
    (batch,) = pipeline.evaluation_batches(joined, PreprocessSpec(12), batch_size=6)
    assert batch["images"][:, 5, 5, 0].numpy().tolist() == [99, 99, 99, 0, 1, 2]


def test_several_labels_of_an_unlabeled_record_are_no_known_label(tmp_path):
    one = write(tmp_path / "one", [imagenet(0), imagenet(1)])
    several = write(tmp_path / "several", [imagenet(0), imagenet(1, False, class__label=[2, 3])])
    assert records.read_unlabeled([one], CLASSES)[0].labels.tolist() == [0, 1]
    assert records.read_unlabeled([several], CLASSES)[0].labels.tolist() == [-1, -1]


def test_a_byte_order_mark_is_no_part_of_a_class(tmp_path):
    marked = imagenet(1, class__synset=b"\xef\xbb\xbfn02")
    path = write(tmp_path / "a", [imagenet(0), marked, imagenet(2), imagenet(4)])
    assert records.read_labeled([path]).class_names == CLASSES


def test_records_that_are_held_out_are_taken_out_of_the_unlabeled_ones(tmp_path):
    write_imagenet(tmp_path / "records")
    (tmp_path / "link").symlink_to(tmp_path / "records")
    draw = sources.Draw(unlabeled=sources.UnlabeledRecords([str(tmp_path / "link")]))
    splits = sources.load_splits(sources.Records(str(tmp_path / "records")), draw)
    assert splits.info["held_out"] == {"unlabeled": 9}
    in_records = [
        {
            pathlib.Path(file).name + str(offset)
            for file, offset in zip(s.files, s.offsets, strict=True)
        }
        for s in (splits.test, splits.validation, splits.unlabeled)
    ]
    assert list(map(len, in_records)) == [6, 3, 21]
    assert len(set.union(*in_records)) == 30


# Features of another type or count.


@pytest.mark.parametrize(
    "features, message",
    [
        ({"label": b"0"}, "feature label is bytes, but must be int64"),
        ({"label": [0.5]}, "feature label is float, but must be int64"),
        ({"image/class/label": b"1"}, "feature image/class/label is bytes, but must be int64"),
        ({"label": 0, "image/id": 7}, "feature image/id is int64, but must be bytes"),
        ({"label": 0, "image/class/text": 7}, "feature image/class/text is int64, but must be"),
        ({"label": 0, "image/class/text": b"caf\xe9"}, r"image/class/text is b'caf\\xe9', .*UTF-8"),
        ({"label": 0, "image/copy": b"0"}, "feature image/copy is bytes, but must be int64"),
        ({"label": 0, "image/encoded": [1, 2]}, "image/encoded is a list of numbers, but must be"),
        ({"label": 0, "image/encoded": [b"a", b"b"]}, "has 2 images in image/encoded"),
        (
            {"class": 3, "id": b"x"},
            r"exactly one label.*class \(1 int64\), id \(1 bytes\), image/enc",
        ),
        ({"label": [1, 2]}, r"exactly one label.*label \(2 int64\)"),
    ],
)
def test_features_of_another_type_are_named(tmp_path, features, message):
    path = write(tmp_path / "shard", [raw_example({"image/encoded": encode(1)} | features)])
    with pytest.raises(ValueError, match=f"shard, record at byte 0: .*{message}") as error:
        records.read_labeled([path])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pattern", ["", "/train-*", "/train-00000-of-00001"])
def test_brackets_in_a_path_are_no_pattern(tmp_path, pattern):
    folder = tmp_path / "set[1]"
    write(folder / "train-00000-of-00001", [imagenet(i) for i in range(3)])
    write(tmp_path / "set1" / "train-00000-of-00001", [imagenet(i) for i in range(6)])
    assert records.find_files([f"{folder}{pattern}"]) == [str(folder / "train-00000-of-00001")]
    assert len(records.find_files([str(tmp_path / "set[0-9]" / "train-*")])) == 1


def test_records_that_were_exchanged_are_noticed(tmp_path):
    labeled = write_imagenet(tmp_path, 12, shards=1)
    file = tmp_path / "splits.json"
    sources.load_splits(sources.Records(labeled), splits_file=file)
    sources.load_splits(sources.Records(labeled), splits_file=file)
    changed = [imagenet(i) for i in range(12)]
    changed[7] = imagenet(7, encoded=encode(8))
    write(tmp_path / "train-00000-of-00001", changed)
    with pytest.raises(ValueError, match="1 images changed .*00001/000007"):
        sources.load_splits(sources.Records(labeled), splits_file=file)


def test_damaged_images_of_small_records_are_found_at_once(tmp_path):
    """Behind a sound begin and end, and with correct checksums of the records."""
    data = encode(1)
    at = data.index(b"IDAT")
    damaged = data[: at - 4] + b"\0\0\0\0IDAT\x35\xaf\x06\x1e" + data[-12:]
    path = write(tmp_path / "shard", [imagenet(0), imagenet(1, encoded=damaged), imagenet(2)])
    with pytest.raises(ValueError, match="not a readable image"):
        records.read_labeled([path])
    assert len(records.read_unlabeled([path], CLASSES)[1]) == 1
