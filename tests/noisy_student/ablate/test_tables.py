"""Rows of studies as CSV, tables, pictures and parts of pages."""

import dataclasses
from pathlib import Path

import pytest

from noisy_student.ablate import chart, claims, publish, results, statistics
from noisy_student.ablate.tables import Table

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "docs" / "results"
FACTS = {
    "validation_top1": 91.25,
    "steps": 1000,
    "images_seen": 80000,
    "seconds": 100.5,
    "chain_seconds": 300.0,
    "study_seconds": 5400.0,
    "changed": "student1: --hard_labels",
    "versions": "python 3.12, tensorflow 2.21.0",
    "code": "abc123",
}
TOP1 = {
    "from scratch": (90.0, 92.0, 94.0),
    "from the teacher": (88.0, 89.0, 90.0),
}  # differences 2, 3, 4


def made(
    study: str, values: dict[str, tuple[float, ...]], metric="clean.top1"
) -> list[results.Row]:
    return [
        results.Row("mnist5k", study, arm, seed, metric, value, **FACTS)
        for arm, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]


def test_flags_given_beside_the_recipe_are_in_the_command():
    found = made("from_scratch_vs_init", TOP1)
    given = "every stage: --ratio=2 --teacher_steps=7; student1: --hard_labels"
    found = [dataclasses.replace(row, changed=given) for row in found]
    facts = Table(claims.FROM_SCRATCH, found).markdown().splitlines()[-1]
    assert "--seeds=0,1,2 --ratio=2 --teacher_steps=7`;" in facts


CONTROL = "control, images of the chain"
CONTROLS = made("compute", {CONTROL: (91.0, 93.0, 95.0, 0.0), "student 1": (1.0, 2.0, 3.0)})


@pytest.fixture
def table() -> Table:
    found = made("from_scratch_vs_init", TOP1)
    return Table(claims.FROM_SCRATCH, found, CONTROLS)


def test_csv_there_and_back(tmp_path):
    found = made("from_scratch_vs_init", TOP1)
    path = tmp_path / "f.csv"
    path.write_text(results.to_csv(found))
    assert results.read(path, claims.FROM_SCRATCH) == found
    assert path.read_text().splitlines()[1] == (
        "mnist5k,from_scratch_vs_init,from scratch,0,clean.top1,90,91.25,1000,80000,100.5,300,5400,"
        'student1: --hard_labels,"python 3.12, tensorflow 2.21.0",abc123'
    )


def test_bad_csv_is_named(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text(results.to_csv(made("from_scratch_vs_init", TOP1)))
    with pytest.raises(ValueError, match=r"f\.csv has the arm 'from scratch' of from_scratch"):
        results.read(path, claims.NOISE)
    path.write_text(path.read_text().replace(",90,", ",ninety,"))
    with pytest.raises(ValueError, match=r"f\.csv is damaged: .*ninety"):
        results.read(path, claims.FROM_SCRATCH)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"f\.csv has the columns \['a', 'b'\]"):
        results.read(path, claims.FROM_SCRATCH)


def test_the_table_by_hand(table):
    claim, empty, *lines = table.markdown().splitlines()
    assert empty == "" and claim == (
        f"{claims.FROM_SCRATCH.claim} (Paper, section 4.3, finding 8.)"
    )
    assert lines[0] == "| arm | seeds 0, 1, 2 | top-1 | validation | images | s |"
    assert lines[2] == (
        "| from scratch | 90.0, 92.0, 94.0 | 92.0 (2.0) | 91.2 (0.0) | 80 000 | 100 |"
    )
    # The control stands beside, on the seeds of the study; other arms of that study do not.
    assert lines[4].startswith(f"| *{CONTROL}* | 91.0, 93.0, 95.0 | 93.0 (2.0) |")
    assert "student 1" not in table.markdown()
    assert lines[8] == (
        "| from scratch - from the teacher | +2.0, +3.0, +4.0 | +3.0 (+0.5 to +5.5) | above 0 "
        "| **holds** |"
    )
    assert "--study=from_scratch_vs_init --recipe=mnist5k --seeds=0,1,2`; 90 min of" in lines[-1]


def test_a_claim_of_less(tmp_path):
    values = {"teacher": (9.0, 8.0, 7.0), "student 2": (5.0, 5.0, 5.0)}
    found = made("robustness", values, "corruptions.mean_error") + made("robustness", values)
    text = Table(claims.ROBUSTNESS, found).markdown()
    interval = "-4.0, -3.0, -2.0 | -3.0 (-5.5 to -0.5)"
    assert f"| student 2 - teacher: error, corrupted | {interval} | below 0 | **holds** |" in text
    assert f"| student 2 - teacher | {interval} | above 0 | **does not hold** |" in text
    assert "| student 2 - teacher: PGD 4 | -, -, - | - | above 0 | not measured |" in text


def test_the_summary_is_that_of_the_table(table):
    summary = table.summary()
    assert summary["arms"]["from scratch"]["clean.top1"]["mean"] == 92
    (comparison,) = summary["comparisons"]
    assert comparison["verdict"] == "holds" and comparison["seeds"] == [0, 1, 2]
    assert comparison["interval"] == pytest.approx([0.515862, 5.484138], abs=1e-6)


