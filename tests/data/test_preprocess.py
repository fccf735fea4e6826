import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import preprocess
from data.preprocess import PreprocessSpec
from tests.helpers.noise_images import noise_image, seed_grid


def levels_apart(image, other):
    return np.abs(np.asarray(image, int) - np.asarray(other, int)).max()


def coordinates(height, width):
    """Red is the row and green the column of a pixel, in steps that stay below 256."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, np.newaxis]
    image[..., 1] = np.arange(width)
    return image


# The specification.


def test_spec_survives_json():
    spec = PreprocessSpec(475, crop_padding=40, interpolation="bilinear")
    assert PreprocessSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert PreprocessSpec.from_dict({"image_size": 32}) == PreprocessSpec(32)
    floats = dataclasses.replace(spec, pixels="float32", enlarge=True)
    assert PreprocessSpec.from_dict(json.loads(json.dumps(floats.to_dict()))) == floats
    assert floats.to_dict().keys() == {field.name for field in dataclasses.fields(spec)}
    assert spec.to_dict().keys() == floats.to_dict().keys() - {"pixels", "enlarge"}  # earlier cards


@pytest.mark.parametrize(
    "values, message",
    [
        ({"image_size": 0}, "image_size must be at least 1, not 0"),
        ({"image_size": 8, "crop_padding": -1}, "crop_padding must be at least 0, not -1"),
        ({"image_size": 8, "pixels": "float"}, "'float'; valid: uint8, float32"),
        ({"image_size": 8, "interpolation": "cubic"}, "'cubic'.*bicubic_tf1, bicubic, bilinear"),
        ({"image_size": 8, "size": 8}, "knows image_size.*got image_size, size"),
        ({}, "got nothing"),
    ],
)
def test_spec_refuses_what_it_does_not_know(values, message):
    with pytest.raises(ValueError, match=message):
        PreprocessSpec.from_dict(values)


# Without randomness.


def tf1_bicubic(image, size):
    """TF1's resize_bicubic after its definition: Keys' kernel with a = -0.75, no half pixels."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return (1.25 * x - 2.25) * x * x + 1
        return -0.75 * (((x - 5) * x + 8) * x - 4) if x < 2 else 0.0

    def matrix(length):
        weights = np.zeros((size, length))
        for i in range(size):
            position = np.float32(i) * np.float32(length / size)
            base = int(np.floor(position))
            fraction = np.rint((position - base) * 1024) / 1024  # its table of weights
            for tap in range(-1, 3):
                weights[i, np.clip(base + tap, 0, length - 1)] += kernel(tap - fraction)
        return weights

    rows, columns = matrix(image.shape[0]), matrix(image.shape[1])
    return np.clip(np.einsum("ij,jkc,lk->ilc", rows, image.astype(float), columns), 0, 255)


@pytest.mark.parametrize("height, width, size", [(61, 61, 32), (90, 120, 64), (40, 40, 96)])
def test_eval_image_is_tf1_bicubic_of_the_center_crop(height, width, size):
    image = noise_image(height, width) * 2
    spec = PreprocessSpec(size, crop_padding=8)
    side = int(size / (size + 8) * min(height, width))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    expected = tf1_bicubic(image[top : top + side, left : left + side], size)
    result = preprocess.eval_image(tf.constant(image), spec)
    assert result.dtype == tf.uint8 and result.shape == (size, size, 3)
    # Truncation turns a difference in the last digits into one of a level: rarely, and no more.
    difference = result.numpy() - np.floor(expected)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


@pytest.mark.parametrize("height, width", [(64, 64), (64, 81), (85, 64), (64, 100)])
def test_eval_image_crops_where_the_published_code_does(height, width):
    # The crop has the size asked for, and is therefore not resized at all.
    image = noise_image(height, width)
    top, left = (height - 32 + 1) // 2, (width - 32 + 1) // 2
    result = preprocess.eval_image(tf.constant(image), PreprocessSpec(32))
    np.testing.assert_array_equal(result, image[top : top + 32, left : left + 32])


