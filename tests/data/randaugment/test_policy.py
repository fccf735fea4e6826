import functools
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import randaugment
from data.randaugment import OPERATIONS, level_to_argument, rand_augment, rand_augment_batch
from tests.helpers.noise_images import seed_grid
from tests.helpers.toy_operations import GEOMETRY, NAMES, synthetic_images

# Levels.


def test_operations_are_the_sixteen():
    assert sorted(OPERATIONS) == sorted(NAMES)


@pytest.mark.parametrize(
    "name, at_5, at_10, at_27",
    [
        ("AutoContrast", None, None, None),
        ("Equalize", None, None, None),
        ("Invert", None, None, None),
        ("Rotate", 15, 30, 81),
        ("Posterize", 2, 4, 1),  # int(10.8) bits are none of 1 to 8
        ("Solarize", 128, 0, 179),  # 256 and 691 modulo 256
        ("SolarizeAdd", 55, 110, 297),
        ("Color", 1.0, 1.9, 4.96),
        ("Contrast", 1.0, 1.9, 4.96),
        ("Brightness", 1.0, 1.9, 4.96),
        ("Sharpness", 1.0, 1.9, 4.96),
        ("ShearX", 0.15, 0.3, 0.81),
        ("ShearY", 0.15, 0.3, 0.81),
        ("TranslateX", 50, 100, 270),
        ("TranslateY", 50, 100, 270),
        ("Cutout", 20, 40, 108),
    ],
)
def test_level_to_argument(name, at_5, at_10, at_27):
    for magnitude, expected in [(5, at_5), (10, at_10), (27, at_27)]:
        argument = level_to_argument(name, magnitude)
        assert argument == (None if expected is None else pytest.approx(expected, abs=1e-9))
        if name in ("Posterize", "Solarize", "SolarizeAdd", "Cutout"):
            assert isinstance(argument, int)


def test_level_to_argument_of_small_images_and_odd_magnitudes():
    # EfficientNet-B6's magnitude: int(9.6) bits, and int(614.4) modulo 256.
    assert level_to_argument("Posterize", 24) == 1
    assert level_to_argument("Solarize", 24) == 102
    assert [level_to_argument("Posterize", magnitude) for magnitude in (2, 3, 20, 22, 23)] == [
        *(1, 1, 8, 8, 1)  # int(0.8) bits are none of 1 to 8 either
    ]
    assert level_to_argument("TranslateX", 5, translate=4) == 2
    assert level_to_argument("TranslateY", 27, translate=4) == pytest.approx(10.8)
    assert level_to_argument("Cutout", 5, cutout=4) == 2
    assert level_to_argument("Cutout", 27, cutout=4) == 10
    assert level_to_argument("Rotate", 27, translate=4, cutout=4) == 81


def test_level_to_argument_names_what_is_wrong():
    with pytest.raises(ValueError, match="'Shear'.*ShearX, ShearY"):
        level_to_argument("Shear", 10)
    with pytest.raises(ValueError, match="magnitude must be .*-1"):
        level_to_argument("Rotate", -1)


# The policy.

SIZE, MAGNITUDE = 16, 7
CUTOUT = 3  # half the side of its square: int(0.7 * 4.5)


@functools.cache
def policy_image():
    """An image that every operation at the magnitude above turns into another one."""
    return np.random.default_rng(0).integers(30, 220, (SIZE, SIZE, 3)).astype(np.uint8)


def policy_arguments():
    return {"magnitude": MAGNITUDE, "translate": 5, "cutout": 4.5}


def candidates(image):
    """(operation, sign) -> result, for all but Cutout."""
    results = {}
    for name in NAMES[:-1]:
        argument = level_to_argument(name, **policy_arguments())
        for sign in (1, -1) if name in GEOMETRY else (1,):
            signed = None if argument is None else sign * argument
            results[name, sign] = OPERATIONS[name](image, signed).numpy().tobytes()
    assert len(set(results.values())) == len(results) == 20
    return results


def augment_many(count, num_layers, salt=0):
    images = np.broadcast_to(policy_image(), (count, SIZE, SIZE, 3))
    return rand_augment_batch(
        tf.constant(images), seed_grid(count, salt), num_layers, **policy_arguments()
    ).numpy()


