import functools
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from data.randaugment import OPERATIONS, level_to_argument
from tests.helpers.marks import slow_param
from tests.helpers.toy_operations import GEOMETRY, NAMES, synthetic_images

WITHOUT_ARGUMENT = ["AutoContrast", "Equalize", "Invert"]
SIZES = [(32, 32), (61, 47), (224, 224)]
SAMPLES = pathlib.Path(__file__).parents[4] / "shared" / "data" / "imagenet_sample"


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


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Cutout"])
def test_operation_equals_pil(name):
    for size in SIZES[:2]:
        for image in synthetic_images(*size).values():
            for argument in arguments_to_test(name, [1, 5, 6, 10, 12, 15, 18, 24, 27, 30]):
                assert_equals_pil(name, image, argument)
    for image in synthetic_images(*SIZES[2]).values():
        for argument in arguments_to_test(name, [5, 10, 27]):
            assert_equals_pil(name, image, argument)


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


TRACED = ("Rotate", "Posterize", "Color")  # one of each kind; the others are slow


@pytest.mark.parametrize("name", [n if n in TRACED else slow_param(n) for n in NAMES])
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
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\].*float32"):
        OPERATIONS["Invert"](image.astype(np.float32))
    with pytest.raises(ValueError, match=r"uint8 \(32, 32\)"):
        OPERATIONS["Invert"](image[..., 0])
