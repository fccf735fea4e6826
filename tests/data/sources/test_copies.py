"""Warnings of copies among the splits, and of classes whose names look alike."""

import shutil

import numpy as np
import pytest
from PIL import Image

from data import sources

RNG = np.random.default_rng(0)


def write(root, classes, count=6):
    """Writes different images into class folders; returns the folder."""
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return str(root)


def warnings(tmp_path, draw=None, **places):
    """Returns the warnings of a run on folders."""
    source = sources.Folder(**places)
    return sources.load_splits(source, draw or sources.Draw(), tmp_path / "splits.json").info[
        "warnings"
    ]


def test_copies_of_test_images_are_counted(tmp_path):
    labeled, test = write(tmp_path / "labeled", "ab"), write(tmp_path / "test", "ab")
    places = {"labeled_dir": labeled, "test_dir": test}
    draw = sources.Draw(num_validation=0)
    assert warnings(tmp_path, draw, **places) == []
    (tmp_path / "splits.json").unlink()
    for number in range(3):
        shutil.copy(
            tmp_path / "test" / "a" / f"{number}.png", tmp_path / "labeled" / "a" / f"c{number}.png"
        )
    unlabeled = tmp_path / "unlabeled"
    unlabeled.mkdir()
    shutil.copy(tmp_path / "test" / "b" / "0.png", unlabeled / "copy.png")
    shutil.copy(tmp_path / "labeled" / "a" / "0.png", unlabeled / "allowed.png")
    draw = sources.Draw(num_validation=0, unlabeled=sources.UnlabeledFolder(str(unlabeled)))
    first, second = warnings(tmp_path, draw, **places)
    assert first.startswith(
        "3 of the labeled images are copies of test images, such as folder/a/c0"
    )
    assert second.startswith("1 of the unlabeled images are copies of test images")
    assert "such as unlabeled/copy.png of test/b/0" in second


def test_copies_with_another_label_are_counted(tmp_path):
    labeled, test = write(tmp_path / "labeled", "ab"), write(tmp_path / "test", "ab")
    shutil.copy(tmp_path / "labeled" / "a" / "0.png", tmp_path / "labeled" / "b" / "copy.png")
    found = warnings(tmp_path, sources.Draw(num_validation=0), labeled_dir=labeled, test_dir=test)
    assert found == [
        "1 of the labeled images have a different label than a copy, such as "
        "folder/b/copy.png (b) and folder/a/0.png (a)."
    ]


def test_arrays_are_compared_by_their_pixels():
    images = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    labels = np.arange(12) % 3
    data = sources.from_arrays((images, labels), test=(images[3:6], labels[3:6]))
    (found,) = sources.load_splits(data, sources.Draw(num_validation=0)).info["warnings"]
    assert found.startswith("3 of the labeled images are copies of test images, such as labeled/0")


@pytest.mark.parametrize(
    "names", [("Cat", "cat"), ("cat", "cat "), ("cat", "cat\u200b"), ("fi", "\ufb01")]
)
def test_classes_that_look_alike_are_named(tmp_path, names):
    labeled, test = (write(tmp_path / n, (*names, "dog")) for n in ("labeled", "test"))
    found = warnings(tmp_path, sources.Draw(num_validation=0), labeled_dir=labeled, test_dir=test)
    assert found == [
        "Classes differ only in case, spaces or invisible characters: "
        f"{names[0]!r}, {names[1]!r}. Should they be one class?"
    ]
