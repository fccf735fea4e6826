"""The figures of a run and their statistics."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from noisy_student import report
from noisy_student.metrics import by_class, intervals, per_image
from noisy_student.report import phrases
from tests.helpers.run_folder import add_model, make_workdir, page_of, results_of, write


@pytest.fixture
def workdir(tmp_path) -> Path:
    return make_workdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A complete run with its report; not to be changed."""
    folder = make_workdir(tmp_path_factory.mktemp("run"))
    report.run(folder)
    return folder


def test_accuracies_with_intervals_computed_by_hand(finished):
    models = results_of(finished)["figures"]["models"]
    assert [model["label"] for model in models] == [
        "Teacher",
        "Student 1",
        "Student 2",
        "Baseline (equal compute)",
        "Baseline (equal total compute)",
    ]
    teacher = models[0]
    assert (teacher["top1"], teacher["top5"], teacher["validation_top1"]) == (90.0, 99.4, 90.4)
    assert (teacher["parameters"], teacher["images_seen"]) == (500_000, 62_400)
    assert teacher["standard_error"] == 0.9487  # sqrt(90 * 10 / 1000)
    # z = 1.96, n = 1000: center (0.9 + z^2/2n) / (1 + z^2/n) = 0.89847, half width 0.01862
    assert teacher["top1_interval"] == pytest.approx([87.985, 91.709], abs=0.001)


def test_interval_stays_within_0_and_100():
    assert intervals.accuracy_interval(100.0, 10) == pytest.approx(
        (72.25, 100.0), abs=0.01
    )  # 1/(1 + z^2/n)
    assert intervals.accuracy_interval(0.0, 10) == pytest.approx((0.0, 27.75), abs=0.01)


def test_gain_is_paired_by_the_images_that_changed(finished):
    gain = results_of(finished)["figures"]["gain"]
    assert (gain["before"], gain["after"]) == ("round0_teacher", "round2_student")
    assert gain["points"] == 3.6
    # Bonett and Price: 53 and 17 of 1002; 100 / 1002 * sqrt(53 + 17 - (53 - 17)^2 / 1002)
    assert gain["paired"] and gain["standard_error"] == 0.8272
    middle = 100 * 36 / 1002
    assert gain["interval"] == pytest.approx([middle - 1.6214, middle + 1.6214], abs=0.0002)


def test_gain_is_unpaired_where_the_images_are_not_the_same(workdir):
    path = workdir / "evaluation/round2_student/clean.json"
    content = json.loads(path.read_text())
    content["by_image"]["top1"]["images"] = "others"
    write(path, content)
    gain = report.run(workdir)["figures"]["gain"]
    # sqrt(90 * 10 / 1000 + 93.6 * 6.4 / 1000)
    assert not gain["paired"] and gain["standard_error"] == 1.2244


def test_student_is_compared_with_every_baseline(finished):
    equal, chain = results_of(finished)["figures"]["over_controls"]
    assert (equal["before"], equal["points"]) == ("control_student", 4.1)
    assert equal["standard_error"] == 1.2405  # sqrt(89.5 * 10.5 / 1000 + 93.6 * 6.4 / 1000)
    assert (chain["before"], chain["points"]) == ("control_chain", -0.4)
    text = phrases.describe_baselines(results_of(finished)["figures"])
    assert "better than the baseline (equal compute)" in text
    assert "level with the baseline (equal total compute)" in text


def test_missing_baseline_is_admitted(workdir):
    for name in ("control_student", "control_chain"):
        shutil.rmtree(workdir / name)
        shutil.rmtree(workdir / "evaluation" / name)
    figures = report.run(workdir)["figures"]
    assert figures["missing"] == [] and figures["over_controls"] == []
    assert "--controls=" in phrases.describe_baselines(figures)
    figures["gain"] |= {"points": -0.1}  # nothing to explain
    assert phrases.describe_baselines(figures) == ""


def set_correct(workdir: Path, name: str, wrong: range) -> None:
    """Sets which of the 1000 test images a model gets wrong."""
    path = workdir / f"evaluation/{name}/clean.json"
    record = per_image.record(map(str, range(1000)), np.isin(np.arange(1000), wrong))
    changes = {"top1": 100 - len(wrong) / 10, "by_image": {"top1": record}}
    write(path, json.loads(path.read_text()) | changes)


@pytest.mark.parametrize("has_validation", [True, False])
def test_a_model_that_is_worse_than_its_teacher_is_not_recommended(workdir, has_validation):
    set_correct(workdir, "round2_student", range(150))  # the teacher: the first 100
    if not has_validation:
        settings = json.loads((workdir / "config.json").read_text())
        settings["split_sizes"]["validation"] = 0
        write(workdir / "config.json", settings)
    results = report.run(workdir)
    behind = results["figures"]["behind"]
    assert (behind["before"], behind["after"]) == ("round0_teacher", "round2_student")
    assert behind["points"] == -5 and behind["interval"][1] < 0
    text = phrases.describe_choice(results["figures"])
    assert text.startswith("Student 2 is worse than the teacher on the test images, by 5.0 points")
    assert "round0/teacher/model.keras (Teacher) and round2/student/model.keras" in text
    assert "docs/FAQ.md" in text and "Use " not in text
    assert ("best on 500 validation images" in text) == has_validation
    assert text in report.table(results)


