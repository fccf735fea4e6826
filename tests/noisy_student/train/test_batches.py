"""Batches of a training: other image noise on unlabeled images than on labeled ones."""

import dataclasses

import numpy as np
import pytest

from data import record_schema
from noisy_student import config
from noisy_student.runtime.devices import make_devices
from noisy_student.train.batches import training_batches
from tests.helpers import toy_batches
from tests.helpers.marks import slow_param
from tests.helpers.small_learner import CLASSES, SIZE, STUDENT, learner

NOISE = config.NoiseConfig("randaugment", 2, 10.0, flip=False, cutout=True)
PADDING = 4


@pytest.fixture
def files(tmp_path):
    source = toy_batches.textured(8, SIZE)
    uniform = np.full(CLASSES, 1 / CLASSES, np.float32)
    records = (record_schema.serialize(source.encoded(i), 0, 0.5, uniform) for i in range(8))
    return record_schema.write_shards(records, tmp_path, 8, 1)


def batch_of(files, kind):
    """The first batch: all eight unlabeled images, by their original where that is recognizable."""
    labeled = dataclasses.replace(
        toy_batches.textured(4, SIZE), labels=np.zeros(4, np.int32), class_names=tuple("abc")
    )
    network = dataclasses.replace(
        STUDENT.model, name="tests.helpers.foreign_models:self_scaling_cnn"
    )
    noises = {"noise": NOISE, "unlabeled_noise": config.UnlabeledNoiseConfig(kind)}
    changes = noises | {"model": network}
    made = learner(make_devices(precision="float32"), **changes)
    assert (made.layout.labeled, made.layout.unlabeled) == (4, 8) and STUDENT.ratio == 2
    return {k: v.numpy() for k, v in next(training_batches(made, labeled, files)).items()}


def is_crop(image, original):
    """Returns True if an image is a crop of its original after reflect padding."""
    padded = np.pad(original, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), "reflect")
    return any(
        np.array_equal(image, padded[y : y + SIZE, x : x + SIZE])
        for y in range(2 * PADDING + 1)
        for x in range(2 * PADDING + 1)
    )


@pytest.mark.parametrize(
    ("kind", "crops", "same"), [slow_param(None, 0, 0), ("crop", 8, 0), slow_param("none", 8, 8)]
)
def test_unlabeled_images_can_have_noise_of_their_own(files, kind, crops, same):
    originals = toy_batches.textured(8, SIZE).images
    batch = batch_of(files, kind)
    found = batch["unlabeled_images"]
    assert sum(any(is_crop(image, o) for o in originals) for image in found) == crops
    assert sum(any(np.array_equal(image, o) for o in originals) for image in found) == same
    assert not any(any(is_crop(image, o) for o in originals) for image in batch["images"])
    if kind:
        with_labels_noise = batch_of(files, None)
        np.testing.assert_array_equal(batch["images"], with_labels_noise["images"])
