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
    verdicts = [{"verdict": kind} for kind in ("more", "more", "level", "less")]
    assert phrases.summarize(verdicts, "Student 1", "the teacher") == (
        "Student 1 is more robust than the teacher on 2 of 4 benchmarks; on 1 the difference is not"
        " significant; on 1 it is less robust."
    )
    assert phrases.summarize([], "Student 1", "the teacher") == ""
