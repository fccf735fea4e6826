"""Stored benchmarks through the evaluation, beside plain loops over single images."""

import dataclasses

import numpy as np
import pytest

from data import robustness_sets
from data.robustness_sets import tfds_corrupted
from noisy_student import robustness
from noisy_student.artifacts.files import read_json
from tests.helpers import tiny_evaluation as tiny

WNIDS = tiny.WNIDS


# Folders of images.


def test_imagenet_a_decides_among_the_classes_present(models, tmp_path):
    images, labels = tiny.write_imagenet_a(tmp_path / "a")
    chosen = tiny.settings("imagenet_a", imagenet_a_dir=tmp_path / "a")
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_a"]
    logits = tiny.logits_one_by_one(images)
    right, right_of_all = 0, 0
    for row, label in zip(logits, labels, strict=True):
        right += max((2, 5, 7), key=lambda name, row=row: row[name]) == label
        right_of_all += row.argmax() == label
    assert result["top1"] == pytest.approx(100 * right / 15)
    assert result["top1_all_classes"] == pytest.approx(100 * right_of_all / 15)
    assert right != right_of_all, "the two figures must differ to be told apart"
    assert (result["num_examples"], result["num_classes"]) == (15, 3)
    assert "over the 3 classes present (of 200)" in tiny.describe(result)


def test_imagenet_a_of_fewer_classes_than_published_warns(models, tmp_path, caplog):
    """And its top-5 is among the classes present, by a plain loop."""
    present = (0, 1, 2, 3, 5, 7, 8, 9)
    images, labels = tiny.write_imagenet_a(tmp_path / "a", present, count=4)
    chosen = tiny.settings("imagenet_a", imagenet_a_dir=tmp_path / "a")
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_a"]
    right = 0
    for row, label in zip(tiny.logits_one_by_one(images), labels, strict=True):
        right += label in sorted(present, key=lambda name, row=row: -row[name])[:5]
    assert 0 < right < len(labels)
    assert result["top5"] == pytest.approx(100 * right / len(labels))
    assert (result["num_classes"], result["num_published_classes"]) == (8, 200)
    assert f"{tmp_path}/a: only 8 of 200 classes" in caplog.text


def write_imagenet_c(root, settings, count=6, side=40, skew=0):
    """Setting -> images; image i is of class i % 3, and a setting's images are its own."""
    found = {}
    for number, (name, severity) in enumerate(settings):
        images = tiny.pictures(count, side, seed=100 + number + skew)
        for i, image in enumerate(images):
            folder = root / name / str(severity) / WNIDS[i % 3]
            tiny.write_image(folder / f"{i}.JPEG", image)
        order = np.argsort(np.arange(count) % 3, kind="stable")  # by class, then by name
        found[name, severity] = images[order], (np.arange(count) % 3)[order]
    return found


def errors_one_by_one(written, folder):
    """Setting -> error; what the evaluation predicted for each image must be the same, too."""
    errors = {}
    for (name, severity), (images, labels) in written.items():
        guesses = tiny.guesses_one_by_one(tiny.resized(images))
        errors[name, severity] = np.mean(guesses != labels)
        stored = folder / f"{name}-{severity}.npz"
        if name in robustness.CORRUPTIONS:
            np.testing.assert_array_equal(np.load(stored)["labels"], guesses)
    return errors


def test_a_part_of_imagenet_c_is_named_so_and_has_no_mce(models, tmp_path, caplog):
    settings = [("fog", 1), ("fog", 3), ("contrast", 5), ("spatter", 2)]
    written = write_imagenet_c(tmp_path / "c", settings)
    chosen = tiny.settings("imagenet_c", imagenet_c_dir=tmp_path / "c")
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_c"]
    expected = errors_one_by_one(written, tmp_path / "out/imagenet_c")
    assert result["errors"] == {
        "fog": {"1": expected["fog", 1], "3": expected["fog", 3]},
        "contrast": {"5": expected["contrast", 5]},
    }
    fog = (expected["fog", 1] + expected["fog", 3]) / 2
    assert result["mean_error"] == pytest.approx(100 * (fog + expected["contrast", 5]) / 2)
    assert len(result["missing"]) == 72
    assert "fog 2" in result["missing"] and "fog 1" not in result["missing"]
    assert "mce" not in result and "mCE" not in tiny.describe(result)
    assert "72 parts missing" in tiny.describe(result)
    assert "72 missing (gaussian_noise 1, " in caplog.text


