"""Estimated run times, against measured ones and by hand."""

import dataclasses

import pytest

from noisy_student.ablate.claims import compute, paper
from noisy_student.ablate.jobs import Graph, Job
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.time_estimate import STARTUP, Estimator, wall_seconds

# One job at a time on two cores, seed 0 of the study compute; of the last one others ran beside.
MEASURED = {"teacher": 56.8, "student1": 83.5, "student2": 118.6, "control_student": 123.3}


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    """Returns label -> job of the unchanged recipe, and the fine-tuning."""
    graph = Graph(Recipe("mnist5k"), [compute.COMPUTE, paper.JOINT_VS_FINETUNE], [0])
    return {job.label: job for job in reversed(graph.jobs.values()) if "=" not in job.name} | {
        job.label: job for job in graph.jobs.values() if job.label == "tuned"
    }


def test_the_model_is_near_measurements(jobs):
    for label, seconds in MEASURED.items():
        assert Estimator(100).seconds(jobs[label]) == pytest.approx(seconds, rel=0.15)


def test_the_model_by_hand(jobs):
    """Width 0.25 has 2 502 624 multiply-adds at 32 pixels; 1500 steps of 48 images."""
    by_hand = 8 + 72000 * (5e-7 * 32 * 32 + 6 * 2502624 / 1.3e11)
    assert Estimator(100).seconds(jobs["teacher"]) == pytest.approx(by_hand)


def test_supervised_trainings_take_as_long_as_their_images(jobs):
    """The chain saw 72 000 + 2 * 80 000 images, the baseline is as wide as student 2: 0.75."""
    chain, student = (
        Estimator(100).seconds(jobs[label]) - STARTUP for label in ("control_chain", "student2")
    )
    assert chain / student == pytest.approx(232 / 80)
    # The labeled ones among the student's: 1000 steps of 16, on a network of width 0.5.
    student, tuned = (
        Estimator(100).seconds(jobs[label]) - STARTUP for label in ("student1", "tuned")
    )
    assert tuned / student == pytest.approx(16 / 80)


def test_finished_jobs_correct_the_model(jobs):
    estimator = Estimator(100)
    before = {label: estimator.seconds(job) for label, job in jobs.items()}
    estimator.learn(jobs["teacher"], STARTUP + 3 * (before["teacher"] - STARTUP))
    estimator.learn(jobs["labels1"], 100.0)
    estimator.learn(jobs["labels1"], 50.0)
    student, expected = estimator.seconds(jobs["student1"]), before["student1"]
    assert student == pytest.approx(STARTUP + 3 * (expected - STARTUP))
    assert estimator.seconds(jobs["labels2"]) == 75
    assert estimator.seconds(jobs["test"]) == before["test"]  # another kind


def test_epochs_of_an_unknown_number_of_images(jobs):
    teacher = jobs["teacher"].training
    in_epochs = dataclasses.replace(
        jobs["teacher"], training=dataclasses.replace(teacher, steps=None)
    )
    assert Estimator(0).seconds(in_epochs) is None
    assert Estimator(0).seconds(jobs["teacher"]) is not None
    # 350 epochs of 100 images in batches of 48: 729 steps in place of 1500.
    part = (Estimator(100).seconds(in_epochs) - 8) / (Estimator(100).seconds(jobs["teacher"]) - 8)
    assert part == pytest.approx(729 / 1500)


def test_side_by_side():
    assert wall_seconds([30.0, 60.0, 10.0], 2) == 50
    assert wall_seconds([30.0, None], 2) is None
