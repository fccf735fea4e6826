"""The files of a report, made from a work directory whose numbers are written by hand."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from noisy_student import report
from tests.helpers.marks import slow_param
from tests.helpers.run_folder import make_workdir, page_of, results_of, write
from tests.helpers.run_robustness import add_own_robustness, add_published_robustness


@pytest.fixture
def workdir(tmp_path) -> Path:
    return make_workdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A complete run with its report; not to be changed."""
    folder = make_workdir(tmp_path_factory.mktemp("run"))
    report.run(folder)
    return folder


def test_figures_do_not_depend_on_how_long_it_took(tmp_path):
    first, second = make_workdir(tmp_path / "a"), make_workdir(tmp_path / "b")
    for path in [*second.glob("round*/*/train.json"), *second.glob("evaluation/*/clean.json")]:
        write(path, json.loads(path.read_text()) | {"seconds": 1234.5})
    results = report.run(first), report.run(second)
    assert results[0]["figures"] == results[1]["figures"]
    assert results[0]["provenance"]["seconds"] != results[1]["provenance"]["seconds"]
    stored = results_of(first)
    assert stored == json.loads(json.dumps(results[0]))


def test_rounds_of_an_earlier_command_are_named(workdir, caplog):
    report.run(workdir)
    assert "earlier command" not in caplog.text
    settings = json.loads((workdir / "config.json").read_text())
    settings["flags"]["rounds"] = 1
    write(workdir / "config.json", settings)
    report.run(workdir)
    assert f"also shows {workdir}/round2 of an earlier command" in caplog.text


FILES = [
    "config.json",
    "round0/teacher/train.json",
    "round2/student/train.json",
    "round1/selected/selection.json",
    "evaluation/round0_teacher/clean.json",
    "evaluation/round2_student/clean.json",
    "evaluation/round1_student/fgsm.json",
    "evaluation/control_chain/clean.json",
    "evaluation/gallery.json",
    "evaluation/noise.json",
]


@pytest.mark.parametrize("path", [*FILES[:4], *map(slow_param, FILES[4:])])
def test_a_missing_file_is_named_and_the_rest_shown(workdir, path):
    (workdir / path).unlink()
    results = report.run(workdir)
    assert results["figures"]["missing"] == [path]
    assert f"<code>{path}</code>" in page_of(workdir)
    assert path in report.table(results)
    assert "Student 1" in page_of(workdir)


def test_a_run_that_has_just_begun(tmp_path):
    results = report.run(tmp_path)
    assert results["figures"]["models"] == [] and results["figures"]["gain"] is None
    assert "round0/teacher/train.json" in results["figures"]["missing"]
    assert page_of(tmp_path).count("Not in this run") == 6


def test_damaged_file_and_wrong_directory_are_refused(workdir):
    path = workdir / "round1/student/train.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        report.run(workdir)
    with pytest.raises(ValueError, match="nowhere is not a directory"):
        report.run(workdir / "nowhere")


def test_table_for_the_terminal(finished):
    lines = report.table(results_of(finished)).splitlines()
    assert lines[2].split() == ("Teacher 90.0 88.0 to 91.7 99.4 90.4 500,000 62,400 48 130".split())
    assert lines[8].startswith("Teacher 90.0% -> Student 2 93.6%: +3.6 points")
    assert "+2.0 to +5.2" in lines[8]


def test_command(workdir):
    command = [sys.executable, "-m", "noisy_student.report", f"--workdir={workdir}"]
    root = Path(report.__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"report: {workdir}/report/report.html\n")
    assert "Student 2" in done.stdout


def test_a_dry_run_writes_nothing(workdir):
    (workdir / "evaluation/gallery.json").unlink()
    shutil.rmtree(workdir / "report", ignore_errors=True)
    command = [sys.executable, "-m", "noisy_student.report", f"--workdir={workdir}", "--dry_run"]
    root = Path(report.__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{workdir}: ") and "round2_student" in done.stdout
    assert done.stdout.endswith(": evaluation/gallery.json\n")
    assert not (workdir / "report").exists()


def test_written_texts(workdir, golden):
    add_own_robustness(workdir)
    results = report.run(workdir)
    markdown = (workdir / "report/results.md").read_text(encoding="utf-8")
    numbers = (workdir / "report/results.csv").read_text(encoding="utf-8")
    golden(report.table(results) + "\n", "report/terminal.txt")
    golden(markdown, "report/results.md")
    golden(numbers, "report/results.csv")
    golden(without_pictures(page_of(workdir)), "report/report.html")
    # mCE and mFR are the names of complete published sets
    for content in (markdown, numbers, json.dumps(results)):
        assert not re.search(r"mce|mfr", content, re.IGNORECASE)


def without_pictures(html: str) -> str:
    """The page without its style, and without what is inside charts and images."""
    return re.sub(
        r"(?<=<style>).*?(?=</style>)|(?<=<svg).*?(?=</svg>)|(?<=base64,)[^\"]*",
        "",
        html,
        flags=re.DOTALL,
    )


def test_published_benchmarks_in_markdown(workdir):
    add_published_robustness(workdir)
    report.run(workdir)
    text = (workdir / "report/results.md").read_text(encoding="utf-8")
    assert "ImageNet-C: mCE | ImageNet-C: relative mCE | ImageNet-P: flip probability" in text
    assert "| EfficientNet-L2, Noisy Student (paper) | 83.7 | - | 28.3 |" in text
