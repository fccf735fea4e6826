import numpy as np
import pytest
from scipy import ndimage

from data import corruption_blurs as blurs
from data.corruption_levels import parameters


def generator(seed=0):
    return np.random.default_rng(seed)


def picture(height=96, width=96, seed=0):
    """Smooth colors with edges and fine texture, as photographs have them."""
    rng = generator(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (8, 8, 0))
    image = 128 + 45 * smooth / smooth.std() + rng.normal(0, 6, (height, width, 3))
    image[height // 4 : height // 2, width // 3 :] += 40
    return np.clip(image, 0, 255).astype(np.uint8)


def flat(value, height=96, width=96):
    return np.full((height, width, 3), value, np.uint8)


def largest_difference(image, other):
    return np.abs(np.asarray(image, float) - np.asarray(other, float)).max()


@pytest.mark.parametrize("sigma", [0.4, 2, 6])
def test_gaussian_blur_is_scipys(sigma):
    image = picture(70, 50)
    expected = ndimage.gaussian_filter(
        image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4
    )
    assert largest_difference(blurs.gaussian_blur(image, sigma), expected) < 1e-3


@pytest.mark.parametrize(("severity", "radius"), [(1, 3), (3, 6), (5, 10)])
def test_defocus_blur_spreads_a_point_over_a_disk(severity, radius):
    image = flat(0, 61, 61)
    image[30, 30] = 255
    smoothing = parameters("defocus_blur", severity, 224)[1]
    response = blurs.defocus_blur(image, radius, smoothing)[..., 0]
    # Smoothing the published kernels brightens by 1.1 % where the disk reaches the kernel's edge.
    gain = 1.0108 if severity == 5 else 1
    assert response.sum() == pytest.approx(255 * gain, rel=1e-3)
    y, x = np.mgrid[-30:31, -30:31]
    area = (x**2 + y**2 <= radius**2).sum()
    inside = x**2 + y**2 <= (radius - 3) ** 2
    np.testing.assert_allclose(response[inside], 255 / area, rtol=0.01)
    assert np.abs(response[np.hypot(x, y) > radius + 3]).max() < 1e-4
    assert response[30, 30 - radius] > 0.3 * 255 / area


def test_defocus_blur_convolves():
    image = picture(50, 40)
    kernel = blurs.disk(4, 0.5)
    expected = ndimage.correlate(image.astype(float), kernel[..., np.newaxis], mode="mirror")
    assert largest_difference(blurs.defocus_blur(image, 4, 0.5), expected) < 1e-3


@pytest.mark.parametrize(("delta", "rounds"), [(1, 2), (2, 3), (4, 2)])
def test_glass_blur_is_the_plain_loop(delta, rounds):
    image = picture(41, 37)
    moves = generator(5).integers(-delta, delta, (rounds, 2, 41 - 2 * delta, 37 - 2 * delta))
    slow = image.copy()
    for dy, dx in moves:
        for h in range(41 - delta, delta, -1):
            for w in range(37 - delta, delta, -1):
                at = h - delta - 1, w - delta - 1
                slow[h, w] = slow[h + dy[at], w + dx[at]]
    origins = blurs._origins(moves.astype(np.int8), 41, 37)
    np.testing.assert_array_equal(image.reshape(-1, 3)[origins].reshape(image.shape), slow)


def test_glass_blur_is_blurred_before_and_after():
    image, sigma = picture(50, 44), 1.5

    def blurred(values):
        return ndimage.gaussian_filter(values.astype(float), (sigma, sigma, 0), mode="nearest")

    moves = generator(1).integers(-4, 4, (2, 2, 42, 36), dtype=np.int8)
    pixels = (blurred(image) + 1e-3).astype(np.uint8).reshape(-1, 3)
    expected = blurred(pixels[blurs._origins(moves, 50, 44)].reshape(image.shape))
    assert largest_difference(blurs.glass_blur(image, generator(1), sigma, 4, 2), expected) < 1e-3


def test_motion_blur_by_hand():
    image = flat(0, 40, 40)
    image[20, 20] = 100
    weights = np.exp(-(np.arange(7) ** 2) / (2 * 2.0**2))
    weights *= 100 / weights.sum()
    right = blurs.blur_along(image, 3, 2.0, 0)[..., 0]
    np.testing.assert_allclose(right[20, 14:21], weights[::-1], rtol=1e-4)
    down = blurs.blur_along(image, 3, 2.0, 90)[..., 0]
    np.testing.assert_allclose(down[14:21, 20], weights[::-1], rtol=1e-4)
    diagonal = blurs.blur_along(image, 3, 2.0, 45)[..., 0]
    np.testing.assert_allclose(diagonal[20, 20], weights[0], rtol=1e-4)
    # One and two steps at 45 degrees are 0.71 and 1.41 pixels, both of which round to 1.
    np.testing.assert_allclose(diagonal[19, 19], weights[1] + weights[2], rtol=1e-4)
    np.testing.assert_allclose(diagonal[18, 18], weights[3], rtol=1e-4)
    np.testing.assert_allclose(blurs.blur_along(flat(90), 20, 15, -30), 90, rtol=1e-5)


def test_motion_blur_draws_its_direction():
    image = flat(0, 64, 64)
    image[32, 32] = 255
    angles = []
    for seed in range(40):
        trace = blurs.motion_blur(image, generator(seed), 10, 8)[..., 0]
        y, x = np.nonzero(trace)
        angles.append(np.degrees(np.arctan2(32 - y.min() if (y < 32).any() else 32 - y.max(), 20)))
        assert x.max() == 32 and x.min() < 20
    assert min(angles) < -30 and max(angles) > 30


@pytest.mark.parametrize(("stop", "step", "zooms"), [(1.06, 0.01, 7), (1.31, 0.03, 11)])
def test_zoom_blur_is_scipys(stop, step, zooms):
    image = picture(61, 80).astype(float)
    total = image.copy()
    factors = np.arange(1, stop, step)
    assert len(factors) == zooms
    for factor in factors:
        rows, columns = int(np.ceil(61 / factor)), int(np.ceil(80 / factor))
        top, left = (61 - rows) // 2, (80 - columns) // 2
        center = image[top : top + rows, left : left + columns]
        total += ndimage.zoom(center, (factor, factor, 1), order=1)[:61, :80]
    result = blurs.zoom_blur(image.astype(np.uint8), stop, step)
    assert largest_difference(result, total / (zooms + 1)) < 0.01
