"""Options of trainings from given weights: where they apply, and where they are refused."""

import pytest

from noisy_student import config


def given(*arguments: str) -> config.Config:
    return config.parse(arguments)


@pytest.mark.parametrize(
    ("start", "teacher", "student"),
    [("--init_model=b0.keras", 3, 3), ("--init_model=teacher", -1, 3), ("--nodebug", -1, -1)],
)
def test_blocks_are_frozen_where_weights_are_given(start, teacher, student):
    """Random weights are never frozen; fine-tuning always has weights."""
    settings = given("--frozen_blocks=3", start, "--fixres_image_size=40")
    assert settings.teacher.frozen_blocks == settings.control(10).frozen_blocks == teacher
    assert {training.frozen_blocks for training in settings.students} == {student}
    assert {training.frozen_blocks for training in settings.tuned} == {3}
    with pytest.raises(ValueError, match="--frozen_blocks=3 .*--init_model"):
        given("--frozen_blocks=3")


def test_the_classifier_learns_first_where_weights_are_given():
    settings = given("--head_steps=7", "--init_model=b0.keras", "--fixres_image_size=40")
    trainings = (settings.teacher, settings.control(10), *settings.students)
    assert {training.head_steps for training in trainings} == {7}
    assert {training.head_steps for training in settings.tuned} == {0}
    for start in ("--nodebug", "--init_model=teacher"):
        with pytest.raises(ValueError, match="--head_steps=7 .*--init_model"):
            given("--head_steps=7", start)
