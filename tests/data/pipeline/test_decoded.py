"""What is decoded once: the same batches, whole sets or none, and no decoding afterwards."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import pipeline, preprocess, record_schema
from data.pipeline import selected, table
from data.pipeline.decoded import DecodedCache, Request
from data.sources import folders, records
from tests.helpers import toy_batches as toy
from tests.helpers.marks import slow_param

pytestmark = pytest.mark.usefixtures("quick_operations")

MIB = 1 << 20
IMAGE = 16 * 16 * 3  # bytes of one of toy.SMALL's images
SIZES = ((16, 16), (10, 14), (30, 20), (9, 40))


def mixed_files(folder, count):
    """Image files of several sizes and kinds, gray ones among them."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    paths = []
    for i in range(count):
        height, width = SIZES[i % len(SIZES)]
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
        paths.append(str(folder / f"{i}.{'png' if i % 3 else 'jpg'}"))
        (image if i % 5 else image.convert("L")).save(paths[-1])
    return toy.of_files(toy.examples(count), paths)


def as_source_records(source, folder):
    """The images as unlabeled TFRecords, indexed where they lie, with the labels they had."""
    one_hot = np.eye(toy.CLASSES, dtype=np.float32)[0]
    rows = [
        record_schema.serialize(source.encoded(i), 0, 1.0, one_hot, source.ids[i])
        for i in range(len(source))
    ]
    record_schema.write_shards(rows, folder, len(rows), 2)
    found = records.read_unlabeled([str(folder)], source.class_names)[0]
    return dataclasses.replace(source, files=found.files, offsets=found.offsets)


def source_of(kind, tmp_path):
    files = mixed_files(tmp_path / "images", 30)
    return files if kind == "files" else as_source_records(files, tmp_path / "source")


def held(cache):
    return {entry["name"]: entry["held"] for entry in cache.report()["sets"]}


