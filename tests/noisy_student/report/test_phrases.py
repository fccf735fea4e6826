"""Sentences on verdicts."""

import pytest

from noisy_student.report import phrases


def verdict(points: float, low: float, high: float, kind: str, benchmark="corruptions", **other):
    values = {"before": 40.0, "after": 40.0 - points, "points": points, "interval": [low, high]}
    return {"benchmark": benchmark, "over": "10 settings", "verdict": kind, **values, **other}


def test_description_of_a_verdict():
    answer = verdict(10.0, 3.43, 16.57, "more", cost=[30.0, 25.0])
    assert phrases.describe(answer, "Student 2") == (
        "On corrupted test images, Student 2 is more robust than the teacher: error 30.0% vs."
        " 40.0%, averaged over 10 settings (10.0 points better; 95% interval +3.4 to +16.6)."
        " Corruption adds 30.0 points to the clean error of the teacher and 25.0 points to that of"
        " Student 2."
    )


@pytest.mark.parametrize(
    ("points", "kind", "claim"),
    [
        (20, "more", "is more robust than the teacher:"),
        (2, "level", "is ahead of the teacher, but not significantly:"),
        (0, "level", "is as robust as the teacher:"),
        (-2, "level", "is behind the teacher, but not significantly:"),
        (-20, "less", "is less robust than the teacher:"),
    ],
)
def test_a_claim_is_no_stronger_than_the_interval(points, kind, claim):
    assert claim in phrases.describe(verdict(points, points - 3, points + 3, kind), "Student 1")


def attack(leads: dict[float, float], kind: str, clean: float | None = 1.0) -> dict:
    by_epsilon = [
        {"epsilon": epsilon, "points": points, "interval": [points - 3, points + 3]}
        for epsilon, points in leads.items()
    ]
    mean = sum(leads.values()) / len(leads)
    known = {} if clean is None else {"clean_points": clean}
    return verdict(mean, mean - 2, mean + 2, kind, "fgsm", by_epsilon=by_epsilon, **known)


def test_the_leader_is_named_by_epsilon():
    answer = attack({1: 2.0, 8: 12.0, 16: -7.9}, "mixed")
    assert phrases.describe(answer, "Student 2") == (
        "Under FGSM, Student 2 leads up to epsilon 8, the teacher from 16 on: +2.0 points at 1,"
        " +12.0 at 8, -7.9 at 16, not significant at 1. The mean difference is +2.0 points"
        " (95% interval +0.0 to +4.0; +1.0 on clean images): neither is more robust at every"
        " epsilon."
    )


@pytest.mark.parametrize(
    ("leads", "leaders"),
    [
        ({1: 5.0, 2: 5.0}, "S leads at every epsilon"),
        ({1: -5.0, 2: -5.0}, "B leads at every epsilon"),
        ({1: -5.0, 2: 5.0, 4: 5.0, 8: -5.0}, "B leads up to epsilon 1, S from 2 to 4, B from 8 on"),
        ({1: 5.0, 2: -5.0, 4: 5.0}, "S leads up to epsilon 1, B at 2, S from 4 on"),
        ({1: 5.0, 2: 0.0}, "S leads up to epsilon 1, neither from 2 on"),
    ],
)
def test_leaders(leads, leaders):
    assert f"Under FGSM, {leaders}: " in phrases.describe(attack(leads, "mixed"), "S", "B")


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("more", "S is more robust."),
        ("less", "S is less robust."),
        ("clean", "a difference in accuracy, not in robustness."),
        ("level", "not significant."),
    ],
)
def test_claim_on_an_attack(kind, end):
    text = phrases.describe(attack({1: 4.0, 8: 6.0}, kind, clean=None), "S")
    assert text.endswith(f"(95% interval +3.0 to +7.0): {end}")


def test_description_of_pgd():
    labels = {"a": "Teacher", "b": "Student 1"}
    paper = {"steps": 10, "step_size": None, "random_start": False, "restarts": 1}
    strong = {"steps": 40, "step_size": 0.5, "random_start": True, "restarts": 5}
    assert phrases.describe_pgd({"a": paper, "b": paper}, labels) == (
        "10 steps of size 2.5 epsilon / 10, from the image itself."
    )
    assert phrases.describe_pgd({"a": paper, "b": strong}, labels) == (
        "10 steps of size 2.5 epsilon / 10, from the image itself (Teacher); 40 steps of size 0.5,"
        " from a random start, the worst of 5 restarts (Student 1)."
    )


def test_all_verdicts_in_one_sentence():
    kinds = ("more", "more", "level", "less", "mixed", "clean")
    verdicts = [{"verdict": kind} for kind in kinds]
    assert phrases.summarize(verdicts, "Student 1", "the teacher") == (
        "Student 1 is more robust than the teacher on 2 of 6 benchmarks; on 1 the difference is no"
        " larger than on clean images; on 1 the leader changes with epsilon; on 1 the difference is"
        " not significant; on 1 it is less robust."
    )
    assert phrases.summarize([], "Student 1", "the teacher") == ""


@pytest.mark.parametrize("points", [0.0, 1.0])
def test_a_difference_that_is_not_significant_has_no_numbers(points):
    answer = attack({1: -points, 2: points}, "level", clean=None)
    assert phrases.describe(answer, "Student 1") == "No significant difference under FGSM."
    assert phrases.summarize([answer], "Student 1", "the teacher") == (
        "On the only robustness benchmark, the difference between Student 1 and the teacher is"
        " not significant."
    )