def test_operations_signs_and_centers_are_drawn_evenly():
    count = 3200
    results = augment_many(count, num_layers=1)
    by_result = {result: key for key, result in candidates(policy_image()).items()}
    drawn = [by_result.get(result.tobytes(), ("Cutout", 1)) for result in results]
    operations = np.array([drawn.count((name, 1)) + drawn.count((name, -1)) for name in NAMES])
    assert operations.sum() == count
    assert ((operations - 200) ** 2 / 200).sum() < 37.7  # 99.9%, 15 degrees of freedom
    negative = sum(sign < 0 for _, sign in drawn)
    signed = sum(name in GEOMETRY for name, _ in drawn)
    assert abs(negative - signed / 2) < 3.3 * np.sqrt(signed) / 2
    for name in GEOMETRY:
        assert {(name, 1), (name, -1)} <= set(drawn)

    cut = np.stack(
        [result for result, key in zip(results, drawn, strict=True) if key[0] == "Cutout"]
    )
    mask = (cut != policy_image()).any(-1)
    assert (cut[mask] == 128).all()
    whole = mask.sum((1, 2)) == (2 * CUTOUT) ** 2
    # Squares around rows and columns 3 to 13 of 16 are not clipped; those around the first four
    # reach the first row or column, and those around the last three the last one.
    for drawn_part, expected in [
        (whole, (11 / 16) ** 2),
        *((mask[:, edge].any(1), part) for edge, part in ((0, 4 / 16), (-1, 3 / 16))),
        *((mask[:, :, edge].any(1), part) for edge, part in ((0, 4 / 16), (-1, 3 / 16))),
    ]:
        deviation = np.sqrt(expected * (1 - expected) / len(cut))
        assert abs(drawn_part.mean() - expected) < 3.3 * deviation


@pytest.mark.slow
def test_two_layers_are_two_operations_in_a_row():
    first = candidates(policy_image())
    pairs = {}
    for key, result in first.items():
        between = np.frombuffer(result, np.uint8).reshape(SIZE, SIZE, 3)
        for name in NAMES[:-1]:
            argument = level_to_argument(name, **policy_arguments())
            for sign in (1, -1) if name in GEOMETRY else (1,):
                signed = None if argument is None else sign * argument
                after = OPERATIONS[name](between, signed).numpy().tobytes()
                pairs.setdefault(after, set()).add((key, (name, sign)))
    results = augment_many(400, num_layers=2)
    explained = [pairs[result.tobytes()] for result in results if result.tobytes() in pairs]
    # All but those with a Cutout in either place, (15 / 16)**2 of all.
    assert abs(len(explained) / 400 - (15 / 16) ** 2) < 0.055
    same = sum(any(a[0] == b[0] for a, b in keys) for keys in explained)
    assert 0 < same < 100  # drawn with replacement


def test_batch_is_single_images_byte_by_byte():
    for height, width in ((32, 32), (61, 47)):
        images = np.stack(list(synthetic_images(height, width).values()) * 8)
        seeds = seed_grid(len(images), salt=height)
        batch = rand_augment_batch(tf.constant(images), seeds)
        assert batch.dtype == tf.uint8 and batch.shape == images.shape
        for image, seed, result in zip(images, seeds, batch, strict=True):
            np.testing.assert_array_equal(rand_augment(image, seed), result)


def test_batches_are_compiled_to_something_fast():
    """About 2 ms; a construct that XLA takes badly made it over a second."""
    images = tf.constant(np.stack([synthetic_images(32, 32)["random"]] * 128))
    seconds = []
    for salt in range(6):
        start = time.perf_counter()
        rand_augment_batch(images, seed_grid(128, salt)).numpy()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.2


def test_images_depend_on_their_own_seed_alone():
    images = np.stack(list(synthetic_images(32, 32).values()) * 8)
    seeds = seed_grid(len(images))
    result = rand_augment_batch(tf.constant(images), seeds).numpy()
    order = np.random.default_rng(0).permutation(len(images))
    permuted = rand_augment_batch(tf.constant(images[order]), seeds[order])
    np.testing.assert_array_equal(permuted, result[order])


def test_different_seeds_give_different_images():
    images = np.stack([synthetic_images(32, 32)["random"]] * 40)
    first, second = (
        rand_augment_batch(tf.constant(images), seed_grid(40, salt), 2, 9, 4, 4).numpy()
        for salt in (0, 1)
    )
    assert len(np.unique(first, axis=0)) > 30  # Invert and Solarize, say, meet again
    assert (first != second).any((1, 2, 3)).sum() > 30


@pytest.mark.parametrize("parallel", [1, 4])
def test_datasets_give_the_eager_images(parallel):
    images = np.stack(list(synthetic_images(32, 32).values()) * 8)
    seeds = seed_grid(len(images))
    expected = rand_augment_batch(tf.constant(images), seeds, 2, 15, translate=4, cutout=4).numpy()
    arguments = {"num_layers": 2, "magnitude": 15, "translate": 4, "cutout": 4}
    source = tf.data.Dataset.from_tensor_slices((images, seeds))
    single = source.map(functools.partial(rand_augment, **arguments), num_parallel_calls=parallel)
    batched = source.batch(8, drop_remainder=True).map(
        functools.partial(rand_augment_batch, **arguments), num_parallel_calls=parallel
    )
    assert single.element_spec.shape == (32, 32, 3)
    assert batched.element_spec.shape == (8, 32, 32, 3)
    np.testing.assert_array_equal(np.stack(list(single)), expected)
    np.testing.assert_array_equal(np.concatenate(list(batched)), expected)


