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
