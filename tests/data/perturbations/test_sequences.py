import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import perturbations
from data.corruptions import blurs, digital, weather
from data.corruptions.levels import NoiseLayer
from data.perturbations import camera

ROOT = Path(__file__).resolve().parents[3]
RANDOM = ("gaussian_noise", "shot_noise", "snow", "spatter")


def smooth_image(height, width, seed=0):
    """Blurred noise: detail at all scales, and black and white somewhere."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


LARGE, SMALL = smooth_image(300, 400), smooth_image(32, 32)
CASES = [
    (image, size, name)
    for image, size in ((LARGE, 224), (SMALL, 32))
    for name in (*perturbations.SEQUENCES[size], "snow")
]


def clean_crop(image):
    return camera.resized_and_cropped(image, 256, 224).frame()


def test_the_ten_sequences_and_their_lengths():
    assert perturbations.SEQUENCES[224] == perturbations.SEQUENCES[299]
    assert set(perturbations.SEQUENCES[32]) - set(perturbations.SEQUENCES[224]) == {"spatter"}
    assert set(perturbations.SEQUENCES[224]) - set(perturbations.SEQUENCES[32]) == {"snow"}
    assert all(len(names) == 10 for names in perturbations.SEQUENCES.values())
    lengths = {(224, "translate"): 41, (32, "translate"): 16, (32, "motion_blur"): 21}
    for image, size, name in CASES:
        frames = perturbations.sequence(image, name, 0, size)
        assert frames.dtype == np.uint8
        length = lengths.get((size, name), 31)
        assert frames.shape == (length, size, size, 3), name
        assert perturbations.num_frames(name, size) == length, name


@pytest.mark.parametrize("image, size, name", CASES)
def test_the_seed_decides(image, size, name):
    before = image.copy()
    frames = perturbations.sequence(image, name, 5, size)
    np.random.seed(1)  # a global state that must not matter
    assert np.array_equal(frames, perturbations.sequence(image, name, 5, size))
    others = [perturbations.sequence(image, name, seed, size) for seed in (6, [5, 1])]
    for other in others:
        assert np.array_equal(frames, other) == (name not in RANDOM)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("size, sigma", [(224, 0.03), (32, 0.02)])
def test_gaussian_noise(size, sigma):
    gray = np.full((size, size, 3), 128, np.uint8)
    frames = perturbations.sequence(gray, "gaussian_noise", 0, size)
    assert np.array_equal(frames[0], gray)
    assert np.all(frames[1:].std(axis=(1, 2, 3)) / 255 == pytest.approx(sigma, rel=0.06))
    assert frames[1:].mean() == pytest.approx(127.5, abs=0.1)  # truncated
    # Frames are independent of one another.
    first, second = frames[1].ravel().astype(float), frames[2].ravel().astype(float)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@pytest.mark.parametrize("size, photons", [(224, 300), (32, 700)])
def test_shot_noise(size, photons):
    gray = np.full((size, size, 3), 51, np.uint8)
    frames = perturbations.sequence(gray, "shot_noise", 0, size)
    assert np.array_equal(frames[0], gray)
    # A Poisson count of mean m = photons / 5 has deviation sqrt(m).
    expected = 255 / photons * np.sqrt(photons / 5)
    assert frames[1:].std() == pytest.approx(expected, rel=0.02)


def test_noise_starts_with_the_clean_frame():
    for name in perturbations.NOISE:
        assert np.array_equal(perturbations.sequence(LARGE, name, 0, 224)[0], clean_crop(LARGE))
        assert np.array_equal(perturbations.sequence(SMALL, name, 0, 32)[0], SMALL)


@pytest.mark.parametrize(
    "image, size, index, arguments",
    [
        (LARGE, 224, 0, (10, 3, -120)),
        (LARGE, 224, 30, (10, 3, 0)),
        (SMALL, 32, 0, (6, 1.8, -180)),
        (SMALL, 32, 20, (6, 1.8, 0)),
    ],
)
def test_motion_blur(image, size, index, arguments):
    clean = clean_crop(image) if size == 224 else image
    frame = perturbations.sequence(image, "motion_blur", 0, size)[index]
    assert np.array_equal(frame, blurs.blur_along(clean, *arguments))


@pytest.mark.parametrize("image, size", [(LARGE, 224), (SMALL, 32)])
def test_zoom_blur_is_the_running_mean_of_crops(image, size):
    frames = perturbations.sequence(image, "zoom_blur", 0, size)
    view = camera.resized_and_cropped(image, 256, 224) if size == 224 else camera.in_place(image)
    assert np.array_equal(frames[0], view.frame())
    for index in (1, 7, 30):
        zooms = [view.affine(scale=1 + 0.004 * i).astype(float) for i in range(index + 1)]
        assert np.array_equal(frames[index], np.floor(np.mean(zooms, axis=0) + 1e-9))


@pytest.mark.parametrize("image, size, step", [(LARGE, 224, 0.02), (SMALL, 32, 0.015)])
def test_brightness(image, size, step):
    clean = clean_crop(image) if size == 224 else image
    frames = perturbations.sequence(image, "brightness", 0, size)
    assert np.array_equal(frames[15], clean)
    assert np.array_equal(frames[0], digital.brightness(clean, -15 * step))
    assert np.array_equal(frames[30], digital.brightness(clean, 15 * step))


def test_translate_shifts_whole_pixels():
    resized = camera.resized_and_cropped(LARGE, 256, 224).image
    frames = perturbations.sequence(LARGE, "translate", 0, 224)
    left = 58  # (341 - 224) / 2, rounded to even
    for index in (0, 20, 40):
        start = left + 20 - index
        assert np.array_equal(frames[index], resized[16:240, start : start + 224])
    frames = perturbations.sequence(SMALL, "translate", 0, 32)
    assert np.array_equal(frames[7], SMALL)
    assert np.array_equal(frames[0][:, :25], SMALL[:, 7:]) and not frames[0][:, 25:].any()
    assert np.array_equal(frames[15][:, 8:], SMALL[:, :24]) and not frames[15][:, :8].any()


def test_rotate_scale_and_tilt_take_the_published_angles_and_factors():
    view = camera.resized_and_cropped(LARGE, 256, 224)
    rotated = perturbations.sequence(LARGE, "rotate", 0, 224)
    assert np.array_equal(rotated[15], clean_crop(LARGE))
    assert np.array_equal(rotated[0], view.affine(degrees=-15))
    assert np.array_equal(rotated[30], view.affine(degrees=15))
    scaled = perturbations.sequence(LARGE, "scale", 0, 224)
    assert np.array_equal(scaled[24], clean_crop(LARGE))  # (24 * 2.5 + 40) / 100 = 1
    assert np.array_equal(scaled[0], view.affine(scale=0.4))
    assert np.array_equal(scaled[30], view.affine(scale=1.15))
    tilted = perturbations.sequence(LARGE, "tilt", 0, 224)
    assert np.array_equal(tilted[3], view.tilt(-12))
    view = camera.in_place(SMALL)
    scaled = perturbations.sequence(SMALL, "scale", 0, 32)
    assert np.array_equal(scaled[15], SMALL)  # (15 * 2 + 70) / 100 = 1
    assert np.array_equal(scaled[30], view.affine(scale=1.3))
    assert np.array_equal(perturbations.sequence(SMALL, "tilt", 0, 32)[17], view.tilt(1.5))


def test_snow_is_one_fall_that_turns():
    black = np.zeros((224, 224, 3), np.uint8)
    frames = perturbations.sequence(black, "snow", 0, 224).astype(int)
    # On black, the whitened image is 0.15 * 127.5 = 19 everywhere.
    assert frames.min() == 19
    lit = np.mean(frames > 19)
    assert 0.05 < lit < 0.6
    # Each frame is symmetric under a turn by 180 degrees, and like the next but unlike the last.
    assert np.array_equal(frames[3], frames[3][::-1, ::-1])
    likeness = [np.corrcoef(frames[0].ravel(), frames[i].ravel())[0, 1] for i in (1, 30)]
    assert likeness[0] > 0.8 > 0.5 > likeness[1]


def test_spatter_runs_down():
    gray = np.full((32, 32, 3), 60, np.uint8)
    frames = perturbations.sequence(gray, "spatter", 3, 32).astype(int)
    wet = [np.argwhere(frame[..., 1] > 60) for frame in frames]
    assert len(wet[0])
    assert all(np.all(frame >= 60) for frame in frames)
    # The layer is convolved with [0.2, 0.8] along its columns.
    rng = np.random.default_rng([zlib.crc32(b"spatter"), 3])
    liquid = weather.splashes((32, 32), rng, NoiseLayer(0.6, 0.265, scale=1.75, threshold=0.7))
    for frame in frames[:6]:
        wet = weather.add_water(gray, liquid, 0.6)
        assert np.array_equal(frame, np.floor(wet + 1e-3))
        columns = [np.convolve(column, [0.2, 0.8], mode="same") for column in liquid.T]
        liquid = np.stack(columns, axis=1)


def test_an_image_of_the_native_size_is_moved_in_place():
    image = smooth_image(224, 224)
    frames = perturbations.sequence(image, "translate", 0, 224)
    assert np.array_equal(frames[20], image)
    assert np.array_equal(frames[30][:, 10:], image[:, :-10]) and not frames[30][:, :10].any()
    assert perturbations.sequence(smooth_image(96, 128), "rotate", 0, 224).shape[1:3] == (96, 128)
    assert perturbations.sequence(smooth_image(64, 48), "tilt", 0, 32).shape == (31, 64, 48, 3)


def test_a_mirrored_view_of_an_array_is_an_image():
    mirrored = SMALL[:, ::-1]
    for name in perturbations.SEQUENCES[32]:
        expected = perturbations.sequence(mirrored.copy(), name, 0)
        assert np.array_equal(perturbations.sequence(mirrored, name, 0), expected)


def test_299_is_cropped_and_resized():
    image = smooth_image(400, 480)
    view = camera.cropped_and_resized(image, 0.875, 299)
    assert np.array_equal(perturbations.sequence(image, "rotate", 0)[15], view.frame())
    frames = perturbations.sequence(image, "motion_blur", 0, 299)
    assert np.array_equal(frames[30], blurs.blur_along(view.frame(), 13, 3, 0))


def test_scale_and_zoom_blur_at_299_move_the_crop_with_black_around_it():
    image = np.maximum(smooth_image(400, 480), 1)
    crop = camera.in_place(camera.cropped_and_resized(image, 0.875, 299).frame())
    scaled = perturbations.sequence(image, "scale", 0, 299)
    assert np.array_equal(scaled[24], crop.image)  # factor 1
    assert np.array_equal(scaled[18], crop.affine(scale=0.85))
    black = (scaled.max(-1) == 0).mean((1, 2))
    # 255 of 299 pixels are within 0.85 of a side, 119 or 120 within 0.4 (frame 0).
    assert black[[18, 0, 24]] == pytest.approx([1 - (255 / 299) ** 2, 0.84, 0], abs=0.005)
    blurred = perturbations.sequence(image, "zoom_blur", 0, 299)
    zooms = [crop.affine(scale=1 + 0.004 * i).astype(float) for i in range(31)]
    assert np.array_equal(blurred[30], np.floor(np.mean(zooms, axis=0) + 1e-9))
    rotated = perturbations.sequence(image, "rotate", 0, 299)  # the image is moved, then cropped
    assert (rotated[0].max(-1) == 0).mean() < 0.02


@pytest.mark.parametrize(
    "shape, size", [((28, 28), 32), ((128, 200), 32), ((129, 129), 224), ((500, 270), 299)]
)
def test_the_nearest_native_size(shape, size):
    image = smooth_image(*shape)
    assert perturbations.nearest_native_size(*shape) == size
    expected = perturbations.sequence(image, "scale", 0, size)
    assert np.array_equal(perturbations.sequence(image, "scale", 0), expected)


@pytest.mark.parametrize(
    "image, name, size, message",
    [
        (SMALL, "fog", None, "'fog' at native size 32; valid: gaussian_noise, .*spatter"),
        (LARGE, "spatter", 224, "'spatter' at native size 224; valid: .*snow"),
        (SMALL, "tilt", 64, r"native_size must be one of \(32, 224, 299\).*64"),
        (SMALL / 255, "tilt", None, r"image must be uint8 \[H, W, 3\].*float64 \(32, 32, 3\)"),
        (SMALL[..., 0], "tilt", None, r"uint8 \(32, 32\)"),
        (SMALL[:0], "tilt", None, r"uint8 \(0, 32, 3\)"),
    ],
)
def test_what_is_refused(image, name, size, message):
    with pytest.raises(ValueError, match=message):
        perturbations.sequence(image, name, 0, size)
    with pytest.raises(ValueError, match="non-negative"):
        perturbations.sequence(SMALL, "tilt", -1)


@pytest.mark.slow
def test_contact_sheet_as_a_command(tmp_path):
    Image.fromarray(SMALL).save(tmp_path / "image.png")
    subprocess.run(
        [
            *(sys.executable, "-m", "data.perturbations"),
            *(f"--image={tmp_path}/image.png", f"--output={tmp_path}/grid.png", "--columns=3"),
        ],
        cwd=ROOT,
        check=True,
    )
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.size == (110 + 3 * 36, 4 + 10 * 36)
        pixels = np.asarray(sheet)
    assert np.array_equal(pixels[4:36, 110:142], SMALL)  # noise starts with the clean image
