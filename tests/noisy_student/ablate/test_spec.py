import pytest

from noisy_student.ablate.spec import Arm, Comparison, Study, Supervised


def test_two_arms_of_one_name_are_refused():
    with pytest.raises(ValueError, match="study s: .* the same name, among a, a"):
        Study("s", "C.", "x", (Arm("a"), Arm("a")), ())


def test_a_comparison_of_an_unknown_arm_is_refused():
    with pytest.raises(ValueError, match="study s compares 'b'"):
        Study("s", "C.", "x", (Arm("a"),), (Comparison("a", "b"),))


def test_an_unknown_budget_is_refused():
    with pytest.raises(ValueError, match="budget='many' must be one of student, "):
        Supervised("many")


def test_baselines_never_saw_pseudo_labels():
    arms = (
        Arm("student"),
        Arm("fine-tuned", last=Supervised("labeled", starts_from_student=True)),
        Arm("supervised", last=Supervised("chain")),
    )
    assert Study("s", "C.", "x", arms, ()).baselines == ("supervised",)


def test_metrics_are_those_shown_and_compared_each_once():
    comparisons = (Comparison("a", "a"), Comparison("a", "a", "pgd.top1.4"))
    study = Study("s", "C.", "x", (Arm("a"),), comparisons, shown=("clean.top1", "m"))
    assert study.metrics == ("clean.top1", "m", "pgd.top1.4")