def test_all_of_imagenet_c_has_the_published_mean(models, tmp_path, monkeypatch):
    settings = [(name, level) for name in robustness.CORRUPTIONS for level in range(1, 6)]
    written = {setting: tiny.examples(8, seed=i) for i, setting in enumerate(settings)}
    complete = robustness_sets.CorruptedImages(
        tuple(settings), (), lambda name, level, classes: written[name, level], lambda *_: 8
    )
    monkeypatch.setattr(robustness_sets, "imagenet_c", lambda root: complete)
    chosen = tiny.settings("imagenet_c", imagenet_c_dir=tmp_path)
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_c"]
    total = 0.0
    for name, alexnet in robustness.ALEXNET_CORRUPTION_ERROR.items():
        for level in range(1, 6):
            images = written[name, level]
            error = np.mean(tiny.guesses_one_by_one(images.images) != images.labels)
            assert result["errors"][name][str(level)] == error
            total += error / (5 * alexnet)
    assert result["missing"] == []
    assert result["mce"] == pytest.approx(100 * total / 15)
    assert f"mCE {result['mce']:.1f}" in tiny.describe(result)
    assert "relative_mce" not in result


def test_a_complete_remake_of_imagenet_c_has_a_relative_mean_that_is_no_mce(
    models, tmp_path, monkeypatch
):
    settings = [(name, level) for name in robustness.CORRUPTIONS for level in range(1, 6)]
    remade = robustness_sets.CorruptedImages(
        tuple(settings), (), lambda name, level, classes: tiny.examples(8, seed=level), lambda *_: 8
    )
    monkeypatch.setattr(tfds_corrupted, "imagenet_c", lambda name, data_dir: remade)
    chosen = tiny.settings("imagenet2012_corrupted", imagenet2012_corrupted_dir="tfds:remade")
    (result,) = tiny.run(models["wnids"], None, tmp_path / "out", chosen).values()
    errors = {name: np.mean(list(rates.values())) for name, rates in result["errors"].items()}
    ratios = [errors[name] / robustness.ALEXNET_CORRUPTION_ERROR[name] for name in errors]
    assert result["relative_to_alexnet"] == pytest.approx(100 * np.mean(ratios))
    assert not {"mce", "relative_mce"} & set(result)
    assert "not mCE" in tiny.describe(result)


def of_classes(tested, labels):
    return dataclasses.replace(tested, labels=np.resize(np.int32(labels), len(tested)))


def test_relative_mce_needs_clean_images_of_the_same_classes(models, tmp_path, monkeypatch):
    settings = [(name, level) for name in robustness.CORRUPTIONS for level in range(1, 6)]
    written = {s: of_classes(tiny.examples(8, seed=i), [2, 5, 7]) for i, s in enumerate(settings)}
    complete = robustness_sets.CorruptedImages(
        tuple(settings), (), lambda name, level, classes: written[name, level], lambda *_: 8
    )
    monkeypatch.setattr(robustness_sets, "imagenet_c", lambda root: complete)

    def measured(labels, *benchmarks):
        clean = of_classes(tiny.examples(20, seed=99), labels)
        chosen = tiny.settings(*benchmarks, imagenet_c_dir=tmp_path)
        results = tiny.run(models["wnids"], clean, tmp_path / "out", chosen)
        if "imagenet_c" in results:
            stored = read_json(tmp_path / "out/imagenet_c.json")
            assert stored == results["imagenet_c"]
        return results

    of_others = measured([2, 5, 8], "clean", "imagenet_c")["imagenet_c"]
    assert "relative_mce" not in of_others and of_others["mce"] > 0
    # Clean images measured by themselves count, too.
    error = 1 - measured([7, 2, 5], "clean")["clean"]["top1"] / 100
    result = measured([7, 2, 5], "imagenet_c")["imagenet_c"]
    expected = [
        (np.mean(list(result["errors"][name].values())) - error) / (alexnet - 0.435)
        for name, alexnet in robustness.ALEXNET_CORRUPTION_ERROR.items()
    ]
    assert result["relative_mce"] == pytest.approx(100 * np.mean(expected))
    assert result["mce"] == of_others["mce"]
    assert f"relative mCE {result['relative_mce']:.1f}" in tiny.describe(result)
    # It goes again with the clean error that it was made with.
    of_all = measured(range(10), "clean", "imagenet_c")["imagenet_c"]
    assert of_all == of_others


def test_settings_of_too_few_images_are_named_and_leave_no_mce(
    models, tmp_path, monkeypatch, caplog
):
    """A download that broke off within a folder is no complete benchmark either."""
    settings = [(name, level) for name in robustness.CORRUPTIONS for level in range(1, 6)]
    count = {"fog": 6}
    broken_off = robustness_sets.CorruptedImages(
        tuple(settings),
        (),
        lambda name, level, classes: tiny.examples(count.get(name, 8)),
        lambda name, level: count.get(name, 8),
    )
    monkeypatch.setattr(robustness_sets, "imagenet_c", lambda root: broken_off)
    chosen = tiny.settings("imagenet_c", imagenet_c_dir=tmp_path)
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_c"]
    assert result["missing"] == [f"fog {level} (2 of 8 images)" for level in range(1, 6)]
    assert result["num_examples"] == 8 and "mce" not in result
    assert "5 missing (fog 1 (2 of 8 images), " in caplog.text


