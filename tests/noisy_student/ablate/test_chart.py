import dataclasses

from noisy_student.ablate import chart, statistics
from noisy_student.ablate.claims import paper
from noisy_student.ablate.tables import Table
from tests.helpers.study_rows import TOP1, study_rows


def test_equal_rows_give_equal_pictures(tmp_path):
    rows = study_rows("from_scratch_vs_init", TOP1)
    for name in "ab":
        chart.write(Table(paper.FROM_SCRATCH, rows), tmp_path / f"{name}.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG") and content == (tmp_path / "b.png").read_bytes()
    other = [dataclasses.replace(row, value=row.value - row.seed) for row in rows]
    chart.write(Table(paper.FROM_SCRATCH, other), tmp_path / "b.png")
    assert content != (tmp_path / "b.png").read_bytes()


def test_every_verdict_has_a_color():
    assert set(chart.COLORS) == set(statistics.VERDICTS)
