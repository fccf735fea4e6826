"""Verdicts that the epsilons of an attack and the clean images allow."""

import pytest

from noisy_student.metrics import verdicts

EPSILONS = [0, 4, 8, 16]


def judged(teacher: list[float], student: list[float], count: int = 1000) -> dict:
    contents = {
        name: {"num_examples": count, "epsilons": EPSILONS, "top1": top1}
        for name, top1 in (("teacher", teacher), ("student", student))
    }
    (verdict,) = verdicts.verdicts({"fgsm": contents}, "teacher", "student")
    return verdict


def test_a_mean_does_not_hide_a_crossing():
    verdict = judged([90, 50, 45, 43.6], [90, 75, 60, 35.7])
    assert verdict["points"] == pytest.approx((25 + 15 - 7.9) / 3, abs=1e-4)
    assert verdict["interval"][0] > 0 and verdict["verdict"] == "mixed"
    assert [lead["epsilon"] for lead in verdict["by_epsilon"]] == [4, 8, 16]
    assert [lead["points"] for lead in verdict["by_epsilon"]] == [25, 15, -7.9]
    low, high = verdict["by_epsilon"][-1]["interval"]
    # 1.959964 * sqrt(43.6 * 56.4 / 1000 + 35.7 * 64.3 / 1000)
    assert (low, high) == pytest.approx((-7.9 - 4.2744, -7.9 + 4.2744), abs=1e-3)


def test_leads_that_cancel_out_are_a_crossing_too():
    assert judged([90, 40, 40, 40], [90, 50, 40, 30])["verdict"] == "mixed"


@pytest.mark.parametrize(
    ("student", "verdict"),
    [
        ([95, 55, 45, 35], "clean"),  # 5 points ahead everywhere
        ([95, 53, 43, 33], "level"),
        ([95, 70, 60, 50], "more"),
        ([84, 45, 35, 25], "clean"),  # behind, but less than on clean images
        ([89, 40, 30, 20], "less"),
        ([85, 60, 50, 40], "more"),  # though less accurate
    ],
)
def test_a_gain_no_larger_than_on_clean_images_is_none_of_robustness(student, verdict):
    found = judged([90, 50, 40, 30], student)
    assert found["verdict"] == verdict
    assert found["clean_points"] == student[0] - 90


def test_corruptions_are_judged_beside_the_clean_error():
    def result(clean, error):
        return {"num_examples": 1000, "clean_error": clean, "errors": {"fog": {"1": error}}}

    for error, expected in ((0.30, "clean"), (0.20, "more")):
        contents = {"teacher": result(0.25, 0.4), "student": result(0.10, error)}
        (verdict,) = verdicts.verdicts({"corruptions": contents}, "teacher", "student")
        assert verdict["verdict"] == expected and verdict["clean_points"] == 15
        assert verdict["cost"] == pytest.approx([15, 100 * error - 10])


def test_epsilons_without_a_clean_measurement_need_none():
    contents = {
        name: {"num_examples": 1000, "epsilons": [4, 16], "top1": top1}
        for name, top1 in (("teacher", [50, 20]), ("student", [60, 30]))
    }
    (verdict,) = verdicts.verdicts({"fgsm": contents}, "teacher", "student")
    assert verdict["verdict"] == "more" and "clean_points" not in verdict
