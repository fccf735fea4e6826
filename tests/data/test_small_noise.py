"""Flip, crop and cutout of small images, in batches."""

import numpy as np
import pytest
import tensorflow as tf

from data import preprocess
from tests.helpers.noise_images import noise_image, seed_grid


def noise_batch(count, size):
    return np.stack([noise_image(size, size, seed) for seed in range(count)])


def test_flip_mirrors_about_half_of_the_images():
    images = noise_batch(400, 5)
    flipped = preprocess.flip(tf.constant(images), seed_grid(400)).numpy()
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert abs(mirrored.sum() - 200) < 3.3 * 10  # standard deviations


def test_small_crop_takes_every_crop_of_the_reflected_image_evenly():
    images = noise_batch(1, 8).repeat(4050, axis=0)
    crops = preprocess.small_crop(tf.constant(images), seed_grid(4050)).numpy()
    padded = np.pad(images[0], [(4, 4), (4, 4), (0, 0)], "reflect")
    counts = [
        (crops == padded[y : y + 8, x : x + 8]).all((1, 2, 3)).sum()
        for y in range(9)
        for x in range(9)
    ]
    assert sum(counts) == 4050
    assert ((np.array(counts) - 50) ** 2 / 50).sum() < 124.8  # 99.9%, 80 degrees of freedom


@pytest.mark.parametrize("side", [6, 7])
def test_cutout_fills_a_clipped_square_around_any_pixel(side):
    images = noise_batch(1, 16).repeat(2560, axis=0)
    result = preprocess.cutout(tf.constant(images), seed_grid(2560), side).numpy()
    mask = (result == 128).all(-1)
    np.testing.assert_array_equal(result[~mask], images[~mask])
    expected = []
    for y in range(16):
        for x in range(16):
            square = np.zeros((16, 16), bool)
            rows = slice(max(y - side // 2, 0), y - side // 2 + side)
            square[rows, max(x - side // 2, 0) : x - side // 2 + side] = True
            expected.append(square)
    counts = np.array([(mask == square).all((1, 2)).sum() for square in expected])
    assert counts.sum() == 2560
    assert ((counts - 10) ** 2 / 10).sum() < 330.5  # 99.9%, 255 degrees of freedom


BATCH_NOISE = {
    "flip": preprocess.flip,
    "small_crop": preprocess.small_crop,
    "cutout": lambda images, seeds: preprocess.cutout(images, seeds, 8),
}


@pytest.mark.parametrize("name", BATCH_NOISE)
def test_noise_of_an_image_depends_on_its_own_seed_alone(name):
    images, seeds = noise_batch(24, 16), seed_grid(24, salt=9)
    result = BATCH_NOISE[name](tf.constant(images), seeds).numpy()
    order = np.random.default_rng(1).permutation(24)
    permuted = BATCH_NOISE[name](tf.constant(images[order]), seeds[order])
    np.testing.assert_array_equal(permuted, result[order])
    other = BATCH_NOISE[name](tf.constant(images), seed_grid(24, salt=10)).numpy()
    assert (other != result).any()


@pytest.mark.parametrize("name", BATCH_NOISE)
def test_batch_noise_is_the_same_inside_a_dataset(name):
    images, seeds = noise_batch(24, 16), seed_grid(24)
    expected = BATCH_NOISE[name](tf.constant(images), seeds).numpy()
    batches = tf.data.Dataset.from_tensor_slices((images, seeds)).batch(8, drop_remainder=True)
    batches = batches.map(BATCH_NOISE[name], num_parallel_calls=3)
    assert batches.element_spec.shape == (8, 16, 16, 3)
    np.testing.assert_array_equal(np.concatenate(list(batches)), expected)
