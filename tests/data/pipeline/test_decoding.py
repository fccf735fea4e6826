import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import preprocess


def levels_apart(image, other):
    return np.abs(np.asarray(image, int) - np.asarray(other, int)).max()


@pytest.mark.parametrize(
    "format_name, mode",
    [("PNG", mode) for mode in ("RGB", "L", "P", "RGBA")]
    + [(name, mode) for name in ("JPEG", "GIF", "BMP") for mode in ("RGB", "L")],
)
def test_decode_image_equals_pil(format_name, mode):
    # A smooth image, as JPEG decoders differ on noise.
    smooth = np.add.outer(np.arange(20) * 5, np.arange(31) * 4)[..., np.newaxis] + [0, 10, 20]
    image = Image.fromarray(smooth.astype(np.uint8)).convert(mode)
    if format_name == "GIF":
        image = image.convert("P")
    data = io.BytesIO()
    image.save(data, format_name)
    decoded = preprocess.decode_image(tf.constant(data.getvalue()))
    assert decoded.dtype == tf.uint8
    expected = Image.open(data).convert("RGB")
    assert levels_apart(decoded, expected) <= (2 if format_name == "JPEG" else 0)


def test_decode_image_takes_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    decoded = preprocess.decode_image(tf.constant(data.getvalue()))
    np.testing.assert_array_equal(decoded, np.full((4, 6, 3), [255, 0, 0]))


def smooth_image(height=48, width=64):
    rows, columns = np.linspace(0, 120, height), np.linspace(0, 110, width)
    return (np.add.outer(rows, columns)[..., np.newaxis] + [0, 10, 20]).astype(np.uint8)


def stored(image, image_format, **options):
    data = io.BytesIO()
    image.save(data, image_format, **options)
    return data.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 2},
        {"quality": 60},
        {"restart_marker_rows": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_of_all_kinds_are_decoded_as_by_pil(options, mode):
    data = stored(Image.fromarray(smooth_image()).convert(mode), "JPEG", **options)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert levels_apart(preprocess.decode_image(data), expected) <= 3


def test_cmyk_jpegs_are_decoded_as_by_pil():
    # Ink with a black part of its own, which a conversion from RGB would not have.
    ink = np.dstack([smooth_image(), smooth_image()[..., 0] // 2])
    data = stored(Image.fromarray(ink, "CMYK"), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
    assert np.ptp(expected) > 150
    difference = np.abs(preprocess.decode_image(data).numpy() - expected)
    assert difference.max() <= 6 and difference.mean() < 1.5


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp_is_decoded_as_by_pil(mode, lossless):
    data = stored(Image.fromarray(smooth_image()).convert(mode), "WEBP", lossless=lossless)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert levels_apart(preprocess.decode_image(data), expected) == 0


def test_sixteen_bit_pngs_keep_their_upper_byte():
    image = np.random.default_rng(0).integers(0, 2**16, (20, 31)).astype(np.uint16)
    decoded = preprocess.decode_image(stored(Image.fromarray(image), "PNG"))
    np.testing.assert_array_equal(decoded[..., 1], image >> 8)


def test_orientation_tags_turn_nothing():
    # As in the published preprocessing of ImageNet, some photographs of which carry such a tag.
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees"
    data = stored(Image.fromarray(smooth_image()), "JPEG", exif=exif)
    decoded = preprocess.decode_image(data)
    assert decoded.shape == (48, 64, 3)
    assert levels_apart(decoded, Image.open(io.BytesIO(data))) <= 3


def transparent():
    """Noise whose lower half is transparent; the colors beneath are kept."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4)).astype(np.uint8)
    pixels[10:, :, 3], pixels[:10, :, 3] = 0, 255
    return pixels


@pytest.mark.parametrize(
    "image_format, options",
    [("WEBP", {"lossless": True, "exact": True}), ("PNG", {}), ("WEBP", {"lossless": True})],
)
@pytest.mark.parametrize("graph", [True, False])
def test_transparency_is_dropped_over_the_colors_beneath(image_format, options, graph):
    data = stored(Image.fromarray(transparent()), image_format, **options)
    decode = tf.function(preprocess.decode_named) if graph else preprocess.decode_named
    decoded = decode(tf.constant(data), tf.constant("a")).numpy()
    assert decoded.shape == (20, 30, 3)
    np.testing.assert_array_equal(decoded[:10], transparent()[:10, :, :3])
    if options.get("exact", True) and image_format == "PNG" or "exact" in options:
        np.testing.assert_array_equal(decoded, transparent()[..., :3])


def test_lossy_webp_with_transparency_is_decoded_as_by_pil():
    pixels = np.dstack([smooth_image(), np.full((48, 64), 100, np.uint8)])
    data = stored(Image.fromarray(pixels), "WEBP", quality=80)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert levels_apart(preprocess.decode_image(data), expected) == 0


@pytest.mark.parametrize("data", [b"", b"RIFF", b"no image", b"\xff\xd8\xff\xd9"])
@pytest.mark.parametrize("graph", [True, False])
def test_an_image_that_cannot_be_decoded_is_named(data, graph):
    decode = tf.function(preprocess.decode_named) if graph else preprocess.decode_named
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        decode(tf.constant(data), tf.constant("some/where.jpg"))
    named = preprocess.undecodable(error.value)
    assert isinstance(named, ValueError) and "some/where.jpg: cannot" in str(named)
