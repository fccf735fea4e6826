"""Images in memory: accepted forms, refusals, ids, and splits that know their arrays."""

import numpy as np
import PIL.Image
import pytest

from data import sources

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (IMAGES, IMAGES),
        (IMAGES / 255, IMAGES),
        ((IMAGES / 255).astype(np.float32), IMAGES),
        (IMAGES[..., :1], np.repeat(IMAGES[..., :1], 3, axis=-1)),
        (IMAGES[..., 0], np.repeat(IMAGES[..., :1], 3, axis=-1)),
    ],
)
def test_images_become_rgb_bytes(given, expected):
    labeled = sources.from_arrays((given, LABELS.reshape(-1, 1))).labeled
    np.testing.assert_array_equal(labeled.images, expected)
    assert labeled.labels.dtype == np.int32 and labeled.labels.tolist() == LABELS.tolist()
    assert labeled.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("images", "labels", "problem"),
    [
        (IMAGES[0, 0], LABELS, r"labeled images has the shape \[4, 3\]"),
        (IMAGES[..., :2], LABELS, r"\[12, 5, 4, 2\]"),
        (IMAGES[0], LABELS[:5], r"\[5, 4, 3\], that of one RGB image"),
        ((IMAGES > 100).astype(np.uint8), LABELS, "only 0 and 1"),
        (IMAGES / 255 / 255, LABELS, "only reaches 0.0039.*divided by 255 twice"),
        ([PIL.Image.fromarray(IMAGES[0]).convert("P")], LABELS[:1], r"mode P, .*convert\('RGB'\)"),
        ([PIL.Image.fromarray(IMAGES[0]).convert("HSV")], LABELS[:1], "mode HSV"),
        (IMAGES[:0], LABELS[:0], "at least one image"),
        (IMAGES.astype(float), LABELS, "from 0 to 255: float64 images must be in 0..1"),
        (IMAGES / 255 - 0.5, LABELS, "from -0.5 to 0.5"),
        (np.where(IMAGES > 100, np.nan, 0.5), LABELS, "from nan to nan"),
        (IMAGES.astype(np.int64), LABELS, "type int64"),
        ([IMAGES[0], IMAGES[0, :2]], LABELS[:2], "labeled images is not an array"),
        (IMAGES, LABELS.astype(float), "labeled labels has the type float64"),
        (IMAGES, list("abcabcabcabc"), "type <U1: .*integers; for names, give np.unique"),
        (IMAGES, np.eye(3)[LABELS], r"\[12, 3\].*argmax"),
        (IMAGES, LABELS[:-1], "11 labels for 12 images"),
        (IMAGES, LABELS - 1, r"label -1; valid: 0\.\.1"),
        (IMAGES, LABELS + 100, r"up to 102, .*\(12\)"),
    ],
)
def test_other_arrays_are_refused(images, labels, problem):
    with pytest.raises(ValueError, match=problem):
        sources.from_arrays((images, labels))


def test_labels_must_be_of_the_named_classes():
    named = sources.from_arrays((IMAGES, LABELS), class_names="abcd")
    assert named.labeled.class_names == tuple("abcd")
    with pytest.raises(ValueError, match=r"test labels has the label 2; valid: 0\.\.1"):
        sources.from_arrays((IMAGES, LABELS % 2), test=(IMAGES, LABELS))
    with pytest.raises(ValueError, match="duplicates"):
        sources.from_arrays((IMAGES, LABELS), class_names="aba")
    with pytest.raises(ValueError, match="test must be a pair"):
        sources.from_arrays((IMAGES, LABELS), test=IMAGES)


def test_ids_tell_place_and_content():
    same, other = IMAGES.copy(), IMAGES.copy()
    other[5, 0, 0, 0] ^= 1
    ids, again, changed = (
        sources.from_arrays((images, LABELS)).labeled.ids for images in (IMAGES, same, other)
    )
    assert ids.tolist() == again.tolist() and len(set(ids)) == 12
    assert np.flatnonzero(ids != changed).tolist() == [5]
    relabeled = sources.from_arrays((IMAGES, np.roll(LABELS, 1))).labeled.ids
    assert not np.any(relabeled == ids)


def test_splits_are_drawn_once_and_know_their_arrays(tmp_path):
    def load(images, **others):
        source = sources.from_arrays((images, LABELS), **others)
        return sources.load_splits(source, sources.Draw(num_validation=3), tmp_path / "splits.json")

    first, again = (load(IMAGES, unlabeled=IMAGES[:4], test=(IMAGES, LABELS)) for _ in range(2))
    sizes = {name: len(getattr(first, name)) for name in ("labeled", "validation", "unlabeled")}
    assert sizes == {"labeled": 9, "validation": 3, "unlabeled": 4} and len(first.test) == 12
    assert first.unlabeled.labels.tolist() == [-1] * 4
    for name in ("labeled", "validation", "unlabeled", "test"):
        np.testing.assert_array_equal(getattr(first, name).images, getattr(again, name).images)
        assert getattr(first, name).ids.tolist() == getattr(again, name).ids.tolist()
    with pytest.raises(ValueError, match="unlabeled_array: stored '4 images of 4x5, digest"):
        load(IMAGES, unlabeled=IMAGES[1:5], test=(IMAGES, LABELS))
    with pytest.raises(ValueError, match="labeled_array: stored"):
        load(255 - IMAGES, unlabeled=IMAGES[:4], test=(IMAGES, LABELS))
    with pytest.raises(ValueError, match="test_array: stored.*requested None"):
        load(IMAGES, unlabeled=IMAGES[:4])


def test_without_test_images_a_fifth_is_held_out():
    pool = np.concatenate([IMAGES] * 5)
    splits = sources.load_splits(
        sources.from_arrays((pool, np.tile(LABELS, 5))), sources.Draw(num_labeled=20)
    )
    assert (len(splits.test), len(splits.validation)) == (12, 6)
    assert (len(splits.labeled), len(splits.unlabeled)) == (20, 22)
    assert np.bincount(splits.labeled.labels).max() - np.bincount(splits.labeled.labels).min() <= 1
    fixed = sources.from_arrays((pool, np.tile(LABELS, 5)), validation=(IMAGES, LABELS))
    with pytest.raises(ValueError, match="validation images or num_validation"):
        sources.load_splits(fixed, sources.Draw(num_validation=3))
    assert len(sources.load_splits(fixed).validation) == 12


@pytest.mark.parametrize("place", ["labeled_dir", "test_split", "unlabeled_dir"])
def test_options_that_name_other_images_are_refused(place):
    source = sources.from_arrays((IMAGES, LABELS))
    with pytest.raises(ValueError, match=f"{place} 'x' only works with dataset"):
        sources.from_options({"dataset": "arrays", place: "x"}, source)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"dog": 1, "cat": 0, "ant": 2}, "class_names is a dict: give a list"),
        ({"cat", "dog", "ant"}, "class_names is a set"),
        ("cat,dog,ant", "class_names is a str"),
        (["cat", "", "ant"], "empty name"),
        (["\u00e9", "e\u0301", "ant"], "duplicates"),  # one letter in two forms
    ],
)
def test_names_without_a_certain_order_are_refused(names, problem):
    with pytest.raises(ValueError, match=problem):
        sources.from_arrays((IMAGES, LABELS), class_names=names)


def test_images_do_not_follow_the_callers_array():
    given = IMAGES.copy()
    data = sources.from_arrays((given, LABELS), unlabeled=given[2:])
    given[:] = 0
    np.testing.assert_array_equal(data.labeled.images, IMAGES)
    np.testing.assert_array_equal(data.unlabeled.images, IMAGES[2:])
