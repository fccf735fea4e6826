import io
from importlib import resources

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from data.corruptions import blurs, corrupt, weather
from data.corruptions.levels import NoiseLayer, parameters
from tests.helpers.toy_images import flat, generator, largest_difference, picture


def test_snow_whitens_and_falls():
    result = corrupt(flat(40), "snow", 1, 3, 224)
    ground = int(0.8 * 40 + 0.2 * (1.5 * 40 + 127.5))
    assert result.min() == ground
    assert 0.05 < (result > ground + 20).mean() < 0.8
    np.testing.assert_array_equal(result, result[::-1, ::-1])
    # From -135 to -45 degrees is more down than across.
    flakes = [corrupt(flat(40), "snow", 1, seed, 224)[..., 0].astype(float) for seed in range(8)]
    down, across = (
        np.mean([np.abs(np.diff(f, axis=axis)).mean() for f in flakes]) for axis in (0, 1)
    )
    assert down < 0.7 * across


def test_snow_step_by_step():
    image = picture(50, 70)
    (mean, std, factor, threshold), radius, sigma, weight = parameters("snow", 4, 224)
    rng = generator(2)
    layer = mean + std * rng.standard_normal((12, 16), dtype=np.float32)
    layer = ndimage.zoom(layer.astype(float), factor, order=1)[2:52, 1:71]  # of 54 x 72
    layer = np.clip(np.where(layer < threshold, 0, layer), 0, 1)
    layer = (255 * layer).astype(np.uint8)
    assert 0.05 < np.mean(layer > 0) < 0.3
    layer = blurs.blur_along(layer, radius, sigma, rng.uniform(-135, -45))[..., np.newaxis] / 255
    x = image / 255
    gray = (x @ [0.299, 0.587, 0.114])[..., np.newaxis]
    x = weight * x + (1 - weight) * np.maximum(x, 1.5 * gray + 0.5) + layer + layer[::-1, ::-1]
    result = weather.snow(image, generator(2), *parameters("snow", 4, 224))
    assert largest_difference(result, 255 * x) < 0.01


def test_snow_is_light_on_a_pale_image():
    image = np.array([[[200, 100, 0], [10, 10, 10]]], np.uint8)
    pale = weather.whiten(image, 0.85)
    # 0.299 * 200 + 0.587 * 100 = 118.5, times 1.5 plus 127.5 = 305.25, lighter than every channel.
    np.testing.assert_allclose(
        pale[0, 0], 0.85 * np.array([200, 100, 0]) + 0.15 * 305.25, rtol=1e-5
    )
    np.testing.assert_allclose(pale[0, 1], 0.85 * 10 + 0.15 * 142.5, rtol=1e-5)
    flakes = np.array([[200, 3]], np.uint8)  # and turned: 3, 200
    np.testing.assert_allclose(weather.add_snow(pale, flakes), pale + 203, rtol=1e-6)


def frost_textures():
    folder = resources.files("torch_uncertainty_assets") / "frost"
    files = [folder / f"frost{number}.jpg" for number in range(1, 5)]
    return [np.asarray(Image.open(io.BytesIO(file.read_bytes())).convert("RGB")) for file in files]


def test_frost_shows_a_part_of_a_texture():
    # Weight 0.4, rounded down; green tells the textures apart.
    dimmed = [(0.4 * texture[..., 1] + 1e-3).astype(np.uint8) for texture in frost_textures()]
    counts = np.zeros(len(dimmed), int)
    for seed in range(24):
        result = corrupt(flat(0, 48, 40), "frost", 1, seed, 224)[..., 1]
        for number, texture in enumerate(dimmed):
            left, top = cv2.minMaxLoc(cv2.matchTemplate(texture, result, cv2.TM_SQDIFF))[2]
            counts[number] += np.array_equal(texture[top : top + 48, left : left + 40], result)
    assert counts.sum() == 24
    assert counts[1] == max(counts) and min(counts) > 0  # the second counts twice


def test_frost_adds_to_the_image():
    black, gray = (corrupt(flat(value), "frost", 2, 5, 224).astype(int) for value in (0, 100))
    visible = gray < 255
    assert np.abs((gray - black)[visible] - 80).max() <= 1


def test_frost_without_its_package(monkeypatch):
    monkeypatch.setattr(weather, "FROST_PACKAGE", "no_such_package.frost")
    with pytest.raises(ModuleNotFoundError, match="torch-uncertainty-assets"):
        weather.frost_texture.__wrapped__("frost1.jpg")


