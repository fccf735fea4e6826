"""Rows of studies as CSV; tests/test_ablate.py collects them from finished jobs."""

import csv
import dataclasses

import pytest

from noisy_student.ablate import results
from noisy_student.ablate.claims import paper
from tests.helpers.study_rows import TOP1, study_rows


def test_csv_round_trip(tmp_path):
    rows = study_rows("from_scratch_vs_init", TOP1)
    path = tmp_path / "f.csv"
    path.write_text(results.to_csv(rows))
    assert results.read(path, paper.FROM_SCRATCH) == rows
    assert path.read_text().splitlines()[1] == (
        "mnist5k,from_scratch_vs_init,from scratch,0,clean.top1,90,91.25,1000,80000,100.5,300,5400,"
        'student1: --hard_labels,"python 3.12, tensorflow 2.21.0",abc123'
    )


@pytest.mark.parametrize("recipe", ["=cmd|'/C calc'!A1", "+1", "-1", "@SUM(A1)", "\tx", "'quoted"])
def test_no_cell_is_a_formula(tmp_path, recipe):
    """Numbers stay numbers, and reading gives the name back."""
    rows = [dataclasses.replace(row, recipe=recipe) for row in study_rows("noise", {"x": (-1.5,)})]
    (line,) = csv.reader(results.to_csv(rows).splitlines()[1:])
    assert line[0][:1] not in "=+-@\t" and line[5] == "-1.5"
    path = tmp_path / "noise.csv"
    arm = paper.NOISE.arms[0].name
    rows = [dataclasses.replace(row, arm=arm) for row in rows]
    path.write_text(results.to_csv(rows))
    assert results.read(path, paper.NOISE) == rows


def test_unsuitable_files_are_named(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(results.to_csv(study_rows("from_scratch_vs_init", TOP1)))
    with pytest.raises(ValueError, match=r"f\.csv .*'from scratch' of study from_scratch"):
        results.read(path, paper.NOISE)
    path.write_text(path.read_text().replace(",90,", ",ninety,"))
    with pytest.raises(ValueError, match=r"f\.csv .*ninety"):
        results.read(path, paper.FROM_SCRATCH)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"f\.csv .*\['a', 'b'\]"):
        results.read(path, paper.FROM_SCRATCH)