@pytest.mark.parametrize("name, pil", [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)])
def test_other_interpolations_are_antialiased_as_in_pil(name, pil):
    image = noise_image(96, 96) * 2
    result = preprocess.eval_image(
        tf.constant(image), PreprocessSpec(32, crop_padding=0, interpolation=name)
    )
    # PIL rounds to whole levels between rows and columns.
    assert levels_apart(result, Image.fromarray(image).resize((32, 32), pil)) <= 2


def test_eval_image_of_a_small_image_model_is_fit_small():
    image = noise_image(28, 28)
    result = preprocess.eval_image(tf.constant(image), PreprocessSpec(32, small_image=True))
    np.testing.assert_array_equal(result, np.pad(image, [(2, 2), (2, 2), (0, 0)]))


@pytest.mark.parametrize(
    "height, width, padding",
    [
        (32, 32, [(0, 0), (0, 0)]),
        (28, 28, [(2, 2), (2, 2)]),
        (27, 32, [(2, 3), (0, 0)]),
        (20, 31, [(6, 6), (0, 1)]),
    ],
)
def test_fit_small_pads_evenly(height, width, padding):
    image = noise_image(height, width)
    result = preprocess.fit_small(tf.constant(image), 32)
    np.testing.assert_array_equal(result, np.pad(image, [*padding, (0, 0)]))


def test_fit_small_crops_to_the_central_square():
    image = noise_image(32, 97)
    result = preprocess.fit_small(tf.constant(image), 32)
    np.testing.assert_array_equal(result, image[:, 33:65])
    image = noise_image(40, 20)
    result = preprocess.fit_small(tf.constant(image), 32)
    np.testing.assert_array_equal(result, np.pad(image[10:30], [(6, 6), (6, 6), (0, 0)]))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48), (48, 32)])
