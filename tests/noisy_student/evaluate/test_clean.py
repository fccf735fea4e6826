"""Accuracy on clean images, beside plain loops over single images."""

import dataclasses

import numpy as np
import pytest

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


def test_a_model_of_more_classes_and_test_images_of_fewer(tmp_path):
    path = tiny.save_models(tmp_path)["cifar10"]
    made = tiny.examples(12)
    few = ("cat", "ship", "dog")
    examples = dataclasses.replace(made, labels=made.labels % 3, class_names=few)
    result = tiny.run(path, examples, tmp_path / "out", tiny.settings("clean"))["clean"]
    columns = [CIFAR10_CLASSES.index(name) for name in few]
    guesses = tiny.logits_one_by_one(examples.images)[:, columns].argmax(1)
    assert result["top1"] == pytest.approx(100 * np.mean(guesses == examples.labels))
