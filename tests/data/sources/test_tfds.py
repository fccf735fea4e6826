import io
import itertools
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import pipeline, sources
from data.preprocess import PreprocessSpec
from data.sources import tfds as tfds_sets
from tests.helpers.toy_folders import class_counts, ids

CIFAR = pathlib.Path(__file__).parents[4] / "shared" / "data" / "tfds"


def test_unknown_and_missing_tfds_sets_are_refused(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(tfds_sets.urllib.request, "urlopen", no_network)
    with pytest.raises(ValueError, match="'no_such_set'"):
        sources.load_splits(sources.Tfds("no_such_set", data_dir=str(tmp_path)))
    with pytest.raises(ValueError, match="'mnist' is not in .* and cannot be downloaded") as error:
        sources.load_splits(sources.Tfds("mnist", data_dir=str(tmp_path)))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="'imagenet2012' is not in .* and cannot be downloaded"):
        sources.load_splits(sources.Tfds("imagenet2012", data_dir=str(tmp_path)))


def write_tfds(
    data_dir, name, version, side, channels, counts, dtype=np.uint8, image=None, secret=()
):
    """Writes a set in the layout of tensorflow-datasets: pixels count up, labels alternate.

    Labels of splits that are secret are -1.
    """
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "image": image
            or tfds.features.Image(
                shape=(side, side, channels), dtype=dtype, encoding_format="png"
            ),
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
                pixels = np.full((side, side, channels), i % 256, dtype)
                label = -1 if split in secret else i % 2
                record = {"image": pixels, "label": label, "id": str(i)}
                writer.write(features.serialize_example(record))
        infos.append(
            tfds.core.SplitInfo(name=split, shard_lengths=[count], num_bytes=path.stat().st_size)
        )
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=infos)


def test_gray_tfds_images_get_three_channels(tmp_path):
    write_tfds(tmp_path, "grays", "1.0.0", 6, 1, {"train": 30})
    splits = sources.load_splits(
        sources.Tfds("grays", data_dir=str(tmp_path)), sources.Draw(num_labeled=4)
    )
    assert splits.info["counts"] == {"test": 6, "validation": 3, "labeled": 4, "unlabeled": 17}
    train = sources.load_examples(sources.Tfds("grays", "train", data_dir=str(tmp_path)))
    assert train.images.shape == (30, 6, 6, 3)
    assert np.all(train.images[17] == 17)
    assert train.labels[:4].tolist() == [0, 1, 0, 1]
    assert train.ids[17] == "grays/train/00017"