def test_a_model_behind_another_student_or_baseline_is_not_recommended(workdir):
    set_correct(workdir, "control_chain", range(20))
    figures = report.run(workdir)["figures"]
    assert (figures["behind"]["before"], figures["behind"]["points"]) == ("control_chain", -4.4)
    text = phrases.describe_choice(figures)
    assert text.startswith("Student 2 is worse than the baseline (equal total compute) on the test")
    assert "control_chain/model.keras" in text and "FAQ" not in text
    set_correct(workdir, "control_chain", range(60))
    assert report.run(workdir)["figures"]["behind"] is None


def test_calibration_error_computed_by_hand(workdir):
    path = workdir / "round1/selected/selection.json"
    content = json.loads(path.read_text())
    content["reliability"] = [
        {"low": 0.0, "high": 0.5, "count": 100, "accuracy": 0.6, "confidence": 0.4},
        {"low": 0.5, "high": 1.0, "count": 300, "accuracy": 0.7, "confidence": 0.8},
    ]
    write(path, content)
    first, second = report.run(workdir)["figures"]["pseudo_labels"]
    assert first["calibration_error"] == 0.125  # (100 * 0.2 + 300 * 0.1) / 400
    assert (first["round"], first["num_written"], second["round"]) == (1, 3600, 2)


def test_unknown_truth_leaves_the_reliability_out(workdir):
    for number in (1, 2):
        path = workdir / f"round{number}/selected/selection.json"
        unknown = {"accuracy_all": None, "accuracy_kept": None, "accuracy_written": None}
        write(path, json.loads(path.read_text()) | unknown | {"reliability": []})
    results = report.run(workdir)
    assert results["figures"]["pseudo_labels"][0]["calibration_error"] is None
    assert "Accuracy by confidence" not in page_of(workdir)


@pytest.mark.parametrize(
    ("points", "interval", "expected"),
    [
        (3.6, (2.0, 5.2), "The student beats its teacher by 3.6 points"),
        (0.5, (-0.4, 1.4), "The student is 0.5 points ahead, but not significantly"),
        (0.0, (-0.9, 0.9), "The student does not beat its teacher"),
        (-0.5, (-1.4, 0.4), "The student does not beat its teacher"),
        (-2.0, (-3.0, -1.0), "The student falls 2.0 points behind its teacher"),
    ],
)
def test_headline_claims_no_more_than_the_interval(points, interval, expected):
    assert phrases.headline({"gain": {"points": points, "interval": interval}}) == expected


def test_seconds_are_listed_in_the_order_of_the_method(finished):
    results = report.run(finished)
    seconds = results["provenance"]["seconds"]
    assert list(seconds)[:7] == [
        "train round0_teacher",
        "label round1",
        "select round1",
        "train round1_student",
        "label round2",
        "select round2",
        "train round2_student",
    ]
    assert seconds["train round0_teacher"] == 130.0
    assert seconds["evaluate round2_student fgsm"] == 4.25


def test_rounds_that_are_still_to_come_are_missing(workdir):
    shutil.rmtree(workdir / "round2")
    assert "round2/student/train.json" in report.run(workdir)["figures"]["missing"]


def test_a_baseline_is_a_further_model(tmp_path):
    add_model(tmp_path, "small", "small", range(300))
    add_model(tmp_path, "small/baseline", "big", range(100))
    add_model(tmp_path, "tiny", "tiny", range(400))
    add_model(tmp_path, "tiny/baseline", "small", range(300))  # the same weights as small/
    add_model(tmp_path, "old", "old", range(600))
    add_model(tmp_path, "old/baseline", "baseline", range(500))  # of an older version
    results = report.run(tmp_path)
    found = {model["label"]: model["top1"] for model in results["figures"]["models"]}
    assert found == {
        "baseline of old": 50.0,
        "big (baseline)": 90.0,
        "old": 40.0,
        "small": 70.0,
        "tiny": 60.0,
    }
    assert results["provenance"]["seconds"]["evaluate small/baseline clean"] == 1.0


def test_registered_operations_are_named(workdir):
    for place, names in (("round0/teacher", ["swirl"]), ("round1/student", ["swirl", "fade"])):
        write(workdir / place / "done.json", {"request": {"operations": names}, "seconds": 1.0})
    results = report.run(workdir)
    assert results["provenance"]["operations"] == ["fade", "swirl"]
    assert "<dd>fade, swirl</dd>" in page_of(workdir)


@pytest.mark.parametrize(("count", "expected"), [(5, None), (6, 99.4)])
def test_top5_needs_more_than_five_classes(tmp_path, count, expected):
    labels, names = np.arange(1000) % count, [f"c{i}" for i in range(count)]
    counts = by_class.count(labels, labels, names)
    add_model(tmp_path, "big", "big", range(100), top5=99.4, by_class=counts)
    results = report.run(tmp_path)
    assert results["figures"]["models"][0]["top5"] == expected
    assert ("top-5" in report.table(results)) == (expected is not None)