def test_magnitude_matters():
    images = np.stack([synthetic_images(32, 32)["gradient"]] * 40)
    weak, strong = (
        rand_augment_batch(tf.constant(images), seed_grid(40), 2, magnitude, 4, 4).numpy()
        for magnitude in (5, 27)
    )
    assert (weak != strong).any((1, 2, 3)).mean() > 0.8


@pytest.mark.slow
def test_magnitude_noise_spreads_magnitudes_and_no_more():
    """The columns' own numbers show by how much TranslateX has moved an image."""
    count, side = 4000, 64
    image = np.broadcast_to(np.arange(side)[:, np.newaxis], (side, side, 3)).astype(np.uint8)
    arguments = {"num_layers": 1, "magnitude": 10, "translate": 12}
    images = tf.constant(np.broadcast_to(image, (count, side, side, 3)))
    plain, noised = (
        rand_augment_batch(images, seed_grid(count), magnitude_noise=noise, **arguments).numpy()
        for noise in (0, 3)
    )
    middle = slice(side // 2 - 2, side // 2 + 3)
    shifts = {}
    for name, results in (("plain", plain), ("noised", noised)):
        shift = results[:, :, middle, 0].astype(int) - image[:, middle, 0]
        moved = (np.ptp(shift, axis=(1, 2)) == 0) & (np.abs(shift[:, 0, 0]) < 30)
        shifts[name] = np.where(moved & (shift[:, 0, 0] != 0), shift[:, 0, 0], 0)
    translated = np.abs(shifts["plain"]) == 12
    assert 180 < translated.sum() < 320  # a sixteenth of 4000
    drawn = np.abs(shifts["noised"][translated & (shifts["noised"] != 0)])
    assert len(drawn) > 0.98 * translated.sum()  # the same images are translated,
    same_side = np.sign(shifts["noised"]) == np.sign(shifts["plain"])
    assert same_side[translated].mean() > 0.98  # to the same side,
    assert abs(drawn.mean() - 12) < 0.9  # on average as far,
    assert abs(drawn.std() - 12 * 3 / 10) < 0.7  # give or take


@pytest.mark.slow
def test_published_contrast_changes_contrast_alone():
    """With one operation an image, a sixteenth of the images change."""
    count, side = 800, 48
    image = np.random.default_rng(0).integers(60, 200, (side, side, 3)).astype(np.uint8)
    images = tf.constant(np.broadcast_to(image, (count, side, side, 3)))
    pils, published = (
        rand_augment_batch(images, seed_grid(count), 1, 10, 5, 4.5, contrast=form).numpy()
        for form in ("true_mean", "published")
    )
    changed = (pils != published).any((1, 2, 3))
    assert abs(changed.sum() - count / 16) < 3.3 * np.sqrt(count / 16)
    assert np.all(pils[changed] == OPERATIONS["Contrast"](image, 1.9))
    # 48 * 48 / 256 = 9
    by_hand = np.clip(9 + np.float32(1.9) * (image.astype(np.float32) - 9), 0, 255)
    assert np.all(published[changed] == by_hand.astype(np.uint8))
    single = rand_augment(image, seed_grid(count)[changed][0], 1, 10, 5, 4.5, contrast="published")
    np.testing.assert_array_equal(single, published[changed][0])


def test_policy_names_what_is_wrong():
    image = synthetic_images(32, 32)["random"]
    with pytest.raises(ValueError, match="num_layers must be at least 1.*0"):
        rand_augment(image, [0, 0], num_layers=0)
    with pytest.raises(ValueError, match="magnitude must be .*-3"):
        rand_augment_batch(image[np.newaxis], [[0, 0]], magnitude=-3)
    with pytest.raises(ValueError, match="magnitude_noise must be at least 0.*-1"):
        rand_augment(image, [0, 0], magnitude_noise=-1)
    with pytest.raises(ValueError, match="contrast must be one of true_mean, published.*'pil'"):
        rand_augment(image, [0, 0], contrast="pil")
    with pytest.raises(TypeError, match="noise"):
        rand_augment(image, [0, 0], noise=1)
    with pytest.raises(ValueError, match=r"uint8 \[B, H, W, 3\].*uint8 \(32, 32, 3\)"):
        rand_augment_batch(image, [[0, 0]])


def test_contact_sheet_shows_every_operation(tmp_path):
    image = synthetic_images(61, 47)["random"]
    randaugment.contact_sheet(image, [3, 4]).save(tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as stored:
        sheet = np.asarray(stored.convert("RGB"))

    def is_shown(cell):
        # Middle rows are looked for, because the first ones of several cells are alike.
        for top in range(sheet.shape[0] - 60):
            start = sheet[top + 30].tobytes().find(cell[30].tobytes())
            left = start // 3
            if start >= 0 and np.array_equal(sheet[top : top + 61, left : left + 47], cell):
                return True
        return False

    for name in NAMES:
        for magnitude in (3, 4):
            assert is_shown(OPERATIONS[name](image, level_to_argument(name, magnitude)).numpy())
