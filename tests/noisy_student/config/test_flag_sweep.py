"""Absurd values of numeric flags: none is accepted where it means nothing."""

import pytest

from noisy_student import config
from tests.helpers import flag_sweep


def test_no_flag_takes_what_is_no_number_or_too_large():
    taken = {flag.name: flag_sweep.accepted(flag) for flag in flag_sweep.numeric()}
    assert len(taken) > 70
    absurd = {"nan", "inf", "-inf", "1e30", "9" * 20}
    assert {name: values for name, values in taken.items() if absurd & set(values)} == {}
    assert [name for name in taken if "-1" in taken[name]] == ["frozen_blocks", "num_validation"]


def test_the_page_has_what_is_accepted():
    assert flag_sweep.stored() == flag_sweep.table(), "python -m tests.helpers.flag_sweep"


@pytest.mark.parametrize("name", ["ratio", "severities", "epsilons", "benchmarks", "corruptions"])
def test_a_list_with_a_default_is_not_empty(name):
    with pytest.raises(ValueError, match=f"--{name}=: "):
        config.parse([f"--{name}="])
    with pytest.raises(ValueError, match=f"--{name}=: "):
        config.Config(**{name: ()})


def test_an_empty_list_unsets_what_a_recipe_sets():
    settings = config.parse(["--student_width=0.5", "--student_width=", "--controls="])
    assert settings.students[0].model.width is None and settings.rounds.controls == ()
