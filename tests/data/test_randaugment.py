import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from data import randaugment
from data.randaugment import OPERATIONS, level_to_argument, rand_augment, rand_augment_batch

NAMES = [
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd"),
    *("Color", "Contrast", "Brightness", "Sharpness"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Cutout"),
]
GEOMETRY = ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"]
WITHOUT_ARGUMENT = ["AutoContrast", "Equalize", "Invert"]
SIZES = [(32, 32), (61, 47), (224, 224)]
SAMPLES = pathlib.Path(__file__).parents[3] / "shared" / "data" / "imagenet_sample"


def seed_grid(count, salt=0):
    return np.stack([np.arange(count), np.full(count, salt)], axis=1).astype(np.int32)


@functools.cache
def synthetic_images(height, width):
    rng = np.random.default_rng(height)
    vertical, horizontal = np.linspace(0, 255, height), np.linspace(0, 100, width)
    gradient = np.stack(
        [
            np.broadcast_to(vertical[:, np.newaxis], (height, width)),
            np.add.outer(vertical / 3, horizontal),
            np.broadcast_to(250 - horizontal, (height, width)),
        ],
        axis=-1,
    )
    two_levels = np.where(rng.random((height, width, 3)) < 0.3, 10, 201)
    few = rng.integers(0, 256, (height, width, 3))
    few[height // 4 :] = 60  # fewer pixels than 255 above the lowest level at 32 x 32
    images = {
        "random": rng.integers(0, 256, (height, width, 3)),
        "gradient": gradient,
        "constant": np.full((height, width, 3), [0, 77, 255]),
        "two levels": two_levels,
        "mostly constant": few,
    }
    return {name: image.astype(np.uint8) for name, image in images.items()}


@functools.cache
def photographs():
    images = []
    for path, (height, width) in zip(sorted(SAMPLES.glob("*/*"))[::400], SIZES, strict=False):
        with Image.open(path) as stored:
            images.append(np.asarray(stored.convert("RGB").resize((width, height))))
    return images


def from_pil(name, image, argument):
    """What PIL (or, where it has no such function, a table) makes of an image."""
    image = Image.fromarray(image)

    def affine(matrix):
        return image.transform(
            image.size, Image.AFFINE, matrix, resample=Image.NEAREST, fillcolor=(128, 128, 128)
        )

    solarize_add = [min(i + argument, 255) if i < 128 else i for i in range(256)] if argument else 0
    result = {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
        "Posterize": lambda: ImageOps.posterize(image, argument),
        "Solarize": lambda: ImageOps.solarize(image, argument),
        "SolarizeAdd": lambda: image.point(solarize_add * 3) if argument else image,
        "Color": lambda: ImageEnhance.Color(image).enhance(argument),
        "Contrast": lambda: ImageEnhance.Contrast(image).enhance(argument),
        "Brightness": lambda: ImageEnhance.Brightness(image).enhance(argument),
        "Sharpness": lambda: ImageEnhance.Sharpness(image).enhance(argument),
        "Rotate": lambda: image.rotate(argument, Image.NEAREST, fillcolor=(128, 128, 128)),
        "ShearX": lambda: affine((1, argument, 0, 0, 1, 0)),
        "ShearY": lambda: affine((1, 0, 0, argument, 1, 0)),
        "TranslateX": lambda: affine((1, 0, argument, 0, 1, 0)),
        "TranslateY": lambda: affine((1, 0, 0, 0, 1, argument)),
    }[name]()
    return np.asarray(result)


def assert_equals_pil(name, image, argument):
    result = OPERATIONS[name](image, argument)
    assert result.dtype == tf.uint8
    expected = from_pil(name, image, argument)
    if name in GEOMETRY:
        # The same fixed-point coordinates as PIL's, pixel for pixel where this was written. Another
        # library's sine in its last digit could move single pixels that lie on an edge.
        assert (result.numpy() != expected).mean() <= 0.001
    else:
        np.testing.assert_array_equal(result, expected)


def arguments_to_test(name, magnitudes):
    if name in WITHOUT_ARGUMENT:
        return [None]
    arguments = [level_to_argument(name, magnitude) for magnitude in magnitudes]
    return arguments + [-argument for argument in arguments if name in GEOMETRY]


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
    with pytest.raises(ValueError, match="magnitude must be .* not -1"):
        level_to_argument("Rotate", -1)


# Operations.


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Cutout"])
def test_operation_equals_pil(name):
    for size in SIZES[:2]:
        for image in synthetic_images(*size).values():
            for argument in arguments_to_test(name, [1, 5, 6, 10, 12, 15, 18, 24, 27, 30]):
                assert_equals_pil(name, image, argument)
    for kind in ("random", "gradient"):
        for argument in arguments_to_test(name, [27]):
            assert_equals_pil(name, synthetic_images(*SIZES[2])[kind], argument)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Cutout"])
def test_operation_equals_pil_on_photographs(name):
    if not SAMPLES.is_dir():
        pytest.skip(f"no photographs in {SAMPLES}")
    for image in photographs():
        for argument in arguments_to_test(name, [10, 27]):
            assert_equals_pil(name, image, argument)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("Rotate", [0, 90, 180, 270, 360, -45, 30.5]),
        ("Posterize", [1, 7, 8]),
        ("Solarize", [0, 1, 255, 256]),
        ("SolarizeAdd", [0, 1, 300]),
        ("Color", [0.0, 0.5, 1.0]),
        ("Contrast", [0.0, 0.5, 1.0]),
        ("Brightness", [0.0, 0.5, 1.0]),
        ("Sharpness", [0.0, 0.5, 1.0]),
        ("ShearX", [0, 0.5, 1, -2]),
        ("TranslateX", [0, 0.4, 0.6, -3.5, 31, 32, 1000]),
        ("TranslateY", [0, 0.4, 0.6, -3.5, 31, 32, 1000]),
    ],
)
def test_operation_equals_pil_at_special_arguments(name, arguments):
    for size in SIZES[:2]:
        for argument in arguments:
            assert_equals_pil(name, synthetic_images(*size)["random"], argument)


