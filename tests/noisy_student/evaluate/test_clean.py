"""Accuracy on clean images, beside plain loops over single images."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from data.robustness_sets import CIFAR10_CLASSES
from noisy_student.metrics import per_image
from tests.helpers import tiny_evaluation as tiny


def test_clean(model, examples, tmp_path):
    result = tiny.run(model, examples, tmp_path, tiny.settings("clean"))["clean"]
    logits = tiny.logits_one_by_one(examples.images)
    right = [row.argmax() == label for row, label in zip(logits, examples.labels, strict=True)]
    assert result["top1"] == pytest.approx(100 * sum(right) / 10)
    ranks = [(row > row[label]).sum() for row, label in zip(logits, examples.labels, strict=True)]
    assert result["top5"] == pytest.approx(100 * np.mean(np.array(ranks) < 5))
    np.testing.assert_array_equal(per_image.shares(result["by_image"]["top1"]), ~np.array(right))
    matrix = np.zeros([10, 10], int)
    np.add.at(matrix, (examples.labels, [row.argmax() for row in logits]), 1)
    assert result["by_class"]["confusion"] == matrix.tolist()
    assert result["by_class"]["names"] == list(examples.class_names)


def test_float_pixels_are_not_truncated(tmp_path):
    """Confidences are those of the resized floats; other benchmarks take them, too."""
    path = tiny.save_models(tmp_path)["wnids"]
    examples = dataclasses.replace(tiny.examples(6), images=tiny.pictures(6, 100))
    chosen = tiny.settings("clean", "fgsm", "corruptions", corruptions=("fog",), severities=(1,))
    results, confidences = {}, {}
    for pixels in (None, "float32", "uint8"):
        settings = dataclasses.replace(chosen, pixels=pixels)
        results[pixels] = tiny.run(path, examples, tmp_path / f"{pixels}", settings)
        confidences[pixels] = np.load(tmp_path / f"{pixels}/predictions.npz")["confidences"]
    center = examples.images[:, 25:75, 25:75].astype(np.float32)  # 32 / 64 of 100 pixels
    floats = tf.raw_ops.ResizeBicubic(images=center, size=[32, 32]).numpy()
    for pixels, images in (("float32", floats), ("uint8", np.clip(np.floor(floats), 0, 255))):
        expected = tf.nn.softmax(tiny.logits_one_by_one(images)).numpy().max(1)
        np.testing.assert_allclose(confidences[pixels], expected, rtol=1e-5)
    assert np.abs(confidences["float32"] - confidences["uint8"]).max() > 1e-3
    np.testing.assert_array_equal(confidences[None], confidences["uint8"])
    requests = {pixels: found["clean"]["request"] for pixels, found in results.items()}
    assert requests["float32"] == requests[None] | {"pixels": "float32"}
    assert requests["uint8"] == requests[None]
    errors = [results[pixels]["corruptions"]["errors"] for pixels in (None, "float32")]
    assert errors[0] == errors[1]  # made from uint8 images


def test_a_model_of_more_classes_and_test_images_of_fewer(tmp_path):
    path = tiny.save_models(tmp_path)["cifar10"]
    made = tiny.examples(12)
    few = ("cat", "ship", "dog")
    examples = dataclasses.replace(made, labels=made.labels % 3, class_names=few)
    result = tiny.run(path, examples, tmp_path / "out", tiny.settings("clean"))["clean"]
    columns = [CIFAR10_CLASSES.index(name) for name in few]
    guesses = tiny.logits_one_by_one(examples.images)[:, columns].argmax(1)
    assert result["top1"] == pytest.approx(100 * np.mean(guesses == examples.labels))
