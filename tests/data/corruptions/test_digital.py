import colorsys
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from data.corruptions import corrupt, digital
from data.corruptions.levels import parameters
from tests.helpers.toy_images import generator, largest_difference, mean_difference, picture


def color_samples():
    colors = generator(9).integers(0, 256, (32 * 32, 3)).astype(np.uint8)
    colors[:300] = np.arange(300)[:, np.newaxis] % 256  # grays, black and white among them
    colors[300:400, 1] = 0
    return colors.reshape(32, 32, 3)


def through_hsv(image, change):
    pixels = [
        colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*p))) for p in image.reshape(-1, 3) / 255
    ]
    return np.array(pixels).reshape(image.shape) * 255


@pytest.mark.parametrize("amount", [-0.3, -0.02, 0.0, 0.1, 0.13, 0.5, 1.0])
def test_brightness_adds_to_v(amount):
    image = color_samples()
    expected = through_hsv(image, lambda h, s, v: (h, s, min(max(v + amount, 0), 1)))
    result = digital.brightness(image, amount)
    np.testing.assert_array_equal(result, (expected + 1e-6).astype(np.uint8))


@pytest.mark.parametrize(("factor", "summand"), [(0.1, 0), (2, 0), (20, 0.2)])
def test_saturate_changes_s(factor, summand):
    image = color_samples()
    expected = through_hsv(image, lambda h, s, v: (h, min(s * factor + summand, 1), v))
    assert largest_difference(digital.saturate(image, factor, summand), expected) < 0.01


def test_contrast_by_the_formula():
    image = picture(50, 60)
    means = image.mean(axis=(0, 1))
    expected = np.clip((image - means) * 0.3 + means, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(corrupt(image, "contrast", 2, 0, 224), expected)


@pytest.mark.parametrize("factor", [0.95, 0.65, 0.5, 0.3, 0.25])
def test_pixelate_is_pils_box_filter_both_ways(factor):
    image = picture(77, 50)
    small = Image.fromarray(image).resize((int(50 * factor), int(77 * factor)), Image.BOX)
    expected = np.asarray(small.resize((50, 77), Image.BOX))
    np.testing.assert_array_equal(digital.pixelate(image, factor), expected)


@pytest.mark.parametrize("quality", [7, 25, 80])
def test_jpeg_compression_is_pils(quality):
    image = picture(75, 61)
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    result = digital.jpeg_compression(image, quality)
    # Decoders may round chroma differently.
    assert largest_difference(result, np.asarray(Image.open(stored))) <= 2


@pytest.mark.parametrize("sigma", [0.96, 2.44, 19.5, 170.8])
def test_displacement_field_is_smoothed_noise(sigma):
    field = digital.displacement_field(generator(3), 60, 45, 12.0, sigma)
    uniform = 2 * generator(3).random((2, 60, 45), dtype=np.float32) - 1
    for ours, values in zip(field, uniform, strict=True):
        smooth = ndimage.gaussian_filter(values.astype(float), sigma, mode="reflect", truncate=3)
        np.testing.assert_allclose(ours, 12 * smooth, atol=1e-4)


def test_elastic_transform_step_by_step():
    image = picture(80, 64)
    alpha, sigma, displacement = parameters("elastic_transform", 3, 224)
    result = digital.elastic_transform(image, generator(6), alpha, sigma, displacement)

    rng = generator(6)
    corners = np.array(
        [[53, 61], [53, 19], [11, 19]], float
    )  # (x, y): center 32, 40; a third of 64
    moved = corners + rng.uniform(-displacement, displacement, (3, 2))
    forward = np.linalg.solve(np.column_stack([corners, np.ones(3)]), moved)  # rows: x, y, 1
    back = np.linalg.inv(np.column_stack([forward, [0, 0, 1]]))
    y, x = np.mgrid[:80, :64].astype(float)
    source = np.stack([x, y, np.ones_like(x)], axis=-1) @ back
    affine = sampled(image.astype(float), source[..., 1], source[..., 0], "mirror")
    dx, dy = digital.displacement_field(rng, 80, 64, alpha, sigma)
    # Noise of deviation 1 / sqrt(3), smoothed: alpha / sqrt(3) / (2 sqrt(pi) sigma) is 0.81 pixels.
    assert dx.std() == pytest.approx(0.81, rel=0.25)
    expected = sampled(affine, y + dy, x + dx, "reflect")
    assert mean_difference(result, expected) < 0.02
    assert largest_difference(result, expected) < 0.5


def sampled(image, y, x, mode):
    channels = [
        ndimage.map_coordinates(image[..., c], [y, x], order=1, mode=mode) for c in range(3)
    ]
    return np.stack(channels, axis=-1)


def test_weakest_elastic_transform_of_small_images_is_affine():
    rows = np.repeat(np.arange(0, 192, 2, dtype=np.uint8)[:, np.newaxis], 96, axis=1)
    image = np.stack([rows, rows.T, rows], axis=-1)
    result = digital.elastic_transform(image, generator(1), 0, 0, 2.56)[20:-20, 20:-20]
    for axis in (0, 1):
        np.testing.assert_allclose(np.diff(result, n=2, axis=axis), 0, atol=0.05)
    shift = np.abs(result - image[20:-20, 20:-20]) / 2
    assert 0.1 < shift.mean() < 6