@pytest.mark.parametrize("kind", ["files", slow_param("records")])
@pytest.mark.parametrize(
    ("spec", "noise"), [(toy.SMALL, toy.NOISE), slow_param(toy.LARGE, toy.NONE)]
)
def test_the_cache_changes_no_batch(tmp_path, kind, spec, noise):
    source = source_of(kind, tmp_path)
    arguments = {
        "spec": spec,
        "noise": noise,
        "selected_files": toy.write_records(tmp_path / "selected", toy.textured(20), copies=2),
        "unlabeled_batch_size": 6,
    }
    expected = toy.batches(source, 12, **arguments)  # three passes, ending within one
    cache = DecodedCache(MIB)
    toy.assert_equal(toy.batches(source, 12, cache=cache, **arguments), expected)
    assert held(cache) == {"labeled": True, "selected": True}
    resumed = toy.batches(source, 4, start_step=8, cache=DecodedCache(MIB), **arguments)
    toy.assert_equal(resumed, expected[8:])
    host = toy.batches(source, 12, num_shards=2, shard_index=1, cache=cache, **arguments)
    toy.assert_equal(host, [{k: v[len(v) // 2 :] for k, v in batch.items()} for batch in expected])


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 5])
def test_the_number_of_parallel_calls_changes_nothing(tmp_path, monkeypatch, calls):
    source = source_of("records", tmp_path)
    files = toy.write_records(tmp_path / "selected", toy.textured(20), shards=3)
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    expected = toy.batches(source, 8, **arguments)
    monkeypatch.setattr(preprocess, "PARALLEL", calls)
    monkeypatch.setattr(tf.data, "AUTOTUNE", calls)
    toy.assert_equal(toy.batches(source, 8, cache=DecodedCache(MIB), **arguments), expected)


@pytest.mark.slow
def test_clean_copies_are_the_same(tmp_path):
    source = mixed_files(tmp_path / "images", 8)
    files = toy.write_records(tmp_path / "selected", toy.textured(20))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6, "clean_spec": toy.SMALL}
    expected = toy.batches(source, 4, **arguments)
    toy.assert_equal(toy.batches(source, 4, cache=DecodedCache(MIB), **arguments), expected)


@pytest.mark.slow
def test_clean_copies_of_another_size_need_the_originals(tmp_path):
    source = mixed_files(tmp_path / "images", 8)
    files = toy.write_records(tmp_path / "selected", toy.textured(20))
    arguments = {
        "spec": toy.LARGE,
        "noise": toy.NONE,
        "selected_files": files,
        "unlabeled_batch_size": 6,
    }
    arguments["clean_spec"] = preprocess.PreprocessSpec(40)
    cache = DecodedCache(MIB)
    toy.assert_equal(
        toy.batches(source, 3, cache=cache, **arguments), toy.batches(source, 3, **arguments)
    )
    assert held(cache) == {"labeled": True}


def test_selected_records_in_memory_are_held_decoded_in_place_of_encoded(tmp_path):
    files = toy.write_records(tmp_path / "selected", toy.textured(20))
    records_read, order = pipeline.Selected(files, 6), pipeline.Order(seed=3)
    for cache, there, missing in (
        (DecodedCache(20 * IMAGE), "images", "encoded"),
        (DecodedCache(20 * IMAGE - 1), "encoded", "images"),
        (None, "encoded", "images"),
    ):
        stream = selected.record_batches(records_read, toy.SMALL, toy.CLASSES, order, cache)
        assert there in stream.dataset.element_spec
        assert missing not in stream.dataset.element_spec
        assert (stream.read is None) == (there == "images")


@pytest.mark.parametrize("kind", ["files", slow_param("records")])
def test_nothing_is_decoded_after_the_first_time(tmp_path, kind):
    """Neither in training nor in evaluation, however often: the files are gone."""
    source = source_of(kind, tmp_path)
    selected_dir = tmp_path / "selected"
    files = toy.write_records(selected_dir, toy.textured(20))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    clean = {"batch_size": 7, "name": "validation"}
    expected = list(toy.stream(source, **arguments).take(12))
    shown = list(pipeline.evaluation_batches(source, toy.LARGE, **clean))
    cache = DecodedCache(MIB)
    training = toy.stream(source, cache=cache, **arguments)
    evaluation = pipeline.evaluation_batches(source, toy.LARGE, cache=cache, **clean)
    for folder in ("images", "source", "selected"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    toy.assert_equal(list(training.take(12)), expected)
    for _ in range(3):
        toy.assert_equal(list(evaluation), shown)
    again = pipeline.evaluation_batches(source, toy.LARGE, cache=cache, **clean)
    toy.assert_equal(list(again), shown)
    assert held(cache) == {"labeled": True, "selected": True, "validation": True}
    with pytest.raises(tf.errors.NotFoundError):
        list(pipeline.evaluation_batches(source, toy.LARGE, **clean))


def test_held_images_are_fitted_originals(tmp_path):
    source = mixed_files(tmp_path / "images", 12)
    cache = DecodedCache(MIB)
    columns = table.image_table(source, toy.SMALL, cache, "unlabeled").columns
    assert "file" not in columns
    for index, image in enumerate(columns["images"].numpy()):
        original = preprocess.decode_image(tf.constant(source.encoded(index)))
        np.testing.assert_array_equal(image, preprocess.fit_small(original, 16))


def test_a_set_is_held_whole_or_not_at_all(tmp_path):
    source = mixed_files(tmp_path / "images", 10)
    exactly, less = DecodedCache(10 * IMAGE), DecodedCache(10 * IMAGE - 1)
    expected = toy.batches(source, 4)
    for cache in (exactly, less):
        toy.assert_equal(toy.batches(source, 4, cache=cache), expected)
    assert (held(exactly), held(less)) == ({"labeled": True}, {"labeled": False})
    assert set(table.image_table(source, toy.SMALL, less).columns) == {"file"}
    assert set(table.image_table(source, toy.SMALL, exactly).columns) == {"images"}


def unasked():
    raise AssertionError("Images that do not fit are not touched.")


def test_the_budget_is_that_of_all_sets_together():
    def images(count):
        return tf.data.Dataset.from_tensor_slices(toy.textured(count).images)

    cache = DecodedCache(12 * IMAGE)

    def hold(name, key, count, make):
        return cache.hold(Request(name, key, count, 16, make))

    first = hold("labeled", "a", 8, lambda: images(8))
    np.testing.assert_array_equal(first, toy.textured(8).images)
    assert hold("selected", "b", 300_000_000, unasked) is None
    assert hold("unlabeled", "c", 5, unasked) is None
    assert hold("validation", "d", 4, lambda: images(4)) is not None
    assert hold("labeled", "a", 8, unasked) is first
    assert hold("selected", "b", 300_000_000, unasked) is None
    assert [(entry["name"], entry["held"]) for entry in cache.report()["sets"]] == [
        ("labeled", True),
        ("selected", False),
        ("unlabeled", False),
        ("validation", True),
    ]
    assert cache.describe() == (
        "decoded once: 8 labeled images (0.0 MiB), 4 validation images (0.0 MiB); decoded in every "
        "pass: 300,000,000 selected images (219,726.6 MiB), 5 unlabeled images (0.0 MiB)"
    )


def test_a_budget_of_nothing_is_off(tmp_path):
    source = mixed_files(tmp_path / "images", 10)
    cache = DecodedCache(0)
    toy.assert_equal(toy.batches(source, 3, cache=cache), toy.batches(source, 3))
    assert (cache.report(), cache.describe()) == ({"budget_mib": 0, "sets": []}, "")
    with pytest.raises(ValueError, match="cannot have -1 bytes"):
        DecodedCache(-1)


@pytest.mark.slow
def test_random_crops_take_the_originals(tmp_path):
    """Also where these are all of one size, and small."""
    source = toy.as_files(toy.textured(12), tmp_path / "images")
    files = toy.write_records(tmp_path / "selected", toy.textured(12))
    arguments = {"spec": toy.LARGE, "selected_files": files, "unlabeled_batch_size": 6}
    cache = DecodedCache(MIB)
    toy.assert_equal(
        toy.batches(source, 4, cache=cache, **arguments), toy.batches(source, 4, **arguments)
    )
    list(
        pipeline.evaluation_batches(
            source, toy.LARGE, batch_size=4, augmentation=toy.NOISE, cache=cache
        )
    )
    assert held(cache) == {}


@pytest.mark.slow
def test_streamed_records_are_not_asked_for(tmp_path, streaming):
    files = toy.write_records(tmp_path / "selected", toy.textured(30))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    cache = DecodedCache(MIB)
    expected = toy.batches(toy.textured(10), 6, **arguments)
    toy.assert_equal(toy.batches(toy.textured(10), 6, cache=cache, **arguments), expected)
    assert held(cache) == {}  # images in memory are no question either


def test_an_undecodable_image_is_named(tmp_path):
    source = mixed_files(tmp_path / "images", 10)
    with open(source.files[6], "wb") as file:
        file.write(b"GIF89a, or so it says")
    with pytest.raises(ValueError, match=r"images/6.jpg: cannot be decoded"):
        toy.batches(source, 1, cache=DecodedCache(MIB))
    folder = tmp_path / "labeled"
    for name in "ab":
        (folder / name).mkdir(parents=True)
        shutil.copy(source.files[0], folder / name / "0.jpg")
    shutil.copy(source.files[6], folder / "b" / "1.jpg")
    with pytest.raises(ValueError, match="b/1.jpg is not a readable image"):
        folders.read_labeled(str(folder))


def test_damaged_unlabeled_images_are_skipped_before_the_cache_sees_them(tmp_path):
    mixed_files(tmp_path / "images", 10)
    (tmp_path / "images" / "6.jpg").write_bytes(b"GIF89a, or so it says")
    found, skipped = folders.read_unlabeled(str(tmp_path / "images"), ("a",))
    assert skipped == [str(tmp_path / "images" / "6.jpg")]
    cache = DecodedCache(MIB)
    columns = table.image_table(found, toy.SMALL, cache, "unlabeled").columns
    assert columns["images"].shape == (9, 16, 16, 3)


def test_an_undecodable_record_is_named(tmp_path):
    one_hot = np.eye(toy.CLASSES, dtype=np.float32)[0]
    encoded = [toy.textured(9).encoded(i) for i in range(9)]
    encoded[7] = b"no image"
    rows = [record_schema.serialize(e, 0, 1.0, one_hot, f"x/{i}") for i, e in enumerate(encoded)]
    files = record_schema.write_shards(rows, tmp_path, 9, 2)
    arguments = {"selected_files": files, "unlabeled_batch_size": 3}
    with pytest.raises(ValueError, match=r"00001-of-00002.tfrecord, record 3: cannot be decoded"):
        toy.batches(toy.textured(9), 1, cache=DecodedCache(MIB), **arguments)
