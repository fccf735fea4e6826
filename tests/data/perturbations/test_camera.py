import numpy as np
import pytest
from PIL import Image

from data.perturbations import camera


def smooth_image(height, width):
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 9 + columns / 17), np.cos(rows / 15), np.sin(columns / 8 - rows / 30)]
    return (127 + 120 * np.stack(waves, -1)).astype(np.uint8)


def noise_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def pillows_affine(image, degrees=0, scale=1):
    """The image turned clockwise and scaled about its center, as Pillow does."""
    height, width = image.shape[:2]
    cos, sin = np.cos(np.radians(degrees)) / scale, np.sin(np.radians(degrees)) / scale
    x, y = width / 2, height / 2
    matrix = (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)
    moved = Image.fromarray(image).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


@pytest.mark.parametrize("degrees, scale", [(-15, 1), (7, 1), (0, 0.4), (0, 1.15), (0, 1.004)])
@pytest.mark.parametrize("shape", [(256, 256), (256, 331), (301, 256)])
def test_affine_is_pillows(shape, degrees, scale):
    image = noise_image(*shape)
    height, width = shape
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    expected = pillows_affine(image, degrees, scale)[top : top + 224, left : left + 224]
    view = camera.resized_and_cropped(image, 256, 224)
    actual = view.affine(degrees=degrees, scale=scale)
    assert actual.shape == (224, 224, 3)
    # Pillow truncates where OpenCV rounds. Where the edge of the image passes through the middle
    # of a pixel, the two may differ on which side it is.
    apart = np.abs(actual.astype(int) - expected).max(axis=-1)
    assert np.mean(apart > 1) < 1e-4
    black = expected.max(axis=-1) == 0
    assert np.mean(black) > 0.5 if scale == 0.4 else np.mean(black) < 0.05


def test_no_movement_is_the_plain_crop():
    image = noise_image(256, 400)
    view = camera.resized_and_cropped(image, 256, 224)
    assert np.array_equal(view.frame(), image[16:240, 88:312])
    assert np.array_equal(view.affine(), image[16:240, 88:312])


@pytest.mark.parametrize("pixels", [-20, -3, 1, 20])
def test_a_shift_moves_whole_pixels(pixels):
    image = noise_image(256, 256)
    frame = camera.resized_and_cropped(image, 256, 224).affine(right=pixels)
    padded = np.pad(image, ((0, 0), (20, 20), (0, 0)))
    assert np.array_equal(frame, padded[16:240, 36 - pixels : 260 - pixels])
    if pixels == 20:
        assert not frame[:, :4].any() and frame[:, 4].any()


def perspective(image, degrees):
    """Follows every pixel's center through both turns and the eye, then interpolates."""
    height, width = image.shape[:2]
    focal = np.sqrt(width**2 + height**2)
    angle = np.radians(degrees)
    turn_y = np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    turn_x = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    turn = turn_x @ turn_y
    result = np.zeros(image.shape)
    for row in range(height):
        for column in range(width):
            # The ray from the eye through the pixel meets the turned plane, one pixel beyond the
            # origin about which it turns: solve turn @ (x, y, 1) + (0, 0, focal) = t * ray.
            ray = np.array([(column - width / 2) / focal, (row - height / 2) / focal, 1])
            system = np.column_stack([turn[:, 0], turn[:, 1], -ray])
            x, y, _ = np.linalg.solve(system, -turn[:, 2] - [0, 0, focal])
            x, y = x + width / 2, y + height / 2
            left, top = int(np.floor(x)), int(np.floor(y))
            for i, share in ((left, left + 1 - x), (left + 1, x - left)):
                for j, part in ((top, top + 1 - y), (top + 1, y - top)):
                    if 0 <= i < width and 0 <= j < height:
                        result[row, column] += share * part * image[j, i]
    return result


@pytest.mark.parametrize("degrees", [-15, 0, 8])
def test_tilt_is_a_turn_in_perspective(degrees):
    image = smooth_image(30, 40)
    expected = perspective(image, degrees)
    actual = camera.in_place(image).tilt(degrees)
    assert np.abs(actual - expected).max() < 2
    cropped = camera.View(image, 3, 5, 20, 25).tilt(degrees)
    assert np.abs(cropped - expected[3:23, 5:30]).max() < 2


def test_the_shorter_side_is_resized_before_the_crop():
    image = noise_image(320, 458)
    resized = np.asarray(Image.fromarray(image).resize((366, 256), Image.Resampling.BILINEAR))
    frame = camera.resized_and_cropped(image, 256, 224).frame()
    assert np.array_equal(frame, resized[16:240, 71:295])
    tall = camera.resized_and_cropped(image.transpose(1, 0, 2).copy(), 256, 224)
    assert tall.image.shape == (366, 256, 3)


def test_the_center_is_cropped_before_the_resize():
    image = noise_image(400, 600)
    view = camera.cropped_and_resized(image, 0.875, 299)
    center = Image.fromarray(image[25:375, 38:563])  # 37.5 is rounded to even
    expected = np.asarray(center.resize((299, 299), Image.Resampling.BILINEAR))
    assert np.array_equal(view.frame(), expected)
    assert np.array_equal(view.affine(), expected)


def test_a_frame_does_not_share_its_pixels_with_the_image():
    image = noise_image(32, 32)
    camera.in_place(image).frame()[:] = 0
    assert image.any()
