"""The check of images passes what training decodes, and nothing else."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import preprocess, sources
from data.sources import image_check
from tests.helpers.toy_folders import write_classes

WIDTH, HEIGHT = 17, 12


def picture():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def stored(image_format, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels, width=WIDTH, height=HEIGHT, extra=b"", packed=None):
    """A PNG of RGB pixels with correct checksums, whatever is in it."""
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(pixels) if packed is None else packed)
    return b"\x89PNG\r\n\x1a\n" + head + extra + data + chunk(b"IEND", b"")


def rows(count=HEIGHT):
    return b"".join(b"\0" + row.tobytes() for row in picture()[:count])


def bmp(bits, header=40, masks=(), compression=0, trailing=b""):
    """A BMP of noise with `bits` per pixel; a header of 12 bytes is that of OS/2."""
    size = -(-WIDTH * bits // 32) * 4 * HEIGHT
    pixels = np.random.default_rng(1).integers(0, 256, size).astype(np.uint8).tobytes()
    if header == 12:
        info = struct.pack("<I4H", 12, WIDTH, HEIGHT, 1, bits)
    else:
        info = struct.pack(
            "<I2i2H6I", header, WIDTH, HEIGHT, 1, bits, compression, size, 0, 0, 0, 0
        )
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header + (12 if masks and header == 40 else 0), b"\0")
    begin = 14 + len(info)
    return struct.pack("<2sI2HI", b"BM", begin + size, 0, 0, begin) + info + pixels + trailing


def jpeg(remove=b"", frame=None, bits=None, keep=None):
    data = stored("JPEG", quality=95)
    at = data.index(b"\xff\xc0")
    if frame is not None:
        data = data[: at + 1] + bytes([frame]) + data[at + 2 :]
    if bits is not None:
        data = data[: at + 4] + bytes([bits]) + data[at + 5 :]
    return data if keep is None else data[: keep(data)] + b"\xff\xd9"


def without_tables():
    data = stored("JPEG", quality=95)
    begin = data.index(b"\xff\xc4")
    return data[:begin] + data[data.index(b"\xff\xda") :]


FILES = {
    "jpeg": jpeg(),
    "jpeg_progressive": stored("JPEG", progressive=True),
    "jpeg_gray": stored("JPEG", "L"),
    "jpeg_cmyk": stored("JPEG", "CMYK"),
    "jpeg_trailing": jpeg() + b"\0" * 50,
    "jpeg_cut": jpeg()[:-100],
    "jpeg_cut_and_closed": jpeg(keep=lambda data: len(data) - 100),
    "jpeg_lossless": jpeg(frame=0xC3),
    "jpeg_hierarchical": jpeg(frame=0xC5),
    "jpeg_arithmetic": jpeg(frame=0xC9),
    "jpeg_12_bits": jpeg(bits=12),
    "jpeg_header_and_end": jpeg(keep=lambda data: data.index(b"\xff\xda")),
    "jpeg_frame_and_end": jpeg(keep=lambda data: data.index(b"\xff\xc4")),
    "jpeg_begin_and_end": b"\xff\xd8\xff\xd9",
    "jpeg_no_tables": without_tables(),
    "png": png(rows()),
    "png_rgba": stored("PNG", "RGBA"),
    "png_palette": stored("PNG", "P"),
    "png_trailing": png(rows()) + b"\0" * 50,
    "png_garbage": png(b"", packed=bytes(range(200))),
    "png_too_few_pixels": png(rows(3)),
    "png_no_pixels": png(b""),
    "png_much_text": png(rows(), extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * (2 << 20)))),
    "png_wrong_checksum": png(rows())[:-30] + b"\0" + png(rows())[-29:],
    "png_no_size": png(rows(), width=0),
    "gif": stored("GIF", "P"),
    "gif_cut": stored("GIF", "P")[:-60],
    "bmp": stored("BMP"),
    "bmp_gray": stored("BMP", "L"),
    "bmp_palette": stored("BMP", "P"),
    "bmp_1": stored("BMP", "1"),
    "bmp_16": bmp(16),
    "bmp_16_masks": bmp(16, masks=(0xF800, 0x7E0, 0x1F), compression=3),
    "bmp_24_os2": bmp(24, header=12),
    "bmp_24_v5": bmp(24, header=124),
    "bmp_24_trailing": bmp(24, trailing=b"\0" * 120),
    "bmp_32": bmp(32),
    "bmp_32_swapped": bmp(32, 108, (0xFF, 0xFF00, 0xFF0000, 0xFF << 24), 3),
    "webp": stored("WEBP", lossless=True),
    "webp_alpha": stored("WEBP", "RGBA", lossless=True),
    "webp_cut": stored("WEBP", lossless=True)[:-60],
    "text": b"no image",
    "tiff": stored("TIFF"),
    "html": b"<html><body>404</body></html>",
}


def by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def is_decoded(data):
    try:
        return preprocess.decode_image(data).numpy()
    except tf.errors.InvalidArgumentError:
        return None


@pytest.mark.parametrize("name", FILES)
def test_exactly_what_is_decoded_passes(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    problem, decoded = image_check.file_problem(tmp_path / name), is_decoded(FILES[name])
    assert image_check.problem(memoryview(FILES[name]) if FILES[name] else b"") == problem
    if not problem:
        assert decoded is not None
        if not name.startswith("jpeg"):
            # Pillow refuses the text.
            expected = picture() if name == "png_much_text" else by_pillow(FILES[name])
            np.testing.assert_array_equal(decoded, expected)
    elif decoded is not None:
        # TensorFlow reads it, but not as it is meant.
        assert "TensorFlow" in problem
        assert not np.array_equal(decoded, by_pillow(FILES[name]))


def test_what_a_check_must_tell_apart_is_there():
    passing = {n for n, data in FILES.items() if not image_check.problem(memoryview(data))}
    assert {"png_much_text", "webp_alpha", "jpeg_trailing", "bmp_24_v5"} <= passing
    refused = {"jpeg_lossless", "jpeg_header_and_end", "png_garbage", "bmp_16", "bmp_24_os2"}
    assert not passing & (refused | {"png_too_few_pixels", "bmp_24_trailing", "bmp_32_swapped"})


def test_images_of_too_many_pixels_are_refused_without_decoding():
    problem = image_check.problem(memoryview(png(b"", width=15000, height=15000)))
    assert "15000 x 15000" in problem and f"{image_check.MAX_PIXELS:,}" in problem
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">2H", 20000, 20000)
    assert "20000 x 20000" in image_check.problem(memoryview(bytes(data)))


def with_damaged_codes(data):
    """A JPEG whose header is sound, and whose Huffman codes are impossible."""
    at = data.index(b"\xff\xc4") + 5
    return data[:at] + b"\xff" * 8 + data[at + 8 :]


def test_a_jpeg_damaged_behind_its_header_is_found_when_splits_are_drawn(tmp_path, monkeypatch):
    folder = write_classes(tmp_path / "train", {"cat": 6, "dog": 6})
    path = tmp_path / "train" / "dog" / "999.jpg"
    path.write_bytes(with_damaged_codes(jpeg()))
    assert is_decoded(path.read_bytes()) is None
    assert image_check.file_problem(path) == "", "the header does not tell"
    with pytest.raises(ValueError, match=r"dog/999\.jpg is not a readable image") as error:
        sources.load_splits(sources.Folder(folder))
    assert "\n" not in str(error.value)
    monkeypatch.setattr(image_check, "VERIFIED_BYTES", 1000)
    assert len(sources.load_splits(sources.Folder(folder)).test) == 3


def test_all_damaged_images_are_named_at_once(tmp_path):
    folder = write_classes(tmp_path / "train", {"cat": 6, "dog": 6})
    for name in ("cat/7.jpg", "dog/8.jpg"):
        (tmp_path / "train" / name).write_bytes(with_damaged_codes(jpeg()))
    with pytest.raises(ValueError, match=r"2 files: .*cat/7\.jpg is not .*; .*dog/8\.jpg is not"):
        sources.load_splits(sources.Folder(folder))
    (tmp_path / "train" / "cat" / "notes.txt").write_text("a cat")
    (tmp_path / "train" / "dog" / "empty.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2 files: .*notes\.txt is not .*; .*empty\.png is not"):
        sources.load_splits(sources.Folder(folder))
    assert image_check.listed([f"{i} is bad" for i in range(52)]).endswith("; and 2 more")
