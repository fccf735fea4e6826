"""The README: its code runs as it stands, its commands and links exist."""

import re
import shlex
import sys
from pathlib import Path

import keras
import pytest

import noisy_student as ns
from tests.helpers import small_runs, toy_folders

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow  # a minute
def test_the_python_example_runs_as_it_stands(tmp_path, monkeypatch):
    """With as few steps as possible; names of files and folders are those of the README."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for number, name in enumerate(("labeled", "unlabeled", "test")):
        folder = tmp_path / "photos" / name
        toy_folders.write_classes(folder, {"cat": 9, "dog": 9}, side=40 + number)
    tiny = dict(flag.removeprefix("--").split("=") for flag in small_runs.TINY)
    small = {"image_size": 32, "num_validation": 4, "benchmarks": "clean"}
    small |= {"teacher_steps": 4, "student_steps": 4, "warmup_steps": 1, "augment": "none"}
    fit = ns.fit
    monkeypatch.setattr(ns, "fit", lambda *given, **named: fit(*given, **(tiny | small | named)))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["names"][0] in ("cat", "dog") and names["probabilities"].shape == (1, 2)
    assert names["model"].class_names == ("cat", "dog")
    assert names["run"].results["best"] in ("round1_student", "round2_student")


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_number_of_comparisons_is_that_of_the_results():
    results = (ROOT / "docs" / "RESULTS.md").read_text()
    found = [re.findall(r"orrected for all (\d+) comparisons", text) for text in (README, results)]
    assert all(found) and len({*found[0], *found[1]}) == 1


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


def commands() -> list[list[str]]:
    """Returns the commands of the README, as arguments of `noisy-student`."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))
    lines = [shlex.split(line, comments=True) for line in blocks.replace("\\\n", " ").splitlines()]
    found = []
    for program, *arguments in filter(None, lines):
        if program == "source":
            continue
        if program == "bash":
            arguments = ["run", *arguments[1:]]
        found.append(arguments)
    return found


def test_every_command_is_one_of_two_programs():
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    lines = "".join(blocks).splitlines()
    starts = [re.match(r"(bash run.sh|noisy-student|    )", line) for line in lines]
    assert all(starts) and len(commands()) >= 6


@pytest.mark.slow  # two minutes
def test_every_command_runs_as_it_stands(tmp_path):
    """In a folder with the files that they name, and as few steps as possible."""
    photos = {"cat": 12, "dog": 12}
    toy_folders.write_classes(tmp_path / "photos" / "labeled", photos, side=40)
    toy_folders.write_classes(tmp_path / "photos" / "test", photos, side=41)
    toy_folders.write_classes(tmp_path / "photos" / "unlabeled", {"a": 30}, side=42)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.GlobalAveragePooling2D()]
    layers.append(keras.layers.Dense(2, activation="softmax"))
    keras.Sequential([keras.Input((40, 40, 3)), *layers]).save(tmp_path / "mine.keras")
    tiny = [*small_runs.TINY, "--max_steps=2", "--rounds=1", "--benchmarks=clean"]
    for arguments in commands():
        if arguments[0] == "run" and "help" not in arguments:
            arguments = [*arguments, *tiny]
            arguments += ["--image_size=32", "--num_validation=4"] if "folder" in arguments else []
        elif "help" in arguments:
            arguments = ["help"]
        program = [sys.executable, "-m", "noisy_student.cli", *arguments]
        small_runs.run(program, cwd=tmp_path)
    assert (tmp_path / "runs/mnist5k/report/report.html").exists()
    assert (tmp_path / "runs/photos/report/report.html").exists()
    assert (tmp_path / "runs/photos/round1/student/model.tflite").exists()
    assert list(tmp_path.glob("evaluation/**/fgsm.json"))