def test_small_images_are_enlarged_on_request(height, width):
    """The central square, resized: 32 to 64 is a factor of two, so rows rise by halves."""
    image = coordinates(height, width)
    spec = PreprocessSpec(64, small_image=True, enlarge=True)
    result = preprocess.eval_image(tf.constant(image), spec).numpy()
    inner = result[8:-8, 8:-8].astype(float)
    rows, columns = ((side - 32) // 2 for side in (height, width))
    expected = np.arange(64)[8:-8] / 2 - 0.25
    np.testing.assert_allclose(inner[:, 0, 0] - rows, expected, atol=0.51)
    np.testing.assert_allclose(inner[0, :, 1] - columns, expected, atol=0.51)
    padded = preprocess.eval_image(tf.constant(image), dataclasses.replace(spec, enlarge=False))
    assert (padded.numpy()[0] == 0).all()


def test_fit_small_resizes_what_is_larger():
    image = noise_image(90, 64) * 2
    result = preprocess.fit_small(tf.constant(image), 32)
    square = Image.fromarray(image[13:77])
    # PIL rounds to whole levels between rows and columns.
    assert levels_apart(result, square.resize((32, 32), Image.BICUBIC)) <= 2


# The random crop of large images.


def drawn_rectangle(result, size):
    """Reads top, left, height and width off a crop of an image of coordinates."""
    result = result.numpy().astype(float)
    rows, columns = result[:, 0, 0], result[0, :, 1]
    # TF1's bicubic samples at top + i * height / size, and its values are truncated.
    middle = size // 2
    height = (rows[middle] - rows[0]) / middle * size
    width = (columns[middle] - columns[0]) / middle * size
    return rows[0], columns[0], height, width


def test_inception_crop_draws_rectangles_in_the_published_ranges():
    image, size = coordinates(200, 250), 64
    spec = PreprocessSpec(size)
    drawn = [
        drawn_rectangle(preprocess.inception_crop(tf.constant(image), seed, spec), size)
        for seed in seed_grid(200)
    ]
    top, left, height, width = np.array(drawn).T
    area, aspect = height * width / (200 * 250), width / height
    # Sides are read off to a pixel or two of at least 60.
    assert area.min() > 0.08 and area.max() < 1.03
    assert aspect.min() > 0.72 and aspect.max() < 1.4
    assert area.min() < 0.13 and area.max() > 0.9  # and the ranges are used
    assert aspect.min() < 0.8 and aspect.max() > 1.25
    assert (top + height).max() < 203 and (left + width).max() < 253
    assert (
        top.min() < 5 and left.min() < 5 and len(np.unique(np.stack([top, left]), axis=1).T) > 150
    )


def test_inception_crop_is_the_rectangle_that_the_published_options_draw():
    # Areas from 8%: the tenth of the image that must be covered hides it in the areas drawn.
    image = noise_image(80, 100)
    for seed in seed_grid(10, salt=4):
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            image.shape,
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            seed,
            min_object_covered=0.1,
            aspect_ratio_range=(0.75, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
        )
        (top, left, _), (height, width, _) = begin.numpy(), extent.numpy()
        assert (height, width) != (80, 100)
        expected = tf1_bicubic(image[top : top + height, left : left + width], 32)
        result = preprocess.inception_crop(tf.constant(image), seed, PreprocessSpec(32))
        assert levels_apart(result, np.floor(expected)) <= 1


def test_inception_crop_resizes_what_it_crops():
    image = coordinates(200, 250)
    spec = PreprocessSpec(64)
    for seed in seed_grid(5, salt=3):
        result = preprocess.inception_crop(tf.constant(image), seed, spec).numpy().astype(int)
        # Red depends on the row alone and green on the column, but for rounding before truncation.
        assert np.ptp(result[..., 0], axis=1).max() <= 1
        assert np.ptp(result[..., 1], axis=0).max() <= 1
        assert (np.diff(result[:-2, 0, 0]) >= 0).all() and (np.diff(result[0, :-2, 1]) >= 0).all()


def test_inception_crop_without_a_fitting_rectangle_is_the_center_crop():
    # Even the largest rectangle of aspect 4/3 in so long a strip has less than 8% of its area.
    image = tf.constant(noise_image(9, 300))
    spec = PreprocessSpec(32)
    expected = preprocess.eval_image(image, spec)
    for seed in seed_grid(5):
        np.testing.assert_array_equal(preprocess.inception_crop(image, seed, spec), expected)


def test_inception_crop_follows_its_seed():
    image, spec = tf.constant(coordinates(100, 100)), PreprocessSpec(32)
    images = [preprocess.inception_crop(image, seed, spec).numpy() for seed in seed_grid(20)]
    again = preprocess.inception_crop(image, seed_grid(20)[3], spec)
    np.testing.assert_array_equal(again, images[3])
    assert len(np.unique(images, axis=0)) == 20


# Graphs.


def test_single_image_functions_are_the_same_inside_a_dataset():
    image, seeds = tf.constant(noise_image(70, 50)), seed_grid(3)
    spec = PreprocessSpec(32)

    def every(seed):
        return (
            preprocess.eval_image(image, spec),
            preprocess.fit_small(image, 32),
            preprocess.inception_crop(image, seed, spec),
        )

    for seed, graph in zip(
        seeds, tf.data.Dataset.from_tensor_slices(seeds).map(every), strict=True
    ):
        for ours, eager in zip(graph, every(seed), strict=True):
            assert ours.shape == (32, 32, 3)
            np.testing.assert_array_equal(ours, eager)


def test_shapes_are_static_for_images_of_unknown_size():
    def every(image):
        spec = PreprocessSpec(32)
        return (
            preprocess.eval_image(image, spec),
            preprocess.fit_small(image, 32),
            preprocess.inception_crop(image, [1, 2], spec),
        )

    function = tf.function(every).get_concrete_function(tf.TensorSpec((None, None, 3), tf.uint8))
    assert [output.shape for output in function.outputs] == [(32, 32, 3)] * 3