def test_what_is_downloaded_later_is_measured_and_the_rest_kept(models, tmp_path):
    write_imagenet_c(tmp_path / "c", [("fog", 1)])
    chosen = tiny.settings("imagenet_c", imagenet_c_dir=tmp_path / "c")
    tiny.run(models["wnids"], None, tmp_path / "out", chosen)
    first = tmp_path / "out/imagenet_c/fog-1.json"
    before = first.stat().st_mtime_ns
    written = write_imagenet_c(tmp_path / "c", [("snow", 4)], skew=1)
    result = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_c"]
    expected = errors_one_by_one(written, tmp_path / "out/imagenet_c")
    assert result["errors"]["snow"] == {"4": expected["snow", 4]}
    assert "fog" in result["errors"] and first.stat().st_mtime_ns == before


def test_what_was_measured_while_its_folder_was_filled_is_measured_again(models, tmp_path):
    """Of three settings one is complete only at the second evaluation."""
    settings = [("fog", 1), ("fog", 2), ("snow", 4)]
    written = write_imagenet_c(tmp_path / "c", settings)
    late = sorted((tmp_path / "c/fog/2").glob("*/*"))[::3]  # one each of two classes
    for path in late:
        path.rename(tmp_path / path.name)
    chosen = tiny.settings("imagenet_c", imagenet_c_dir=tmp_path / "c")
    first = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_c"]
    assert "fog 2 (2 of 6 images)" in first["missing"]
    kept = [tmp_path / "out/imagenet_c" / name for name in ("fog-1.json", "snow-4.json")]
    times = [path.stat().st_mtime_ns for path in kept]

    for path in late:
        (tmp_path / path.name).rename(path)
    second = tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_c"]
    expected = errors_one_by_one(written, tmp_path / "out/imagenet_c")
    assert second["errors"]["fog"]["2"] == expected["fog", 2]
    assert not any("images)" in part for part in second["missing"])
    assert [path.stat().st_mtime_ns for path in kept] == times

    file = tmp_path / "out/imagenet_c.json"
    time = file.stat().st_mtime_ns
    assert tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_c"] == second
    assert file.stat().st_mtime_ns == time


def test_plain_labeled_images_that_came_later_are_measured_too(models, tmp_path):
    tiny.write_imagenet_a(tmp_path / "a")
    late = tmp_path / "a" / WNIDS[2] / "0.jpg"
    late.rename(tmp_path / "0.jpg")
    chosen = tiny.settings("imagenet_a", imagenet_a_dir=tmp_path / "a")
    results = [tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_a"]]
    (tmp_path / "0.jpg").rename(late)
    results.append(tiny.run(models["wnids"], None, tmp_path / "out", chosen)["imagenet_a"])
    assert [result["num_examples"] for result in results] == [14, 15]


# Arrays.


def test_cifar10_c(models, tmp_path):
    labels = np.random.default_rng(0).integers(0, 10, 7)
    np.save(tmp_path / "labels.npy", np.tile(labels, 5))
    images = {name: tiny.pictures(35, seed=i) for i, name in enumerate(("fog", "pixelate"))}
    for name, array in images.items():
        np.save(tmp_path / f"{name}.npy", array)
    chosen = tiny.settings("cifar10_c", cifar10_c_dir=tmp_path)
    result = tiny.run(models["cifar10"], None, tmp_path / "out", chosen)["cifar10_c"]
    for name, array in images.items():
        for level in range(1, 6):
            block = array[7 * (level - 1) : 7 * level]
            expected = np.mean(tiny.guesses_one_by_one(block) != labels)
            assert result["errors"][name][str(level)] == expected
    assert len(result["missing"]) == 65 and "mce" not in result
    assert result["num_examples"] == 7


def test_a_benchmark_that_is_nowhere_is_refused_before_anything_is_measured(models, tmp_path):
    tiny.write_imagenet_a(tmp_path / "a")
    chosen = tiny.settings(
        "imagenet_a", "imagenet_c", imagenet_a_dir=tmp_path / "a", imagenet_c_dir=tmp_path / "c"
    )
    with pytest.raises(ValueError, match=f"{tmp_path}/c "):
        tiny.run(models["wnids"], None, tmp_path / "out", chosen)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="--benchmarks=imagenet_p needs --imagenet_p_dir"):
        tiny.run(models["wnids"], None, tmp_path / "out", tiny.settings("imagenet_p"))
