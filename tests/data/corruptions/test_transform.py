"""Corruptions as a tf.data transformation."""

import numpy as np
import pytest
import tensorflow as tf

from data import corruptions

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 33, 3), dtype=np.uint8)


@pytest.mark.parametrize("with_labels", [True, False])
def test_images_are_those_of_corrupt(with_labels):
    elements = (IMAGES, [7, 8, 9]) if with_labels else IMAGES
    dataset = tf.data.Dataset.from_tensor_slices(elements)
    corrupted = dataset.apply(corruptions.transform("gaussian_noise", 2, seed=5))
    assert corrupted.element_spec == dataset.element_spec
    expected = [
        corruptions.corrupt(img, "gaussian_noise", 2, 5 + i) for i, img in enumerate(IMAGES)
    ]
    for _ in range(2):
        found = list(corrupted)
        images = [element[0] for element in found] if with_labels else found
        np.testing.assert_array_equal(images, expected)
    if with_labels:
        assert [label.numpy() for _, label in found] == [7, 8, 9]


def test_unknown_corruptions_are_refused_before_any_image():
    with pytest.raises(ValueError, match="Unknown corruption 'mist'"):
        corruptions.transform("mist", 1)
