"""Teacher against student on the robustness benchmarks, against values computed by hand."""

import pytest

from noisy_student import robustness
from noisy_student.metrics import compare, verdicts
from tests.helpers.run_robustness import corruption_errors, flip_probabilities


def corrupted(num_examples: int = 100, clean_error: float = 0.1, **errors: list[float]) -> dict:
    """A result with errors by severity from 1."""
    by_severity = {
        name: {str(level): rate for level, rate in enumerate(rates, 1)}
        for name, rates in errors.items()
    }
    return {"num_examples": num_examples, "clean_error": clean_error, "errors": by_severity}


def compared(benchmark: str, teacher: dict, student: dict) -> dict:
    """The student's figures beside the teacher's."""
    evaluations = {benchmark: {"teacher": teacher, "student": student}}
    return compare.benchmark_metrics(evaluations, "teacher")


def relative(benchmark: str, teacher: dict, student: dict) -> dict | None:
    return compared(benchmark, teacher, student)[benchmark]["student"]["relative_to_teacher"]


def only_verdict(benchmark: str, teacher: dict, student: dict) -> dict:
    (verdict,) = verdicts.verdicts(compared(benchmark, teacher, student), "teacher", "student")
    return verdict


def test_relative_error_is_the_mean_of_ratios_over_what_both_have():
    teacher = corrupted(fog=[0.1, 0.2, 0.3, 0.4, 0.5], snow=[0.5] * 5, frost=[0.9] * 5)
    student = corrupted(fog=[0.15] * 5, snow=[0.5] * 5, pixelate=[0.9] * 5)
    result = relative("corruptions", teacher, student)
    assert result["percent"] == pytest.approx(75)  # (0.15 / 0.3 + 0.5 / 0.5) / 2
    assert result["over"] == ["snow", "fog"]
    assert result["name"] == (
        "mean corruption error relative to the teacher = 100, over 2 of 15 corruptions"
    )


def test_relative_error_over_shared_severities():
    teacher = {"errors": {"fog": {"1": 0.1, "3": 0.3, "5": 0.9}}}
    student = {"errors": {"fog": {"1": 0.1, "2": 0.9, "3": 0.2}}}
    result = relative("corruptions", teacher, student)
    assert result["percent"] == pytest.approx(75)  # (0.1 + 0.2) / (0.1 + 0.3)
    assert result["name"].endswith("over 1 of 15 corruptions, not at all severities")


def test_complete_relative_error_equals_the_metric_with_the_teacher_as_baseline():
    teacher, student = corruption_errors(), corruption_errors(0.7)
    student["fog"]["5"] = 0.9
    result = relative("cifar10_c", {"errors": teacher}, {"errors": student})
    by_severity = [
        {name: list(rates.values()) for name, rates in errors.items()}
        for errors in (student, teacher)
    ]
    expected = robustness.mean_corruption_error(*by_severity)
    assert result["percent"] == pytest.approx(expected, abs=1e-4)
    assert result["name"] == "mean corruption error relative to the teacher = 100"
    assert result["missing"] == []


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        (corrupted(fog=[0.0] * 5), corrupted(fog=[0.1] * 5)),  # nothing to divide by
        (corrupted(fog=[0.1] * 5), corrupted(snow=[0.1] * 5)),  # nothing shared
        (corrupted(spatter=[0.1] * 5), corrupted(spatter=[0.1] * 5)),  # none of the 15
    ],
)
def test_no_relative_error_where_it_has_no_meaning(teacher, student):
    assert relative("corruptions", teacher, student) is None


@pytest.mark.parametrize("small", [True, False])
def test_relative_flip_rate(small):
    teacher = {"flip_probability": flip_probabilities(1.0, small)}
    student = {"flip_probability": flip_probabilities(0.5, small)}
    result = relative("perturbations", teacher, student)
    assert result["percent"] == pytest.approx(50)
    assert result["name"] == "mean flip rate relative to the teacher = 100"
    few = {"flip_probability": {"tilt": 0.2, "scale": 0.1}}
    base = {"flip_probability": {"tilt": 0.1, "scale": 0.2, "rotate": 0.5}}
    result = relative("perturbations", base, few)
    assert result["percent"] == pytest.approx(125)  # (2 + 0.5) / 2
    assert result["name"].endswith("over 2 of 10 perturbations")


