import io
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from data import leakage, sources
from tests.helpers.marks import slow_param

SAMPLES = pathlib.Path(__file__).parents[4] / "shared" / "data" / "imagenet_sample"


def drawn_photos(count):
    """Pictures of blurred noise, as different from one another as photographs."""
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (12, 16, 3)).astype(np.uint8)
        yield Image.fromarray(noise).resize((320, 240), Image.BICUBIC)


def photos(kind, count=60):
    if kind == "drawn":
        return list(drawn_photos(count))
    if not SAMPLES.is_dir():
        pytest.skip(f"no photographs in {SAMPLES}")
    return [Image.open(p).convert("RGB") for p in sorted(SAMPLES.glob("*/*"))[: 5 * count : 5]]


def encoded_again(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


COPIES = {
    "encoded again": encoded_again,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "squeezed": lambda image: image.resize((64, 64)),
    "brighter": lambda image: image.point(lambda value: min(value + 30, 255)),
    "less contrast": lambda image: image.point(lambda value: 60 + value // 2),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "mirrored": ImageOps.mirror,
}


def save(images, folder):
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        image.save(folder / f"{i:03d}.png")


def load(root):
    return sources.load_splits(
        sources.Folder(str(root / "train"), test_dir=str(root / "test")),
        sources.Draw(num_validation=1, unlabeled=sources.UnlabeledFolder(str(root / "more"))),
    )


def write_splits(root, images):
    """Test images; others to learn from, among them a copy of the test images 0, 1, ..."""
    copies = [make(image) for make, image in zip(COPIES.values(), images[:10], strict=False)]
    save(images[:10], root / "test" / "cat")
    save(images[10:25], root / "train" / "cat")
    save([*images[25:], *copies], root / "more")
    return [f"unlabeled/{len(images) - 25 + i:03d}.png" for i in range(len(copies))]


@pytest.mark.parametrize("kind", ["drawn", slow_param("photographs")])
def test_planted_copies_are_found_and_nothing_else(tmp_path, kind):
    planted = write_splits(tmp_path, photos(kind))
    splits = load(tmp_path)
    found = leakage.check(splits, leakage.MAX_DISTANCE, leakage.MIN_CORRELATION)
    assert not found["labeled"] and not found["validation"]
    assert [str(splits.unlabeled.ids[pair.index]) for pair in found["unlabeled"]] == planted
    assert [pair.test_index for pair in found["unlabeled"]] == list(range(len(planted)))
    assert [pair.mirrored for pair in found["unlabeled"]] == [name == "mirrored" for name in COPIES]


@pytest.mark.slow
def test_the_report_lists_what_to_exclude(tmp_path):
    planted = write_splits(tmp_path, photos("drawn"))
    splits = load(tmp_path)
    summary = leakage.write(splits, str(tmp_path / "out"), max_pairs=3)
    assert summary == json.loads((tmp_path / "out" / "leakage.json").read_text())
    assert summary["sets"]["unlabeled"]["near_duplicates"] == len(planted)
    assert summary["sets"]["labeled"]["near_duplicates"] == 0
    assert summary["test_images_leaked"] == len(planted)
    assert summary["test_fingerprint"] == splits.test.fingerprint()
    page = (tmp_path / "out" / "leakage.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 2 * 3
    assert "unlabeled: 7 of 42 images" in page and "4 more pairs" in page
    assert planted[0] in page
    clean = sources.load_splits(
        sources.Folder(str(tmp_path / "train"), test_dir=str(tmp_path / "test")),
        sources.Draw(
            num_validation=1,
            exclude=tmp_path / "out" / "exclude.txt",
            unlabeled=sources.UnlabeledFolder(str(tmp_path / "more")),
        ),
    )
    assert set(splits.unlabeled.ids) - set(clean.unlabeled.ids) == set(planted)
    assert not any(leakage.check(clean, 8, 0.95).values())


def in_memory(image):
    image = np.clip(image, 0, 255).astype(np.uint8)[np.newaxis, ..., np.newaxis].repeat(3, -1)
    return sources.DecodedExamples(
        np.array(["a"], object), np.zeros(1, np.int32), ("x",), images=image
    )


def test_close_hashes_of_different_pictures_are_told_apart():
    rows, columns = np.indices([32, 32])
    (picture,) = drawn_photos(1)
    coarse = np.asarray(picture.convert("L").resize((32, 32)), float) / 2 + 64
    stripes, squares = (coarse + 60 * (-1.0) ** where for where in (rows, rows + columns))
    one, other = in_memory(stripes), in_memory(squares)
    assert leakage.find(one, other, min_correlation=-1)
    assert not leakage.find(one, other)
    (pair,) = leakage.find(one, one, max_distance=0)
    assert (pair.index, pair.test_index, pair.distance, pair.mirrored) == (0, 0, 0, False)
    assert pair.correlation == pytest.approx(1)


@pytest.mark.slow
def test_the_command(tmp_path):
    write_splits(tmp_path, photos("drawn"))
    command = [sys.executable, "-m", "data.leakage", "--dataset=folder", "--num_validation=1"]
    for name in ("labeled_dir=train", "unlabeled_dir=more", "test_dir=test", "output_dir=out"):
        flag, folder = name.split("=")
        command.append(f"--{flag}={tmp_path / folder}")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "unlabeled: 7 of 42 look like a test image" in done.stdout
    assert len((tmp_path / "out" / "exclude.txt").read_text().splitlines()) == 7
