"""Runs side by side."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from noisy_student import config, report
from noisy_student.metrics import per_image
from tests.helpers.run_folder import Balance, make_workdir, write
from tests.helpers.run_robustness import add_own_robustness, evaluate


@pytest.fixture
def runs(tmp_path) -> list[Path]:
    """Three runs: with robustness, without, and with another number of rounds."""
    folders = [make_workdir(tmp_path / name) for name in ("full", "plain", "short")]
    add_own_robustness(folders[0])
    for path in folders[2].glob("evaluation/round2_student/*.json"):
        path.unlink()
    return folders


def cells(markdown: str, heading: str, row: str) -> list[str]:
    """The cells of a row under a heading."""
    lines = markdown[markdown.index(f"**{heading}**") :].splitlines()
    line = next(line for line in lines if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_figures_stand_side_by_side(runs, tmp_path, golden):
    report.compare(runs, tmp_path / "out")
    text = (tmp_path / "out/comparison.md").read_text()
    golden(text, "report/comparison.md")
    assert "|  | full | plain | short |" in text
    accuracy = "Top-1 on clean test images"
    assert cells(text, accuracy, "Teacher") == ["90.0 (88.0 to 91.7)"] * 3
    assert cells(text, accuracy, "Student 2") == ["93.6 (91.9 to 95.0)"] * 2 + ["-"]
    gains = cells(text, accuracy, "last student minus teacher")
    assert gains == ["+3.6 (+2.0 to +5.2)"] * 2 + ["-"]
    made = "Corrupted test images: teacher = 100"
    assert cells(text, made, "Student 2") == ["80.0", "-", "-"]
    verdicts = cells(text, "Last student compared with its teacher", "FGSM")
    assert verdicts[0].startswith("more robust: +6.8") and verdicts[2] == "-"
    assert "These runs differ" not in text and "Clean images" not in text


def test_last_students_are_compared_image_by_image(runs, tmp_path):
    path = runs[1] / "evaluation/round2_student/clean.json"
    content = json.loads(path.read_text())
    wrong = np.isin(np.arange(1000), range(60, 146))  # 8 right instead of wrong, 30 the other way
    content |= {"top1": 91.4, "by_image": {"top1": per_image.record(map(str, range(1000)), wrong)}}
    write(path, content)
    report.compare(runs, tmp_path / "out")
    text = (tmp_path / "out/comparison.md").read_text()
    heading = "Last student compared with that of full, image by image"
    found = cells(text, heading, "Clean test images")
    half = 195.9964 * math.sqrt(9 + 31 - 22**2 / 1002) / 1002
    low, high = -2200 / 1002 - half, -2200 / 1002 + half
    assert found == ["-", f"-2.2 ({low:+.1f} to {high:+.1f})", "-"]


def test_page_is_well_formed_and_says_the_same(runs, tmp_path):
    runs[1] = runs[1].rename(tmp_path / "R&D <b>")
    report.compare(runs, tmp_path / "out")
    html = (tmp_path / "out/comparison.html").read_text()
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert "R&amp;D &lt;b&gt;" in html and "R&D" not in html
    row = re.search(r"<th[^>]*>Student 1</th>(.*?)</tr>", html).group(1)
    assert re.findall(r"<td>([^<]*)</td>", row) == ["92.5 (90.7 to 94.0)"] * 3


def test_runs_that_do_not_compare_are_called_so(runs, tmp_path):
    settings = json.loads((runs[1] / "config.json").read_text())
    write(runs[1] / "config.json", settings | {"dataset": "folder"})
    evaluate(runs[1], "fgsm", "round0_teacher", num_examples=50, epsilons=[0, 1], top1=[90, 40])
    report.compare(runs[:2], tmp_path / "out")
    text = (tmp_path / "out/comparison.md").read_text()
    warning = text.splitlines()[2]
    assert "data set" in warning and "FGSM" in warning and "PGD" not in warning


def test_every_flag_that_differs_is_named(runs, tmp_path):
    settings = json.loads((runs[1] / "config.json").read_text())
    flags = settings["flags"] | {"student_width": ["1"], "magnitude": 5.5, "init_model": "teacher"}
    flags["workdir"] = "elsewhere"
    write(runs[1] / "config.json", settings | {"flags": flags})
    (runs[2] / "config.json").unlink()
    report.compare(runs, tmp_path / "out")
    text = (tmp_path / "out/comparison.md").read_text()
    heading = "Flags that differ"
    assert cells(text, heading, "--student_width") == ["0.5,0.75", "1", "-"]
    default = config.Config().to_json()["magnitude"]
    assert cells(text, heading, "--magnitude") == [str(default), "5.5", "-"]
    assert cells(text, heading, "--init_model") == ["unset", "teacher", "-"]
    assert not [name for name in ("--seed", "--rounds", "--workdir", "--adam") if name in text]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    folders = [make_workdir(tmp_path / parent / "run") for parent in ("a", "b")]
    report.compare(folders, tmp_path / "out")
    assert f"|  | {folders[0]} | {folders[1]} |" in (tmp_path / "out/comparison.md").read_text()


def test_runs_are_directories_and_at_least_two(runs, tmp_path):
    for wrong in ([runs[0]], [runs[0], runs[0]], []):
        with pytest.raises(ValueError, match="two or more directories"):
            report.compare(wrong, tmp_path / "out")
    with pytest.raises(ValueError, match="nowhere is not a directory"):
        report.compare([runs[0], tmp_path / "nowhere"], tmp_path / "out")


def test_command(runs, tmp_path):
    folders = ",".join(map(str, runs[:2]))
    command = [sys.executable, "-m", "noisy_student.report", f"--compare={folders}"]
    root = Path(report.__file__).parents[2]

    def call(*flags: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*command, *flags], cwd=root, capture_output=True, text=True, timeout=300
        )

    done = call(f"--output_dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"comparison: {tmp_path}/out/comparison.html\n"
    assert "--output_dir is required" in call().stderr