@pytest.mark.parametrize(
    ("dtype", "channels", "as_image"),
    [
        (np.float32, 3, False),
        (np.float32, 1, True),
        (np.uint16, 3, True),
        (np.uint16, 1, True),
        (np.int64, 3, False),
        (np.uint8, 4, True),
        (np.uint8, 4, False),
        (np.uint8, 13, False),
        (np.bool_, 1, False),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path, dtype, channels, as_image):
    """Read as bytes, numbers in 0..1 would be black, and of 16 bits the lower eight remain."""
    tfds = pytest.importorskip("tensorflow_datasets")
    shape = (None, None, channels) if as_image else (6, 6, channels)
    if not as_image:
        image = tfds.features.Tensor(shape=shape, dtype=dtype)
    else:
        image = tfds.features.Image(
            shape=shape, dtype=dtype, encoding_format=None if dtype == np.float32 else "png"
        )
    write_tfds(tmp_path, "odd", "1.0.0", 6, channels, {"train": 2}, dtype, image)
    shown = re.escape(f"{np.dtype(dtype)} {shape}: must be uint8")
    with pytest.raises(ValueError, match=rf"tfds:odd has images of {shown}"):
        sources.load_splits(sources.Tfds("odd", data_dir=str(tmp_path)))


def test_the_extra_images_of_svhn_are_unlabeled(tmp_path):
    counts = {"train": 40, "test": 10, "extra": 1500}
    write_tfds(tmp_path, "svhn_cropped", "3.1.0", 32, 3, counts)
    splits = sources.load_splits(
        sources.Tfds("svhn_cropped", data_dir=str(tmp_path)), sources.Draw(num_validation=10)
    )
    assert splits.info["counts"] == {"test": 10, "validation": 10, "labeled": 30, "unlabeled": 1500}
    assert splits.unlabeled.ids[1499] == "svhn_cropped/extra/01499"
    assert np.all(splits.unlabeled.images[1499] == 1499 % 256)
    splits = sources.load_splits(
        sources.Tfds("svhn_cropped", data_dir=str(tmp_path)), sources.Draw(num_labeled=10)
    )
    assert len(splits.unlabeled) == 26 + 1500


@pytest.mark.parametrize("sides", [6, None], ids=["in memory", "on disk"])
def test_secret_labels_are_unknown_and_never_measured(tmp_path, sides):
    tfds = pytest.importorskip("tensorflow_datasets")
    image = tfds.features.Image(shape=(sides, sides, 3), encoding_format="png")
    counts = {"train": 30, "test": 8}
    write_tfds(tmp_path, "secrets", "1.0.0", 6, 3, counts, image=image, secret=("test",))
    place = str(tmp_path)
    options = {"labeled_split": "train[6:]", "test_split": "train[:6]", "unlabeled_split": "test"}
    found = sources.load_splits(sources.Tfds("secrets", data_dir=place, **options))
    assert found.unlabeled.labels.tolist() == [-1] * 8
    assert not found.info["unlabeled_labels_known"]
    for options in ({"test_split": "test"}, {"labeled_split": "test", "test_split": "train"}):
        with pytest.raises(ValueError, match="8 images of split 'test' of tfds:secrets have no"):
            sources.load_splits(sources.Tfds("secrets", data_dir=place, **options))


# Slices.


def test_slices_keep_the_ids_of_their_split(tmp_path):
    write_tfds(tmp_path, "grays", "1.0.0", 6, 1, {"train": 30, "test": 10})
    splits = sources.load_splits(
        sources.Tfds(
            "grays",
            labeled_split="train[10:20]",
            test_split="test[:50%]",
            data_dir=str(tmp_path),
            unlabeled_split="train[20:]",
        ),
        sources.Draw(num_validation=2),
    )
    pool = [f"grays/train/{i:05d}" for i in range(10, 20)]
    assert sorted([*splits.labeled.ids, *splits.validation.ids]) == pool
    assert ids(splits.unlabeled) == [f"grays/train/{i:05d}" for i in range(20, 30)]
    assert splits.unlabeled.images[:, 0, 0, 0].tolist() == list(range(20, 30))
    assert ids(splits.test) == [f"grays/test/{i:05d}" for i in range(5)]
    overlapping = {"labeled_split": "train[14:]", "test_split": "train[:15]"}
    with pytest.raises(ValueError, match="grays/train/00014 is in both 'test' and"):
        sources.load_splits(sources.Tfds("grays", data_dir=str(tmp_path), **overlapping))
    with pytest.raises(ValueError, match=r"no split 'trian\[:3\]'. Valid: .*train"):
        sources.load_splits(
            sources.Tfds("grays", labeled_split="trian[:3]", data_dir=str(tmp_path))
        )


# Images of varying size, as those of ImageNet.


def write_photos(data_dir, counts, with_labels=("train", "validation", "test"), shards=3):
    """Writes a set of JPEG images i % 5 pixels wider than high, split in shards."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=["a", "b"]),
            "file_name": tfds.features.Text(),
        }
    )
    folder = data_dir / "photos" / "1.0.0"
    folder.mkdir(parents=True)
    infos = []
    for split, count in counts.items():
        bounds = np.linspace(0, count, shards + 1).astype(int)
        for shard, (begin, end) in enumerate(itertools.pairwise(bounds)):
            path = folder / f"photos-{split}.tfrecord-{shard:05d}-of-{shards:05d}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for i in range(begin, end):
                    image = np.full((20, 20 + i % 5, 3), 3 * i, np.uint8)
                    label = i % 2 if split in with_labels else -1
                    record = {"image": image, "label": label, "file_name": f"{i}.jpg"}
                    writer.write(features.serialize_example(record))
        lengths = np.diff(bounds).tolist()
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=1))
    tfds.folder_dataset.write_metadata(data_dir=folder, features=features, split_infos=infos)
    return folder


def test_images_of_varying_size_stay_on_disk(tmp_path):
    write_photos(tmp_path, {"train": 40, "validation": 10})
    examples = sources.load_examples(sources.Tfds("photos", "train", data_dir=str(tmp_path)))
    assert isinstance(examples, sources.EncodedExamples)
    assert ids(examples) == [f"photos/train/{i:05d}" for i in range(40)]
    assert examples.labels.tolist() == [0, 1] * 20
    (batch,) = pipeline.evaluation_batches(examples, PreprocessSpec(12), batch_size=40)
    shown = batch["images"].numpy()[:, 5, 5, 0].astype(int)
    assert np.abs(shown - 3 * np.arange(40)).max() <= 1  # JPEG
    size = Image.open(io.BytesIO(examples.encoded(13))).size
    assert size == (20 + 13 % 5, 20)


def test_slices_of_images_on_disk(tmp_path):
    write_photos(tmp_path, {"train": 40, "validation": 10})
    some = sources.load_examples(sources.Tfds("photos", "train[10:30]", data_dir=str(tmp_path)))
    assert ids(some) == [f"photos/train/{i:05d}" for i in range(10, 30)]
    whole = sources.load_examples(sources.Tfds("photos", "train", data_dir=str(tmp_path)))
    assert [some.encoded(i) for i in range(20)] == [whole.encoded(i) for i in range(10, 30)]
    assert some.labels.tolist() == whole.labels[10:30].tolist()
    mixed = "validation[:3]+train[38:]"
    some = sources.load_examples(sources.Tfds("photos", mixed, data_dir=str(tmp_path)))
    assert [name.removeprefix("photos/") for name in some.ids] == [
        *("validation/00000", "validation/00001", "validation/00002"),
        *("train/00038", "train/00039"),
    ]


@pytest.mark.parametrize("secret", [False, True])
def test_validation_images_are_the_test_where_its_labels_are_secret(tmp_path, secret):
    labels = ("train", "validation") if secret else ("train", "validation", "test")
    write_photos(tmp_path, {"train": 40, "validation": 10, "test": 20}, with_labels=labels)
    splits = sources.load_splits(
        sources.Tfds("photos", data_dir=str(tmp_path)), sources.Draw(num_labeled=4)
    )
    expected = {"test": 10 if secret else 20, "validation": 4, "labeled": 4, "unlabeled": 32}
    assert splits.info["counts"] == expected
    assert splits.test.ids[0] == f"photos/{'validation' if secret else 'test'}/00000"


def test_sets_too_large_for_memory_stay_on_disk(tmp_path, monkeypatch):
    write_tfds(tmp_path, "grays", "1.0.0", 6, 1, {"train": 30})
    monkeypatch.setattr(tfds_sets, "MEMORY_BYTES", 30 * 6 * 6 * 3)
    loaded = sources.load_examples(sources.Tfds("grays", "train", data_dir=str(tmp_path)))
    monkeypatch.setattr(tfds_sets, "MEMORY_BYTES", 30 * 6 * 6 * 3 - 1)
    indexed = sources.load_examples(sources.Tfds("grays", "train", data_dir=str(tmp_path)))
    assert isinstance(loaded, sources.DecodedExamples)
    assert isinstance(indexed, sources.EncodedExamples)
    assert indexed.fingerprint() == loaded.fingerprint()
    spec = PreprocessSpec(6, small_image=True)
    (first,), (second,) = (
        pipeline.evaluation_batches(each, spec, batch_size=30) for each in (loaded, indexed)
    )
    np.testing.assert_array_equal(first["images"], second["images"])


def test_corrupt_shards_are_named(tmp_path):
    folder = write_photos(tmp_path, {"train": 40})
    shard = folder / "photos-train.tfrecord-00001-of-00003"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(ValueError, match="00001-of-00003 is cut short after 12 records"):
        sources.load_examples(sources.Tfds("photos", "train", data_dir=str(tmp_path)))


@pytest.mark.skipif(not CIFAR.is_dir(), reason=f"no data in {CIFAR}")
def test_cifar10():
    test = sources.load_examples(sources.Tfds("cifar10", "test", data_dir=str(CIFAR)))
    assert test.images.shape == (10_000, 32, 32, 3)
    assert class_counts(test) == dict.fromkeys(range(10), 1000)
    assert ids(test)[::9999] == ["cifar10/test/00000", "cifar10/test/09999"]
    assert test.class_names[3] == "cat"
    assert 100 < test.images.mean() < 140
    with pytest.raises(ValueError, match="no split 'extra'. Valid: .*train"):
        sources.load_examples(sources.Tfds("cifar10", "extra", data_dir=str(CIFAR)))
