import os

import pytest

from noisy_student.ablate import command
from noisy_student.ablate.claims import STUDIES, paper


def test_names_of_studies():
    assert command.studies_named(["all"]) == list(STUDIES.values())
    assert command.studies_named(["ratio", "noise", "ratio"]) == [paper.RATIO, paper.NOISE]
    with pytest.raises(ValueError, match="--study=noises: .* noise, iterations"):
        command.studies_named(["noise", "noises"])
    with pytest.raises(ValueError, match="--study="):
        command.studies_named([])


def test_jobs_at_a_time_follow_from_the_gpus():
    assert command.slots_for(None, ["0", "1"], "grow") == 2
    assert command.slots_for(5, ["0", "1"], "grow") == 5
    assert command.slots_for(2, ["0", "1"], "all") == 2
    assert command.slots_for(None, [], "all") == len(os.sched_getaffinity(0))
    with pytest.raises(ValueError, match="--jobs=3 with --gpu_memory=all: .* --jobs=2 or"):
        command.slots_for(3, ["0", "1"], "all")
