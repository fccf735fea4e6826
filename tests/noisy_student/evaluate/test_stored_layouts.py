"""Stored benchmarks in the layouts in which they are published."""

import numpy as np
import pytest

from efficientnet import convert
from noisy_student.evaluate import stored
from tests.helpers import tfds_layout
from tests.helpers import tiny_evaluation as tiny

WNIDS = tiny.WNIDS


# Sets of tensorflow-datasets.


def write_tfds(folder, name, split, images, labels):
    """A set whose classes are the WordNet ids in another order."""
    labels = [9 - label for label in labels]
    tfds_layout.write(folder, name, split, images, labels, tuple(reversed(WNIDS)))


def test_imagenet_r_of_tfds_is_measured_as_a_folder_is(models, tmp_path):
    tiny.write_imagenet_a(tmp_path / "r")
    images = tiny.pictures(15, 2 * tiny.SIDE)
    write_tfds(tmp_path, "renditions", "test", images, np.repeat((2, 5, 7), 5))
    results = [
        tiny.run(
            models["wnids"],
            None,
            tmp_path / f"out{i}",
            tiny.settings("imagenet_r", imagenet_r_dir=place, data_dir=str(tmp_path)),
        )["imagenet_r"]
        for i, place in enumerate(("tfds:renditions", tmp_path / "r"))
    ]
    for key in ("num_examples", "num_classes", "top1", "top1_all_classes"):
        assert results[0][key] == results[1][key]
    assert results[0]["num_classes"] == 3 and results[0]["top1"] > results[0]["top1_all_classes"]


def test_imagenet_c_of_tfds(models, tmp_path):
    images = {"fog_2": tiny.pictures(6, seed=1), "snow_5": tiny.pictures(6, seed=2)}
    for setting, pictures in images.items():
        write_tfds(tmp_path / "stored_c", setting, "validation", pictures, range(6))
    name = "imagenet2012_corrupted"
    chosen = tiny.settings(
        name, imagenet2012_corrupted_dir="tfds:stored_c", data_dir=str(tmp_path), batch_size=6
    )
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)[name]
    for name, level in (("fog", "2"), ("snow", "5")):
        guesses = tiny.guesses_one_by_one(images[f"{name}_{level}"])
        assert result["errors"][name] == {level: np.mean(guesses != np.arange(6))}
    assert len(result["missing"]) == 73 and not {"mce", "relative_to_alexnet"} & set(result)
    for name, place in (("imagenet_c", "tfds:x"), ("imagenet2012_corrupted", str(tmp_path))):
        chosen = tiny.settings(name, **{f"{name}_dir": place})
        with pytest.raises(ValueError, match=f"--{name}_dir={place} must be .*--benchmarks=imagen"):
            tiny.run(models["wnids"], None, tmp_path / "out", chosen)
    chosen = tiny.settings("imagenet_p", imagenet_p_dir="tfds:imagenet_p")
    with pytest.raises(ValueError, match="--imagenet_p_dir=tfds:imagenet_p must be a folder"):
        tiny.run(models["wnids"], None, tmp_path / "out", chosen)


# Folders as published.


def test_folders_named_by_number_are_those_of_the_classes_in_order(models, tmp_path, caplog):
    """Reads the layout of ImageNet-V2; a text beside the folders (ImageNet-A) changes nothing."""
    tiny.write_imagenet_a(tmp_path / "ids", present=tuple(range(10)), count=2)
    for number, wnid in enumerate(WNIDS):
        (tmp_path / "numbers").mkdir(exist_ok=True)
        (tmp_path / "numbers" / str(number)).symlink_to(tmp_path / "ids" / wnid)
        (tmp_path / "padded").mkdir(exist_ok=True)
        (tmp_path / "padded" / f"{number:03d}").symlink_to(tmp_path / "ids" / wnid)
    expected = tiny.settings("imagenet_v2", imagenet_v2_dir=tmp_path / "ids")
    expected = tiny.run(models["wnids"], None, tmp_path / "out", expected)["imagenet_v2"]
    assert 0 < expected["top1_all_classes"] < 100
    for name in ("numbers", "padded"):
        (tmp_path / name / "README.txt").write_text("n00000000 is nothing")
        chosen = tiny.settings("imagenet_v2", imagenet_v2_dir=tmp_path / name)
        result = tiny.run(models["wnids"], None, tmp_path / name / ".out", chosen)["imagenet_v2"]
        assert result["top1_all_classes"] == expected["top1_all_classes"]
        assert result["num_examples"] == 20
        assert "used as class indices" in caplog.text


def test_folders_named_by_wordnet_id_fit_a_model_that_numbers_its_classes(tmp_path):
    ids = convert.imagenet_classes()[0]
    numbers = [str(number) for number in range(1000)]
    for name in (ids[3], ids[700]):
        (tmp_path / name).mkdir()
    assert stored._folder_names(str(tmp_path), numbers) == ids
    assert stored._folder_names(str(tmp_path), ids) == ids
    assert stored._folder_names(str(tmp_path), numbers[:10]) == numbers[:10]


def test_numbers_beyond_the_classes_are_refused(models, tmp_path):
    for name in ("0", "12"):
        tiny.write_image(tmp_path / "v2" / name / "0.jpg", tiny.pictures(1)[0])
    chosen = tiny.settings("imagenet_v2", imagenet_v2_dir=tmp_path / "v2")
    with pytest.raises(ValueError, match=r"v2/0 is not the folder of"):
        tiny.run(models["wnids"], None, tmp_path / "out", chosen)
