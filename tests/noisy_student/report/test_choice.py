"""Which model to use: by validation images alone."""

import pytest

from noisy_student.report import choice

ROLES = {
    "round0_teacher": "teacher",
    "round1_student": "student",
    "round2_student": "student",
    "round2_fixres": "fixres",
    "control_chain": "control",
}


def choose(accuracies: dict[str, float | None], num_validation: int = 500):
    models = [
        {"name": name, "role": ROLES[name], "validation_top1": top1, "top1": 99.0}
        for name, top1 in accuracies.items()
    ]
    return choice.choose(models, list(accuracies), num_validation)


def test_the_best_on_validation_is_chosen_and_its_equals_are_named():
    best = choose({"round0_teacher": 80.0, "round1_student": 91.0, "round2_student": 90.2})
    assert (best["model"], best["file"]) == ("round1_student", "round1/student/model.keras")
    assert best["is_best"] and best["validation_top1"] == 91 and best["num_validation"] == 500
    # Wilson's interval: (0.91 + z^2 / 1000) / (1 + z^2 / 500) -+ 0.0251, z = 1.96
    assert best["interval"] == pytest.approx([88.17, 93.21], abs=0.02)
    assert best["level"] == ["round2_student"]


@pytest.mark.parametrize(
    ("accuracies", "file"),
    [
        ({"round0_teacher": 95.0, "round1_student": 90.0}, "round0/teacher/model.keras"),
        ({"round1_student": 90.0, "round2_student": 90.0}, "round2/student/model.keras"),
        ({"round2_student": 90.0, "round2_fixres": 91.0}, "round2/fixres/model.keras"),
        ({"round1_student": 90.0, "control_chain": 90.0}, "round1/student/model.keras"),
        ({"round1_student": 90.0, "control_chain": 94.0}, "control_chain/model.keras"),
    ],
)
def test_equal_models_and_baselines(accuracies, file):
    assert choose(accuracies)["file"] == file


def test_without_validation_images_the_last_student_is_no_best_one():
    found = choose({"round0_teacher": None, "round1_student": None, "control_chain": None}, 0)
    assert found["file"] == "round1/student/model.keras"
    assert not found["is_best"] and found["interval"] is None


def test_a_run_without_training_has_no_choice():
    models = [{"name": "lite0", "role": "", "validation_top1": None}]
    assert choice.choose(models, [], 500) is None