def test_one_seed_has_no_deviation_and_no_verdict():
    found = [row for row in made("from_scratch_vs_init", TOP1) if row.seed == 1]
    table = Table(claims.FROM_SCRATCH, found)
    assert "| from scratch | 92.0 | 92.0 | 91.2 |" in table.markdown()
    assert "| +3.0 | above 0 | **too few seeds** |" in table.markdown()
    assert table.summary()["comparisons"][0]["interval"] == [None, None]


def test_the_picture_is_the_same_every_time(table, tmp_path):
    for name in "ab":
        chart.write(table, tmp_path / f"{name}.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG") and content == (tmp_path / "b.png").read_bytes()
    other = [dataclasses.replace(row, value=row.value - row.seed) for row in table.rows]
    chart.write(Table(table.study, other), tmp_path / "b.png")
    assert content != (tmp_path / "b.png").read_bytes()


def test_every_verdict_has_a_color():
    assert set(chart._COLORS) == {
        statistics.HOLDS,
        statistics.FAILS,
        statistics.OPEN,
        statistics.UNREFUTED,
        statistics.FEW,
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    for study in ("from_scratch_vs_init", "compute"):
        path = tmp_path / "results" / "mnist5k" / f"{study}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        found = CONTROLS if study == "compute" else made(study, TOP1)
        path.write_text(results.to_csv(found))
    return tmp_path / "results"


PAGE = """# Page
<!-- study:from_scratch_vs_init:mnist5k -->
outdated
<!-- end -->
between
<!-- study:noise:mnist5k -->
Not measured so far.
<!-- end -->
"""


def test_pages_are_made_anew(folder, tmp_path, table):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    written = publish.rewrite(folder, [page])
    assert sorted(path.name for path in written) == [
        "compute.png",
        "from_scratch_vs_init.png",
        "page.md",
    ]
    assert table.markdown() in page.read_text() and "outdated" not in page.read_text()
    # What has no CSV stays, and a second time nothing changes.
    assert page.read_text().endswith(PAGE[PAGE.index("between") :])
    assert page not in publish.rewrite(folder, [page])
    with pytest.raises(ValueError, match=r"there is no .*other\.md"):
        publish.rewrite(folder, [tmp_path / "other.md"])


def test_all_verdicts_of_a_recipe(folder):
    page = (
        "<!-- verdicts:mnist5k -->\noutdated\n<!-- end -->\n<!-- verdicts:other -->\n<!-- end -->"
    )
    lines = publish.updated(page, folder).splitlines()
    assert "| study | seeds | computing | difference in points | mean (95% interval) |" in lines[2]
    found = [line for line in lines if line.startswith("|")][2:]
    # 3 +- 4.303 / sqrt(3): Student's quantile for two degrees of freedom, deviation 1
    assert found[0] == (
        "| from_scratch_vs_init | 3 | 90 min | from scratch - from the "
        "teacher | +3.0 (+0.5 to +5.5) | above 0 | **holds** |"
    )
    assert found[1].startswith("| compute | 4 |") and "not measured" in found[1]
    assert all(line.startswith("|  |  |  | ") for line in found[2:])
    assert lines[-2:] == ["<!-- verdicts:other -->", "<!-- end -->"]


def test_accuracy_under_an_attack_by_step_size(folder):
    by_size = {"16": (1.0, 2.0), "4": (30.0, 40.0)}
    found = [
        row
        for size, values in by_size.items()
        for row in made("compute", {"teacher": values}, f"fgsm.top1.{size}")
    ]
    (folder / "mnist5k" / "compute.csv").write_text(results.to_csv(found))
    page = "<!-- fgsm:compute:mnist5k -->\noutdated\n<!-- end -->\n"
    assert publish.updated(page, folder).splitlines() == [
        "<!-- fgsm:compute:mnist5k -->",
        "",
        "| mean top-1, FGSM at | 4 | 16 |",
        "| --- | --- | --- |",
        "| teacher | 35.0 | 1.5 |",
        "",
        "<!-- end -->",
    ]
    with pytest.raises(ValueError, match=r"study compute has no pgd\.top1"):
        publish.updated(page.replace("fgsm", "pgd"), folder)


def test_unknown_studies_in_pages_are_refused(folder):
    with pytest.raises(ValueError, match="study nose: must be of noise, "):
        publish.updated("<!-- study:nose:mnist5k -->\n<!-- end -->", folder)


@pytest.mark.parametrize("page", ["README.md", "docs/RESULTS.md"])
def test_the_projects_pages_say_what_the_results_say(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert publish.updated(text, RESULTS) == text, "run noisy_student.report --results=docs/results"


def test_every_result_has_its_table_and_picture():
    text = (ROOT / "docs" / "RESULTS.md").read_text(encoding="utf-8")
    for recipe, study in publish.measured(RESULTS):
        assert (recipe, study) in publish.studies_in(text)
        assert (RESULTS / recipe / f"{study}.png").exists()
