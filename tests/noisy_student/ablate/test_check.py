"""A study refuses before its first job what any of its jobs would refuse."""

from pathlib import Path

import pytest

from noisy_student.ablate import check
from noisy_student.ablate.claims import paper
from noisy_student.ablate.jobs import RECORD, Graph
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.spec import Arm, Round, Study


def checked(tmp_path, *flags, study=paper.FROM_SCRATCH, results_dir=None, done=()):
    graph = Graph(Recipe("mnist5k", flags), [study], [0])
    for job in graph.jobs.values():
        if job.label in done:
            (tmp_path / job.name).mkdir(parents=True)
            (tmp_path / job.name / RECORD).write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    try:
        check.check(graph, tmp_path, results_dir)
    finally:
        assert sorted(tmp_path.rglob("*")) == before


def test_studies_of_a_shipped_recipe_may_begin(tmp_path):
    checked(tmp_path)
    checked(tmp_path, study=paper.NOISE)


WARM = Round(student=("--student_width=0.9",), starts_from_teacher=True)
WARM_STUDY = Study("warm", "a claim", "nowhere", (Arm("warm", (WARM,)),), ())


@pytest.mark.parametrize(
    ("study", "flags", "named"),
    [
        (
            paper.NOISE,
            ["--batch_size=7", "--accumulate_steps=2", "--teacher_batch_size=8"],
            "seed0/student1.*student 1: --batch_size=7",
        ),
        (paper.NOISE, ["--student_name=efficientnet-b9"], "student1.*network efficientnet-b9"),
        (paper.ROBUSTNESS, ["--image_size=16"], "more_tests.*corruptions needs .* not 16"),
        (WARM_STUDY, [], "seed0/student1-.*: seed0/teacher-.* instead of"),
        (paper.NOISE, ["--labeled_dir=nowhere"], "labeled_dir"),
    ],
)
def test_a_job_that_would_fail_is_named(tmp_path, study, flags, named):
    with pytest.raises(ValueError, match=named):
        checked(tmp_path, *flags, study=study)


def test_finished_jobs_are_not_checked(tmp_path):
    flags = ("--batch_size=7", "--accumulate_steps=2", "--teacher_batch_size=8")
    labels = ("teacher", "labels1", "selected1", "student1", "test", "labels2", "selected2")
    checked(tmp_path, *flags, done=(*labels, "student2", "more_tests"))


def test_a_folder_of_results_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"--results_dir={tmp_path}/file"):
        checked(Path(tmp_path / "root"), results_dir=tmp_path / "file")