def test_fog_adds_the_height_map_and_scales():
    image = flat(51, 256, 256)  # 0.2 of white
    result = corrupt(image, "fog", 1, 0, 224)
    share = 0.2 / (0.2 + 1.5)
    assert result.min() == int(share * 51)
    assert result.max() == int(share * (51 + 1.5 * 255))
    assert np.all(result == result[..., :1])


def test_height_map_is_diamond_square():
    size, decay = 16, 1.75
    rng, heights, wibble, step = generator(4), np.zeros((size, size)), 100.0, size
    while step >= 2:
        half, count = step // 2, size // step
        noise = wibble * wibble * (2 * rng.random((3, count, count), dtype=np.float32) - 1)
        cells = [(y, x) for y in range(count) for x in range(count)]

        def at(y, x):
            return heights[y % size, x % size]

        for y, x in cells:
            top, left = y * step, x * step
            corners = [at(top + a, left + b) for a in (0, step) for b in (0, step)]
            heights[top + half, left + half] = sum(corners) / 4 + noise[0, y, x]
        for kind, (dy, dx) in ((1, (0, half)), (2, (half, 0))):
            for y, x in cells:
                top, left = y * step + dy, x * step + dx
                around = [at(top + a, left + b) for a, b in ((-half, 0), (half, 0))]
                around += [at(top + a, left + b) for a, b in ((0, -half), (0, half))]
                heights[top, left] = sum(around) / 4 + noise[kind, y, x]
        step, wibble = half, wibble / decay
    heights = (heights - heights.min()) / np.ptp(heights)
    np.testing.assert_allclose(weather.height_map(generator(4), size, decay), heights, atol=1e-5)


def test_spatter_of_water_is_pale_turquoise():
    image = flat(60)
    change = corrupt(image, "spatter", 3, 1, 224).astype(float) - image
    wet = change.max(axis=-1) > 20
    assert 0.02 < wet.mean() < 0.6
    assert (change == 0).all(axis=-1).mean() > 0.2
    np.testing.assert_allclose(change[wet, 0] / change[wet, 1], 175 / 238, atol=0.05)
    np.testing.assert_array_equal(change[..., 1], change[..., 2])
    assert change.max() == int(60 + 0.5 * 238) - 60  # the strongest drop has the full strength


def test_spatter_of_mud_covers():
    result = corrupt(flat(200), "spatter", 5, 1, 224)
    assert (result == 200).all(axis=-1).mean() > 0.3
    muddy = result[..., 0] < 200
    share = (200 - result[muddy].astype(float)) / (200 - np.array([63, 42, 20]))
    np.testing.assert_allclose(share, share.mean(axis=1, keepdims=True) * np.ones(3), atol=0.01)
    assert 0.79 < share.min() and share.max() <= 1.01


def test_splashes_are_blurred_noise_above_a_threshold():
    liquid = weather.splashes((40, 50), generator(), NoiseLayer(0.6, 0.265, 1.75, 0.65))
    noise = 0.6 + 0.265 * generator().standard_normal((40, 50), dtype=np.float32)
    blurred = ndimage.gaussian_filter(noise.astype(float), 1.75, mode="nearest", truncate=4)
    np.testing.assert_allclose(liquid, np.where(blurred < 0.65, 0, blurred), atol=1e-5)
    assert 0 < np.mean(liquid > 0) < 0.5


def test_water_is_where_liquid_is():
    image = flat(40, 32, 32)
    liquid = np.zeros((32, 32), np.float32)
    liquid[8:20, 10:25] = 0.8
    added = weather.add_water(image, liquid, 0.6) - 40
    assert np.all(added[liquid == 0] == 0) and added.min() == 0
    # The brightest drop has the strength times pale turquoise, and all have that color.
    np.testing.assert_allclose(added.max(axis=(0, 1)), 0.6 * np.array([175, 238, 238]), atol=1e-3)
    np.testing.assert_allclose(238 * added[..., 0], 175 * added[..., 1], atol=0.05)
    np.testing.assert_array_equal(added[..., 1], added[..., 2])
    np.testing.assert_array_equal(weather.add_water(image, np.zeros_like(liquid), 0.6), image)


def test_no_spatter_above_the_threshold():
    image, layer = picture(), NoiseLayer(mean=0.5, std=0.01, scale=1, threshold=0.9)
    for kind in (0, 1):
        result = weather.spatter(image, generator(), layer, 0.6, kind)
        np.testing.assert_array_equal(result, image)