def test_sharpness_leaves_images_without_interior():
    for size in [(1, 1), (2, 5), (5, 2), (3, 3)]:
        image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
        assert_equals_pil("Sharpness", image, 4.96)


@pytest.mark.parametrize("center", [(20, 30), (0, 0), (60, 46), (3, 40)])
@pytest.mark.parametrize("half", [0, 1, 10, 108])
def test_cutout_fills_a_clipped_square(half, center):
    image = synthetic_images(61, 47)["random"]
    expected = image.copy()
    rows = slice(max(center[0] - half, 0), center[0] + half)
    expected[rows, max(center[1] - half, 0) : center[1] + half] = 128
    np.testing.assert_array_equal(OPERATIONS["Cutout"](image, half, center=center), expected)


def test_cutout_without_center_is_in_the_middle():
    image = synthetic_images(32, 32)["gradient"]
    expected = image.copy()
    expected[11:21, 11:21] = 128
    np.testing.assert_array_equal(OPERATIONS["Cutout"](image, 5), expected)


@pytest.mark.parametrize("name", NAMES)
def test_operation_is_the_same_inside_a_dataset(name):
    image = synthetic_images(61, 47)["random"]
    argument = level_to_argument(name, 27)
    expected = OPERATIONS[name](image, argument)
    numbers = [0.0 if argument is None else argument] * 2
    for source in (  # with an argument that is a number, and one that is a tensor
        tf.data.Dataset.from_tensors(image).map(lambda image: OPERATIONS[name](image, argument)),
        tf.data.Dataset.from_tensor_slices(numbers).map(functools.partial(OPERATIONS[name], image)),
    ):
        assert source.element_spec.shape == (61, 47, 3)
        for result in source:
            np.testing.assert_array_equal(result, expected)


def test_operation_names_what_is_wrong():
    image = synthetic_images(32, 32)["random"]
    with pytest.raises(ValueError, match="Rotate needs an argument"):
        OPERATIONS["Rotate"](image)
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], not float32"):
        OPERATIONS["Invert"](image.astype(np.float32))
    with pytest.raises(ValueError, match=r"not uint8 \(32, 32\)"):
        OPERATIONS["Invert"](image[..., 0])


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


def test_policy_names_what_is_wrong():
    image = synthetic_images(32, 32)["random"]
    with pytest.raises(ValueError, match="num_layers must be at least 1, not 0"):
        rand_augment(image, [0, 0], num_layers=0)
    with pytest.raises(ValueError, match="magnitude must be .* not -3"):
        rand_augment_batch(image[np.newaxis], [[0, 0]], magnitude=-3)
    with pytest.raises(ValueError, match=r"uint8 \[B, H, W, 3\], not uint8 \(32, 32, 3\)"):
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
