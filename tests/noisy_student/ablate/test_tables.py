"""Tables of studies, with values by hand."""

import dataclasses

import pytest

from noisy_student.ablate import tables
from noisy_student.ablate.claims import STUDIES, compute, paper
from noisy_student.ablate.tables import Table
from tests.helpers.study_rows import BASELINE, TOP1, study_rows


@pytest.fixture
def table() -> Table:
    baselines = study_rows("compute", {BASELINE: (91.0, 93.0, 95.0, 0.0)})
    return Table(paper.FROM_SCRATCH, study_rows("from_scratch_vs_init", TOP1), baselines)


def cells(markdown: str) -> list[list[str]]:
    """Returns the cells of a Markdown table, without the line below its header."""
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines()]
    return [rows[0], *rows[2:]]


def test_arms_by_hand(table):
    header, *rows = cells(tables.arms(table))
    assert header == ["arm", "seeds 0, 1, 2", "top-1", "validation", "images", "s"]
    assert rows[0] == [
        *("from scratch", "90.0, 92.0, 94.0", "92.0 (2.0)", "91.2 (0.0)", "80,000", "100")
    ]
    # The baseline of the other study stands beside, on the seeds of this one.
    assert rows[2][:3] == [f"*{BASELINE}*", "91.0, 93.0, 95.0", "93.0 (2.0)"] and len(rows) == 3


def test_comparisons_by_hand(table):
    """3 +- 4.303 / sqrt(3): Student's quantile for two degrees of freedom, deviation 1."""
    _, row, *others = cells(tables.comparisons(table))
    assert [other[-1] for other in others] == ["not measured"] * 2
    numbers = ["+2.0, +3.0, +4.0", "+3.0 (+0.5 to +5.5)", "0.035"]
    assert row[1:] == [*numbers, "above 0", "**supported**"]
    assert "from scratch" in row[0] and "from the teacher" in row[0]


def test_a_claim_of_a_negative_difference():
    values = {"teacher": (9.0, 8.0, 7.0), "student 2": (5.0, 5.0, 5.0)}
    rows = study_rows("robustness", values, "corruptions.mean_error")
    rows += study_rows("robustness", values)
    found = dict(
        (row[0], row[1:]) for row in cells(tables.comparisons(Table(paper.ROBUSTNESS, rows)))
    )
    # Two comparisons were made, each with p = 0.035.
    seeds = ["-4.0, -3.0, -2.0", "-3.0 (-5.5 to -0.5)", "0.070"]
    pair = "student 2 minus teacher"
    assert found[f"{pair}: corruption error"] == [*seeds, "below 0", "**supported**"]
    assert found[pair] == [*seeds, "above 0", "**contradicted**"]
    assert found[f"{pair}: PGD 4"] == ["-, -, -", "-", "-", "above 0", "not measured"]


def test_one_seed_has_no_deviation_and_no_verdict():
    rows = [row for row in study_rows("from_scratch_vs_init", TOP1) if row.seed == 1]
    table = Table(paper.FROM_SCRATCH, rows)
    assert cells(tables.arms(table))[1][1:4] == ["92.0", "92.0", "91.2"]
    assert cells(tables.comparisons(table))[1][2:] == ["+3.0", "-", "above 0", "**too few seeds**"]
    assert table.summary()["comparisons"][0]["interval"] == [None, None]


def test_the_summary_agrees_with_the_table(table):
    summary = table.summary()
    assert summary["arms"]["from scratch"]["clean.top1"] == {
        "mean": 92,
        "sd": 2,
        "by_seed": {0: 90, 1: 92, 2: 94},
    }
    (comparison,) = summary["comparisons"]
    assert comparison["verdict"] == "supported" and comparison["seeds"] == (0, 1, 2)
    assert comparison["interval"] == pytest.approx([0.515862, 5.484138], abs=1e-6)


def test_the_command_has_the_flags_given_beside_the_recipe(table):
    given = "every stage: --ratio=2 --teacher_steps=7; student1: --hard_labels"
    rows = [dataclasses.replace(row, changed=given) for row in table.rows]
    text = tables.page(Table(table.study, rows), "x.png")
    command = "--study=from_scratch_vs_init --recipe=mnist5k --seeds=0,1,2"
    assert f"{command} --ratio=2 --teacher_steps=7\n" in text
    assert f"{command}\n" in tables.page(table, "x.png")


def test_accuracy_by_step_size_of_an_attack():
    rows = [
        row
        for size, values in {"16": (1.0, 2.0), "4": (30.0, 40.0)}.items()
        for row in study_rows("compute", {"teacher": values}, f"fgsm.top1.{size}")
    ]
    table = Table(compute.COMPUTE, rows)
    assert [row[-2:] for row in cells(tables.attack(table, "fgsm"))] == [
        ["4", "16"],
        ["35.0", "1.5"],
    ]
    assert tables.attack(table, "pgd") == ""


def test_the_table_of_claims(table):
    found = {("mnist5k", "from_scratch_vs_init"): table}
    header, row = cells(tables.claims(list(STUDIES.values()), found, "results"))
    assert header[2:] == ["`mnist5k`"]
    assert row[0] == f"*Claim:* {paper.FROM_SCRATCH.claim}"
    assert row[1] == "from scratch minus from the teacher"
    assert row[2] == ("[+3.0 (+0.5 to +5.5)](results/mnist5k/from_scratch_vs_init.md): 1 supported")


def test_gains_over_the_best_baseline():
    values = {
        "teacher": (88.0, 89.0, 90.0),
        "student 2": (90.0, 92.0, 94.0),
        "supervised, equal compute": (80.0, 80.0, 80.0),
        BASELINE: (89.0, 90.0, 91.0),
    }
    _, row = cells(tables.gains([Table(compute.COMPUTE, study_rows("compute", values))]))
    gain = ["+3.0 (+0.5 to +5.5)", "90.0 (equal total compute)", "+2.0 (-0.5 to +4.5)"]
    assert row == ["`mnist5k`", "student 2", "92.0", "89.0", *gain]
