import numpy as np
import pytest
from scipy import ndimage

from data.corruptions import blurs
from data.corruptions.levels import parameters
from tests.helpers.toy_images import flat, generator, largest_difference, picture


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
    origins = blurs.shuffled_origins(moves.astype(np.int8), 41, 37)
    np.testing.assert_array_equal(image.reshape(-1, 3)[origins].reshape(image.shape), slow)


def test_glass_blur_is_blurred_before_and_after():
    image, sigma = picture(50, 44), 1.5

    def blurred(values):
        return ndimage.gaussian_filter(values.astype(float), (sigma, sigma, 0), mode="nearest")

    moves = generator(1).integers(-4, 4, (2, 2, 42, 36), dtype=np.int8)
    pixels = (blurred(image) + 1e-3).astype(np.uint8).reshape(-1, 3)
    expected = blurred(pixels[blurs.shuffled_origins(moves, 50, 44)].reshape(image.shape))
    assert largest_difference(blurs.glass_blur(image, generator(1), sigma, 4, 2), expected) < 1e-3


def test_motion_blur_by_hand():
    image = flat(0, 40, 40)
    image[20, 20] = 100
    weights = np.exp(-(np.arange(7) ** 2) / (2 * 2.0**2))
    weights *= 100 / weights.sum()  # 33.3, 29.4, 20.2, 10.8, 4.5, 1.5, 0.4
    right = blurs.blur_along(image, 3, 2.0, 0)[..., 0]
    assert right[20, 14:21].tolist() == [0, 1, 4, 10, 20, 29, 33]
    down = blurs.blur_along(image, 3, 2.0, 90)[..., 0]
    assert down[14:21, 20].tolist() == right[20, 14:21].tolist()
    diagonal = blurs.blur_along(image, 3, 2.0, 45)[..., 0]
    # One and two steps at 45 degrees are 0.71 and 1.41 pixels, both of which round to 1.
    assert np.diag(diagonal)[18:21].tolist() == [int(weights[3]), int(weights[1] + weights[2]), 33]
    for level in (0, 1, 90, 255):
        assert np.all(blurs.blur_along(flat(level, 9, 9), 20, 15, -30) == level)


@pytest.mark.parametrize(
    ("radius", "sigma", "angle"), [(10, 3, -120), (6, 1.8, -63), (3.5, 4, 10), (20, 15, 31)]
)
def test_motion_blur_is_the_plain_loop(radius, sigma, angle):
    image = picture(33, 37)
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    slow = np.zeros(image.shape)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        down = int(np.ceil(step * np.sin(np.radians(angle)) - 0.5))
        right = int(np.ceil(step * np.cos(np.radians(angle)) - 0.5))
        rows = np.clip(np.arange(33) + down, 0, 32)
        slow += weight * image[rows][:, np.clip(np.arange(37) + right, 0, 36)]
    words = np.floor(257 * slow + 0.5)  # of 16 bits, then cut to bytes
    blurred = blurs.blur_along(image, radius, sigma, angle)
    assert largest_difference(blurred, words // 257) <= 1
    assert np.mean(blurred == words // 257) > 0.999
    gray = blurs.blur_along(image[..., 1].copy(), radius, sigma, angle)
    np.testing.assert_array_equal(gray, blurred[..., 1])


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


@pytest.mark.parametrize(
    ("factor", "height", "width"), [(3, 224, 200), (2, 33, 32), (1.75, 50, 61), (4.5, 50, 70)]
)
def test_enlarging_is_scipys_trimmed_evenly(factor, height, width):
    core = generator().normal(size=[int(np.ceil(side / factor)) for side in (height, width)])
    expected = ndimage.zoom(core, factor, order=1)
    top, left = (expected.shape[0] - height) // 2, (expected.shape[1] - width) // 2
    expected = expected[top : top + height, left : left + width]
    enlarged = blurs.enlarge(core.astype(np.float32), factor, height, width)
    np.testing.assert_allclose(enlarged, expected, atol=1e-4)


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
