import colorsys

import numpy as np
import pytest
from scipy import ndimage, stats

from data import filters


def noise_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# Blur.


def slow_motion_blur(image, radius, sigma, angle):
    """Every pixel is the weighted mean of those on a line that starts in it."""
    taps = 2 * int(np.ceil(radius)) + 1
    weights = [np.exp(-(step**2) / (2 * sigma**2)) for step in range(taps)]
    height, width = image.shape[:2]
    blurred = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            for step, weight in enumerate(weights):
                x = column + int(np.ceil(step * np.cos(np.radians(angle)) - 0.5))
                y = row + int(np.ceil(step * np.sin(np.radians(angle)) - 0.5))
                pixel = image[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
                blurred[row, column] += weight / sum(weights) * pixel
    return blurred


@pytest.mark.parametrize("radius, sigma, angle", [(10, 3, -120), (6, 1.8, -63), (3.5, 4, 10)])
def test_motion_blur_is_a_line_of_light(radius, sigma, angle):
    image = noise_image(13, 17)
    expected = slow_motion_blur(image, radius, sigma, angle)
    error = filters.motion_blur(image, radius, sigma, angle) - expected
    assert -1.06 < error.min() and error.max() < 0.06  # truncated; the last weights are left out
    gray = filters.motion_blur(image[..., 0], radius, sigma, angle)
    assert np.array_equal(gray, filters.motion_blur(image, radius, sigma, angle)[..., 0])


def test_motion_blur_comes_from_where_the_angle_points():
    image = np.zeros((21, 21), np.uint8)
    image[10, 10] = 255
    for angle, (row, column) in {0: (10, 7), 90: (7, 10), 180: (10, 13), -90: (13, 10)}.items():
        blurred = filters.motion_blur(image, 5, 3, angle)
        assert blurred[row, column] > 20, angle
        assert blurred[20 - row, 20 - column] == 0, angle


def test_motion_blur_keeps_a_plain_image():
    for level in (0, 1, 254, 255):
        image = np.full((9, 9, 3), level, np.uint8)
        assert np.array_equal(filters.motion_blur(image, 14, 4, -33), image)


@pytest.mark.parametrize("factor, size", [(3, 224), (2, 32), (2, 33), (1.75, 50)])
def test_enlarge_center_is_scipys_zoom(factor, size):
    core = np.random.default_rng(0).normal(size=[int(np.ceil(size / factor))] * 2)
    expected = ndimage.zoom(core, factor, order=1)
    trim = (len(expected) - size) // 2
    expected = expected[trim : trim + size, trim : trim + size]
    actual = filters.enlarge_center(core, factor, size, size)
    assert actual.shape == (size, size)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


# Light.


@pytest.mark.parametrize("amount", [-0.3, -0.02, 0.0, 0.13, 0.4, 1.0])
def test_brightness_is_added_in_hsv(amount):
    image = noise_image(16, 16)
    image[0] = 0
    image[1] = 255
    image[2, :, 1:] = 0
    actual = filters.add_brightness(image, amount)
    for pixel, result in zip(image.reshape(-1, 3), actual.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(max(value + amount, 0), 1))
        assert result.tolist() == [int(255 * channel + 1e-5) for channel in expected], pixel


# Noise.


def test_gaussian_noise_has_the_moments_of_the_truncated_normal():
    table = filters.gaussian_noise_table(0.03)
    assert table.shape == (256, filters.QUANTILES)
    for level in (0, 3, 100, 128, 250, 255):
        # P(value = v) by the normal distribution function, with clipping and truncation.
        edges = np.concatenate([[-np.inf], np.arange(1, 256), [np.inf]])
        probabilities = np.diff(stats.norm.cdf(edges, level, 0.03 * 255))
        counts = np.bincount(table[level], minlength=256) / filters.QUANTILES
        assert np.abs(counts - probabilities).max() < 1.5 / filters.QUANTILES, level


@pytest.mark.parametrize("photons", [300, 700, 12.5])
def test_shot_noise_is_poisson(photons):
    table = filters.shot_noise_table(photons)
    for level in (0, 1, 3, 100, 250, 255):
        counts = np.arange(20 * int(photons))
        probabilities = stats.poisson.pmf(counts, level / 255 * photons)
        values = np.floor(255 * np.minimum(counts / photons, 1) + 1e-9).astype(int)
        expected = np.bincount(values, weights=probabilities, minlength=256)
        actual = np.bincount(table[level], minlength=256) / filters.QUANTILES
        assert np.abs(actual - expected).max() < 1.5 / filters.QUANTILES, level


def test_noise_is_drawn_evenly_and_independently():
    image = np.tile(np.uint8([[[0, 128, 255]]]), (100, 200, 1))
    table = np.tile(np.arange(filters.QUANTILES) // 64, (256, 1)).astype(np.uint8)
    table[0] = 7
    noisy = filters.draw_noise(image, table, np.random.default_rng(0)).astype(float)
    assert np.all(noisy[..., 0] == 7)
    drawn = noisy[..., 1:]
    assert stats.chisquare(np.bincount(drawn.astype(int).ravel(), minlength=256)).pvalue > 0.001
    assert abs(np.corrcoef(drawn[..., 0].ravel(), drawn[..., 1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]) < 0.03
    again = filters.draw_noise(image, table, np.random.default_rng(0))
    assert np.array_equal(noisy, again)


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        filters.gaussian_noise_table(0.03)[0] = 0


# Weather.


def test_flakes_are_where_the_enlarged_noise_is_high():
    strengths = {"mean": 0.05, "std": 0.3, "zoom": 3, "threshold": 0.5}
    flakes = filters.snow_flakes((224, 200), np.random.default_rng(0), **strengths)
    core = np.random.default_rng(0).normal(0.05, 0.3, (75, 67))
    layer = ndimage.zoom(core, 3, order=1)[:224, :200]
    expected = np.where(layer < 0.5, 0, (np.clip(layer, 0, 1) * 255).astype(int))
    assert np.abs(flakes - expected).max() <= 1  # where a value lies between two levels
    assert 0.01 < np.mean(flakes > 0) < 0.05


def test_snow_is_light_on_a_pale_image():
    image = np.array([[[200, 100, 0], [10, 10, 10]]], np.uint8)
    pale = filters.whiten(image, 0.85)
    # 0.299 * 200 + 0.587 * 100 = 118.5, times 1.5 plus 127.5 = 305.25, lighter than every channel.
    np.testing.assert_allclose(
        pale[0, 0], 0.85 * np.array([200, 100, 0]) + 0.15 * 305.25, rtol=1e-5
    )
    np.testing.assert_allclose(pale[0, 1], 0.85 * 10 + 0.15 * 142.5, rtol=1e-5)
    flakes = np.array([[200, 3]], np.uint8)  # and turned: 3, 200
    snowy = filters.add_snow(pale, flakes)
    assert snowy[0, 0].tolist() == [255, 255, 248]
    assert snowy[0, 1].tolist() == [232] * 3  # 29.875 + 203, truncated


def test_liquid_is_blurred_noise_above_a_threshold():
    strengths = {"mean": 0.6, "std": 0.265, "sigma": 1.75, "threshold": 0.65}
    liquid = filters.splashes((40, 50), np.random.default_rng(0), **strengths)
    layer = np.random.default_rng(0).normal(0.6, 0.265, (40, 50))
    blurred = ndimage.gaussian_filter(layer, 1.75, mode="nearest", truncate=4)
    np.testing.assert_allclose(liquid, np.where(blurred < 0.65, 0, blurred), atol=1e-12)
    assert 0 < np.mean(liquid > 0) < 0.5


def test_water_brightens_where_there_is_liquid():
    image = np.full((32, 32, 3), 40, np.uint8)
    liquid = np.zeros((32, 32))
    liquid[8:20, 10:25] = 0.8
    wet = filters.add_water(image, liquid, 0.6).astype(int)
    assert np.all(wet[liquid == 0] == 40)
    added = (wet - image).reshape(-1, 3)
    # The brightest drop has the strength times pale turquoise, and all have that color.
    assert added.max(axis=0).tolist() == [int(0.6 * 175), int(0.6 * 238 + 1e-3), int(0.6 * 238)]
    assert np.all(np.abs(added[:, 0] - added[:, 1] * 175 / 238) < 2)
    assert np.array_equal(filters.add_water(image, np.zeros((32, 32)), 0.6), image)


def test_filters_leave_their_input_alone():
    image = noise_image(24, 24)
    before = image.copy()
    filters.motion_blur(image, 4, 2, 30)
    filters.add_brightness(image, 0.1)
    filters.draw_noise(image, filters.gaussian_noise_table(0.03), np.random.default_rng(0))
    filters.whiten(image, 0.85)
    filters.add_water(image, np.zeros((24, 24)), 0.6)[:] = 0
    assert np.array_equal(image, before)
