"""All benchmarks together: test images, batch sizes, and a baseline model."""

import dataclasses

import numpy as np
import pytest

from data.robustness_sets import CIFAR10_CLASSES
from data.sources import splits
from noisy_student import evaluate, robustness
from noisy_student.metrics import per_image
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.tiny_evaluation import content

ALL = ("clean", "corruptions", "perturbations", "fgsm", "pgd")


def test_a_part_of_the_test_images_is_of_all_classes(model, tmp_path):
    """Test images often lie class by class: the first ones would be of one class."""
    made = tiny.examples(40)
    labels = np.repeat(np.arange(10, dtype=np.int32), 4)
    made = dataclasses.replace(made, labels=labels, class_names=CIFAR10_CLASSES)
    chosen = tiny.settings(
        "corruptions",
        "perturbations",
        "fgsm",
        "pgd",
        corruptions=["fog"],
        severities=[3],
        perturbations=["translate"],
        examples=10,
        attack={"fgsm_examples": 20, "pgd_examples": 30},
    )
    results = tiny.run(model, made, tmp_path, chosen)
    for benchmark, count in (("corruptions", 10), ("perturbations", 10), ("fgsm", 20), ("pgd", 30)):
        some = splits.sample(made, count)
        assert np.bincount(some.labels).tolist() == [count // 10] * 10
        assert results[benchmark]["num_examples"] == count
        assert results[benchmark]["request"]["examples"] == some.fingerprint()
        records = results[benchmark]["by_image"].values()
        assert {record["images"] for record in records} == {
            per_image.record(some.ids, np.zeros(count, int))["images"]
        }


def test_results_are_the_same_for_any_batch_size_and_repeat(model, examples, tmp_path):
    def run(folder, batch_size):
        settings = tiny.settings(
            *ALL,
            corruptions=("fog", "shot_noise"),
            severities=(4,),
            perturbations=("tilt",),
            batch_size=batch_size,
        )
        return tiny.run(model, examples, tmp_path / folder, settings)

    first = run("a", 4)
    for folder, size in (("b", 4), ("c", 250)):
        second = run(folder, size)
        for benchmark in ALL:
            for key in set(first[benchmark]) - {"seconds", "calibration_error"}:
                assert second[benchmark][key] == first[benchmark][key], (benchmark, key, size)
        errors = [result["clean"]["calibration_error"] for result in (first, second)]
        assert errors[0] == pytest.approx(errors[1], abs=1e-4)  # of rounded confidences
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_metrics_relative_to_a_baseline_and_gains(model, examples, tmp_path):
    settings = tiny.settings(
        "clean", "corruptions", "fgsm", corruptions=robustness.CORRUPTIONS[:3], severities=(5,)
    )
    results = tiny.run(model, examples, tmp_path, settings)
    corrupted, attacked = results["corruptions"], results["fgsm"]
    baseline = dict(results)
    half = {name: {"5": rates["5"] / 2} for name, rates in corrupted["errors"].items()}
    baseline["corruptions"] = corrupted | {"errors": half, "by_image": {}}
    lines = list(evaluate.compare(results, baseline, ("a", "b")))
    top1, mean = results["clean"]["top1"], corrupted["mean_error"]
    assert lines[0].startswith(
        f"accuracy on clean images: a {top1:.1f}%, b {top1:.1f}%: 0.0 points"
    )
    assert lines[1].startswith("corruptions: ") and lines[1].endswith(": a 200.0")
    assert lines[2].startswith(
        f"errors on corrupted images: a {mean:.1f}%, b {mean / 2:.1f}%, over 3 settings:"
        f" {mean / 2:.1f} points more errors for a ("
    )
    average = np.mean(attacked["top1"][1:])
    assert lines[3].startswith(
        f"accuracy under FGSM: a {average:.1f}%, b {average:.1f}%, over epsilon 1, 8: 0.0 points"
    )
    assert "for a (not significant; 95% interval -" in lines[5] and len(lines) == 6