def test_verdict_on_corruptions_computed_by_hand():
    teacher = corrupted(400, 0.1, fog=[0.3] * 5, snow=[0.5] * 5)
    student = corrupted(400, 0.05, fog=[0.2] * 5, snow=[0.4] * 5)
    verdict = only_verdict("corruptions", teacher, student)
    assert (verdict["before"], verdict["after"], verdict["points"]) == (40, 30, 10)
    # 1.959964 * sqrt(40 * 60 / 400 + 30 * 70 / 400) = 1.959964 * sqrt(11.25)
    assert verdict["interval"] == pytest.approx([10 - 6.5739, 10 + 6.5739], abs=1e-4)
    assert verdict["verdict"] == "more" and verdict["over"] == "10 settings"
    assert verdict["cost"] == [30, 25]


def test_corruptions_count_alike_however_many_severities_both_have():
    teacher = corrupted(fog=[0.2, 0.4], snow=[0.9])
    student = corrupted(fog=[0.1, 0.1], snow=[0.8])
    verdict = only_verdict("corruptions", teacher, student)
    assert (verdict["before"], verdict["after"]) == (60, 45)  # (30 + 90) / 2 and (10 + 80) / 2


@pytest.mark.parametrize(
    ("student", "verdict"),
    [(0.2, "more"), (0.38, "level"), (0.4, "level"), (0.42, "level"), (0.6, "less")],
)
def test_verdict_claims_no_more_than_the_interval(student, verdict):
    teacher, student = corrupted(fog=[0.4] * 5), corrupted(fog=[student] * 5)
    assert only_verdict("corruptions", teacher, student)["verdict"] == verdict


def sweep(top1: list[float], **other) -> dict:
    return {"num_examples": 1000, "epsilons": [0, 4, 16], "top1": top1, **other}


def test_verdict_on_an_attack_leaves_the_clean_images_out():
    verdict = only_verdict("fgsm", sweep([90, 40, 10]), sweep([99, 60, 20]))
    assert (verdict["before"], verdict["after"], verdict["points"]) == (25, 40, 15)
    assert verdict["verdict"] == "more" and verdict["over"] == "epsilon 4, 16"
    reverse = only_verdict("fgsm", sweep([99, 60, 20]), sweep([90, 40, 10]))
    assert reverse["verdict"] == "less" and reverse["points"] == -15


def test_attacks_of_unlike_strength_are_not_compared():
    weak, strong = sweep([90, 40, 10], steps=5), sweep([90, 40, 10], steps=10)
    figures = compared("pgd", weak, strong)
    assert verdicts.verdicts(figures, "teacher", "student") == []


def test_models_of_unlike_images_are_not_compared():
    teacher, student = corrupted(100, fog=[0.4] * 5), corrupted(200, fog=[0.1] * 5)
    assert relative("corruptions", teacher, student) is None
    figures = compared("corruptions", teacher, student)
    assert verdicts.verdicts(figures, "teacher", "student") == []


@pytest.mark.parametrize(("fingerprint", "is_compared"), [("a1", True), ("b2", False)])
def test_models_of_the_same_number_of_other_images_are_not_compared(fingerprint, is_compared):
    teacher = corrupted(fog=[0.4] * 5) | {"request": {"examples": "a1"}}
    student = corrupted(fog=[0.1] * 5) | {"request": {"examples": fingerprint}}
    contents = {"corruptions": {"teacher": teacher, "student": student}}
    assert bool(verdicts.verdicts(contents, "teacher", "student")) == is_compared
    metrics = compare.benchmark_metrics(contents, "teacher")["corruptions"]
    assert bool(metrics["student"]["relative_to_teacher"]) == is_compared
    del student["request"]  # results of other tools may have none
    assert verdicts.verdicts(contents, "teacher", "student")
