"""Digests of images on disk."""

import shutil

from data import sources
from data.sources import digests
from tests.helpers.toy_folders import parts, write_classes


def test_stored_splits_know_their_content_without_reading_the_images_again(tmp_path):
    folder = tmp_path / "images"
    source = sources.Folder(write_classes(folder, {"a": 8, "b": 8}))
    draw = sources.Draw(num_validation=2)
    expected = digests.contents(**parts(sources.load_splits(source, draw)))
    stored = sources.load_splits(source, draw, tmp_path / "splits.json")
    shutil.rmtree(folder)
    assert digests.contents(**parts(stored)) == expected
    assert set(expected) == {"labeled", "validation", "test"}
    assert len(set(expected.values())) == 3
