"""`Data`: the options it stands for, and what is read of tf.data."""

import numpy as np
import pytest
import tensorflow as tf

import noisy_student as ns

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(6) % 2


def pairs():
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))


def test_folders_and_sets_are_options():
    data = ns.Data.from_folders("a", unlabeled="b", test="c", num_validation=7)
    expected = {"dataset": "folder", "labeled_dir": "a", "unlabeled_dir": "b", "test_dir": "c"}
    assert data.options == {**expected, "num_validation": 7} and data.source is None
    assert eval(repr(data), {"ns": ns}).options == data.options
    data = ns.Data.from_tfds("cifar10", num_labeled=4000)
    assert data.options == {"dataset": "tfds:cifar10", "num_labeled": 4000}
    assert repr(data) == "ns.Data.from_tfds('cifar10', num_labeled=4000)"


def test_options_are_checked_at_once():
    with pytest.raises(ValueError, match="--num_labelled: .* Did you mean --num_labeled?"):
        ns.Data.from_folders("a", num_labelled=3)
    with pytest.raises(ValueError, match="--num_labeled=-1: must be a whole number at least 0"):
        ns.Data.from_tfds("cifar10", num_labeled=-1)
    with pytest.raises(ValueError, match="--magnitude: no such option"):
        ns.Data.from_folders("a", magnitude=3)


def test_tf_data_is_read_like_arrays():
    read = ns.Data.from_datasets(
        pairs(), unlabeled=pairs().map(lambda image, _: image), test=pairs(), class_names="ab"
    )
    given = ns.Data.from_arrays(
        IMAGES, LABELS, unlabeled=IMAGES, test=(IMAGES, LABELS), class_names="ab"
    )
    assert read.source.request() == given.source.request()
    assert read.source.unlabeled.labels.tolist() == [-1] * 6
    assert "6 images of 4x5, digest" in repr(read)
    with_labels = ns.Data.from_datasets(pairs(), unlabeled=pairs(), class_names="ab")
    assert with_labels.source.unlabeled.ids.tolist() == read.source.unlabeled.ids.tolist()


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        (IMAGES, "labeled must be a tf.data.Dataset, not ndarray"),
        (pairs().batch(2), r"of the shape \(None, 5, 4, 3\).*labeled.unbatch\(\)"),
        (pairs().repeat(), "labeled is infinite"),
        (pairs().map(lambda image, _: image), r"must have elements \(image, label\)"),
        (
            pairs().map(lambda i, y: {"image": i, "label": y}),
            r"must have elements \(image, label\)",
        ),
        (pairs().take(0), "labeled is empty"),
        (
            pairs().map(lambda image, y: (image[: tf.cast(y, tf.int32) + 1], y)),
            r"images of \(1, 4, 3\) and \(2, 4, 3\)",
        ),
        (pairs().map(lambda image, y: (tf.cast(image, tf.float32), y)), r"must be in 0\.\.1"),
        (pairs().map(lambda image, y: (image, tf.cast(y, tf.float32))), "must be integers"),
    ],
)
def test_other_tf_data_is_refused(dataset, problem):
    with pytest.raises(ValueError, match=problem):
        ns.Data.from_datasets(dataset)


def test_an_error_of_a_generator_is_one_line():
    def rows():
        yield IMAGES[0], 0
        raise OSError("the share is gone")

    signature = (tf.TensorSpec((5, 4, 3), tf.uint8), tf.TensorSpec((), tf.int32))
    dataset = tf.data.Dataset.from_generator(rows, output_signature=signature)
    with pytest.raises(ValueError, match="labeled cannot be read: OSError: the share is") as error:
        ns.Data.from_datasets(dataset)
    assert "\n" not in str(error.value)


def test_a_set_too_large_for_memory_is_refused(monkeypatch):
    monkeypatch.setattr("noisy_student.api.images.MEMORY_BYTES", IMAGES.nbytes - 1)
    with pytest.raises(ValueError, match="labeled does not fit into 0 GiB"):
        ns.Data.from_datasets(pairs())
