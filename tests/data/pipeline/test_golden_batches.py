"""Batches are the bytes they have always been: order, seeds and crops (whole-number operations)."""

import hashlib

import numpy as np
import pytest

from data import pipeline
from data.pipeline import Augmentation, selected, selected_index
from tests.helpers import toy_batches as toy

CROP = Augmentation("crop", cutout=True)


def digest(batches):
    """A hash of the names, types and bytes of all columns."""
    found = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for name in sorted(batch):
            column = np.asarray(batch[name])
            found.update(f"{name} {column.dtype} {column.shape}".encode())
            found.update(column.tobytes())
    return found.hexdigest()


def write_index(folder, source, copies=2):
    rows = np.zeros(
        len(source) * copies,
        [
            *(("index", np.int64), ("copy", np.int32), ("label", np.int32), ("prob", np.float32)),
            ("probabilities", np.float32, toy.CLASSES),
        ],
    )
    rows["index"], rows["copy"] = np.divmod(np.arange(len(rows)), copies)
    rows["probabilities"][:, 0] = 0.5
    rows["probabilities"][np.arange(len(rows)), 1 + rows["index"] % 4] = 0.5
    card = {"num_classes": toy.CLASSES, "examples": source.fingerprint(), "image_bytes": 1}
    return selected_index.write_shards(iter([rows[:17], rows[17:]]), folder, len(rows), 3, card)


def labeled(tmp_path, monkeypatch):
    return toy.batches(toy.textured(30), 9, noise=CROP)


def files_of_a_host(tmp_path, monkeypatch):
    source = toy.as_files(toy.textured(30), tmp_path / "files")
    return toy.batches(source, 6, noise=CROP, start_step=5, num_shards=2, shard_index=1)


def records(tmp_path, monkeypatch):
    files = toy.write_records(tmp_path, toy.textured(20), copies=2, shards=3)
    arguments = {"selected_files": files, "unlabeled_batch_size": 6, "clean_spec": toy.SMALL}
    return toy.batches(toy.textured(30), 9, noise=CROP, **arguments)


def streamed_records(tmp_path, monkeypatch):
    monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
    return records(tmp_path, monkeypatch)


def index(tmp_path, monkeypatch):
    source = toy.textured(20)
    files = write_index(tmp_path, source)
    arguments = {"selected_files": files, "unlabeled_batch_size": 6, "selected_examples": source}
    return toy.batches(toy.textured(30), 9, noise=CROP, **arguments)


def streamed_index(tmp_path, monkeypatch):
    monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
    return index(tmp_path, monkeypatch)


def evaluation(tmp_path, monkeypatch):
    return list(pipeline.evaluation_batches(toy.textured(21, side=12), toy.SMALL, batch_size=8))


def noised_evaluation(tmp_path, monkeypatch):
    return list(
        pipeline.evaluation_batches(
            toy.textured(21), toy.SMALL, batch_size=8, augmentation=CROP, seed=3
        )
    )


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (labeled, "a2101a28597d632c"),
        (files_of_a_host, "1950cfa4095c94be"),
        (records, "745172c6e3f20f1b"),
        (streamed_records, "53930b5b2b2dbe49"),
        (index, "38fee904a72e772d"),
        (streamed_index, "9887e3b1963ab5e6"),
        (evaluation, "e1abb653a175e37f"),
        (noised_evaluation, "335c57e93fb9b461"),
    ],
)
def test_batches_keep_their_bytes(tmp_path, monkeypatch, make, expected):
    assert digest(make(tmp_path, monkeypatch)) == expected
