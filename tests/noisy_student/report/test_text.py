"""Text that programs read: names cannot break a table, a page or a spreadsheet."""

import csv
import io
import json

import pytest

from noisy_student import report
from noisy_student.report import text
from tests.helpers.marks import slow_param
from tests.helpers.run_folder import make_workdir
from tests.helpers.run_robustness import evaluate

NAMES = ["=1+2", "+1", "-1", "@SUM(A1)", "a|b", "<b>bold", "\tx"]


@pytest.mark.parametrize("name", [*NAMES[-3:], *map(slow_param, NAMES[:-3])])
def test_names_are_text_in_every_format(tmp_path, name):
    folder = make_workdir(tmp_path)
    evaluate(folder, "clean", name, num_examples=1000, top1=50.0, top5=90.0)
    report.run(folder)
    rows = list(csv.reader(io.StringIO((folder / "report/results.csv").read_text())))
    assert len({len(row) for row in rows}) == 1
    assert not [cell for row in rows for cell in row if cell[:1] in "=+-@\t" and cell]
    lines = (folder / "report/results.md").read_text().splitlines()
    assert "<b>" not in "".join(lines)
    start = lines.index("## Accuracy") + 2
    rows = [line for line in lines[start:] if line.startswith("|")][:8]
    assert {row.replace("\\|", "").count("|") for row in rows} == {10}


@pytest.mark.parametrize(("name", "expected"), [("-x", "'-x"), ("x-", "x-"), ("", "")])
def test_cells_of_a_spreadsheet(name, expected):
    assert text.csv_text(name) == expected


@pytest.mark.parametrize("name", [*NAMES, "\rx", "plain", "'x", "-"])
def test_the_name_of_a_cell_is_what_was_written(name):
    assert text.csv_name(text.csv_text(name)) == name


def test_a_command_stays_within_its_block(tmp_path):
    folder = make_workdir(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["command"] = "run --exclude='a\n# not a heading'"
    (folder / "config.json").write_text(json.dumps(config))
    report.run(folder)
    lines = (folder / "report/results.md").read_text().splitlines()
    assert "    # not a heading'" in lines and "# not a heading'" not in lines


def test_a_negative_number_is_no_text(tmp_path):
    folder = make_workdir(tmp_path)
    evaluate(folder, "imagenet_a", "round2_student", num_examples=10, num_classes=2, top1=-0.5)
    report.run(folder)
    assert ",-0.5" in (folder / "report/results.csv").read_text()


def test_markdown_table():
    lines = text.markdown_table(["name", "n"], [["a|b", "<1"], ["c\nd", "2"]])
    assert lines == ["| name | n |", "| --- | ---: |", "| a\\|b | &lt;1 |", "| c d | 2 |"]
