"""Selected sets as records and as an index: the same training."""

import dataclasses
import shutil

import numpy as np
import pytest

from data import pipeline
from data.pipeline import decoded, selected
from data.preprocess import PreprocessSpec
from noisy_student.artifacts import student_set
from noisy_student.selection import write
from tests.helpers.marks import slow_param
from tests.helpers.toy_batches import assert_equal, textured
from tests.helpers.toy_teacher import COUNT, SPEC, label, select, selection, training_batches

LARGE = PreprocessSpec(24)


def labels_in(directory, examples, spec, steps=9, start_step=0, shard=None):
    """All of the batches but the images, whose form is not yet the same."""
    files = student_set.files_of(directory)
    order = pipeline.Order(3, start_step, shard or pipeline.Shard())
    stream = selected.record_batches(pipeline.Selected(files, 12, examples), spec, 5, order).dataset
    names = ("label", "prob", "probabilities", "id_hash", "copy", "pass")
    return [{name: batch[name].numpy() for name in names} for batch in stream.take(steps)]


@pytest.mark.parametrize(
    ("source", "spec", "streaming"),
    [
        slow_param("memory", SPEC, False),
        slow_param("memory", LARGE, True),
        slow_param("files", LARGE, False),
        ("records", SPEC, True),
    ],
    indirect=["source"],
    ids=["memory", "memory-large-streamed", "files-large", "records-streamed"],
)
def test_records_and_index_train_alike(tmp_path, model_path, source, spec, streaming, monkeypatch):
    if streaming:
        monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(selected, "BLOCK_RECORDS", 7)
    label(model_path, source, tmp_path / "labels", store_top_k=3)
    as_records = select(tmp_path / "labels", source)
    as_index = select(tmp_path / "labels", source, index_only=True)
    assert {f.suffix for f in as_index.iterdir()} == {".parquet", ".npy", ".json"}
    assert_equal(training_batches(as_records, None, spec), training_batches(as_index, source, spec))
    found = labels_in(as_records, None, spec)
    assert_equal(found, labels_in(as_index, source, spec))
    assert_equal(found[2:4], labels_in(as_index, source, spec, steps=2, start_step=2))
    half = labels_in(as_index, source, spec, shard=pipeline.Shard(2, 1))
    assert_equal([{name: rows[6:] for name, rows in batch.items()} for batch in found], half)
    assert len({(i, c) for b in found for i, c in zip(b["id_hash"], b["copy"], strict=True)}) > 50


@pytest.mark.slow
@pytest.mark.parametrize("source", ["files"], indirect=True)
@pytest.mark.parametrize("block", [None, 7], ids=["in memory", "streamed"])
def test_images_that_an_index_is_of_are_decoded_once(
    tmp_path, model_path, source, block, monkeypatch
):
    label(model_path, source, tmp_path / "labels")
    chosen = select(tmp_path / "labels", source, index_only=True)
    if block:
        monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
        monkeypatch.setattr(selected, "BLOCK_RECORDS", block)
    expected = training_batches(chosen, source, SPEC)
    cache = decoded.DecodedCache(1 << 20)
    assert_equal(training_batches(chosen, source, SPEC, cache=cache), expected)
    (entry,) = cache.report()["sets"]
    assert (entry["name"], entry["images"], entry["held"]) == ("unlabeled", COUNT, True)
    resumed = training_batches(chosen, source, SPEC, steps=3, start_step=6, cache=cache)
    assert_equal(resumed, expected[6:])
    shutil.rmtree(tmp_path / "images")
    assert_equal(training_batches(chosen, source, SPEC, cache=cache), expected)


@pytest.mark.slow
def test_noise_too_is_the_same(tmp_path, model_path):
    examples = textured(COUNT)
    label(model_path, examples, tmp_path / "labels")
    as_records = select(tmp_path / "labels", examples)
    as_index = select(tmp_path / "labels", examples, index_only=True)
    noisy = [
        training_batches(directory, examples, SPEC, steps=3, noise="randaugment")
        for directory in (as_records, as_index)
    ]
    assert_equal(*noisy)


def test_an_index_is_refused_with_other_images(tmp_path, model_path):
    examples = textured(COUNT)
    label(model_path, examples, tmp_path / "labels")
    directory = select(tmp_path / "labels", examples, index_only=True)
    others = dataclasses.replace(examples, labels=np.roll(examples.labels, 1))
    for given in (others, None):
        with pytest.raises(ValueError, match="index-00000-of-00003.parquet is an index of other"):
            training_batches(directory, given, SPEC)
    with pytest.raises(ValueError, match="other records"):
        write.write_selected(tmp_path / "labels", directory, examples, selection())
