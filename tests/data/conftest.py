import pytest
import tensorflow as tf
from absl import logging

from data import seeds
from data.pipeline import augmentation, selected


@pytest.fixture
def quick_operations(monkeypatch):
    """Adds random numbers instead of RandAugment, whose graph takes seconds to build."""

    def add(images, image_seeds, num_layers, magnitude, **arguments):
        del num_layers, arguments
        numbers = seeds.uniform(image_seeds, 3)[:, tf.newaxis, tf.newaxis]
        return images + tf.cast(numbers * magnitude, tf.uint8)

    monkeypatch.setattr(augmentation.randaugment, "rand_augment_batch", add)


@pytest.fixture
def streaming(monkeypatch):
    """Any set of records is too large for memory, and blocks are small enough to be several."""
    monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(selected, "BLOCK_RECORDS", 7)


@pytest.fixture(params=["in memory", "streamed"])
def either(request):
    if request.param == "streamed":
        request.getfixturevalue("streaming")
    return request.param


@pytest.fixture
def warnings_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: lines.append(text % args))
    return lines
