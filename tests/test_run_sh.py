"""run.sh, tried on a copy beside a stand-in for the package, so that nothing large is installed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from noisy_student import cli

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = """
import json, os, sys
names = ["KERAS_BACKEND", "NOISY_STUDENT_COMMAND"]
print(json.dumps({"arguments": sys.argv[1:], "cwd": os.getcwd(), "file": __file__,
                  "environment": {name: os.environ[name] for name in names}}))
sys.exit(7 if "--fail" in sys.argv else 0)
"""


def make_copy(folder: Path) -> Path:
    """A repository with run.sh, two recipes, no requirements and a package that shows its call."""
    shutil.copy(ROOT / "run.sh", folder)
    (folder / "recipes").mkdir()
    (folder / "recipes/mnist5k.flags").touch()
    (folder / "recipes/other.flags").touch()
    (folder / "requirements.txt").touch()
    (folder / "requirements-dev.txt").write_text("-r requirements.txt\n")
    (folder / "noisy_student").mkdir()
    (folder / "noisy_student/__init__.py").touch()
    (folder / "noisy_student/iterate.py").write_text(STAND_IN)
    (folder / "noisy_student/__main__.py").write_text(STAND_IN)
    shutil.copy(ROOT / "noisy_student/cli.py", folder / "noisy_student")
    return folder


def run(repository: Path, *arguments: str, cwd: Path | None = None, **environment: str):
    """Calls run.sh, without what the surrounding session may have set."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        ["bash", str(repository / "run.sh"), *arguments],
        cwd=cwd or repository,
        env={**kept, "PYTHON": sys.executable, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def seen(result: subprocess.CompletedProcess) -> dict:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """An installed copy in a folder whose name has a space."""
    folder = make_copy(tmp_path_factory.mktemp("a clone"))
    first = run(folder, "setup")
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("Installing requirements.txt") == 1
    return folder


def test_runs_the_default_recipe_without_installing_again(repository):
    result = run(repository)
    assert result.stderr == ""
    call = seen(result)
    assert call["arguments"] == [f"--flagfile={repository}/recipes/mnist5k.flags"]
    assert call["environment"] == {
        "KERAS_BACKEND": "tensorflow",
        "NOISY_STUDENT_COMMAND": "bash run.sh",
    }


def test_a_leading_flag_belongs_to_the_default_recipe(repository):
    call = seen(run(repository, "--width=0.5,1", "--name=a b"))
    recipe = f"--flagfile={repository}/recipes/mnist5k.flags"
    assert call["arguments"] == [recipe, "--width=0.5,1", "--name=a b"]
    typed = call["environment"]["NOISY_STUDENT_COMMAND"]
    assert typed == "bash run.sh --width=0.5,1 --name=a\\ b"


def test_runs_a_named_recipe_from_where_the_caller_stands(repository, tmp_path):
    (tmp_path / "noisy_student").mkdir()  # must not be taken for the package
    (tmp_path / "noisy_student/__init__.py").touch()
    call = seen(run(repository, "other", "--seed=1", cwd=tmp_path))
    assert call["arguments"] == [f"--flagfile={repository}/recipes/other.flags", "--seed=1"]
    assert Path(call["cwd"]) == tmp_path
    assert Path(call["file"]) == repository / "noisy_student/iterate.py"


def test_a_stage_is_run_as_the_console_command_does(repository, tmp_path):
    call = seen(run(repository, "predict", "--model=a.keras", "photos", cwd=tmp_path))
    assert call["arguments"] == ["predict", "--model=a.keras", "photos"]
    assert call["file"] == str(repository / "noisy_student" / "__main__.py")
    assert call["cwd"] == str(tmp_path)
    (stages,) = re.findall("^Stages: +(.*)$", run(repository, "help").stdout, re.MULTILINE)
    assert stages.split(", ") == list(cli.COMMANDS)


def test_the_environment_has_the_command_and_the_packages(repository, tmp_path):
    (tmp_path / "noisy_student.py").write_text("raise SystemExit('another module')")
    (tmp_path / "script.py").write_text("import noisy_student; print(noisy_student.__file__)")
    binaries = repository / ".venv" / "bin"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"KERAS_BACKEND": "", "NOISY_STUDENT_COMMAND": ""}
    call = subprocess.run(
        [binaries / "noisy-student", "predict", "a b"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert seen(call)["arguments"] == ["predict", "a b"]
    call = subprocess.run(
        [binaries / "python", "-P", tmp_path / "script.py"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert call.stdout.strip() == str(repository / "noisy_student" / "__init__.py"), call.stderr


def test_passes_the_exit_status_on(repository):
    assert run(repository, "--fail").returncode == 7


def test_unknown_recipe_lists_those_there_are(repository):
    result = run(repository, "mnist6k")
    assert result.returncode == 1
    assert "'mnist6k'; recipes: mnist5k, other; stages: " in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_names_the_recipes_and_installs_nothing(tmp_path):
    result = run(make_copy(tmp_path), "help", PYTHON="/nowhere")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    start = lines.index("Recipes:")
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["mnist5k", "other"]
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("python", ["/nowhere/python", ""])
def test_missing_python_is_one_line(tmp_path, python):
    tools = tmp_path / "tools"  # a PATH with what run.sh needs, and a Python that does not run
    tools.mkdir()
    for name in ("bash", "dirname"):
        (tools / name).symlink_to(shutil.which(name))
    (tools / "python3.12").write_text("#!/bin/sh\necho not installed >&2; exit 127\n")
    (tools / "python3.12").chmod(0o755)
    result = run(make_copy(tmp_path), PYTHON=python, PATH=str(tools))
    assert result.returncode == 1
    tried = python or "python3.13 python3.12 python3.11 python3 python"
    assert result.stderr == (
        f"run.sh: needs Python 3.11, 3.12 or 3.13 with its venv module; tried {tried}\n"
    )


def test_failed_installation_says_why_in_one_line_and_is_repeated(repository):
    requirements = repository / "requirements.txt"
    requirements.write_text("no-such-package==1.0\n")
    offline = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
    }
    try:
        for _ in range(2):
            result = run(repository, **offline)
            assert result.returncode == 1
            announcement, failure = result.stderr.splitlines()
            assert announcement.startswith("Installing requirements.txt")
            assert "cannot reach the package index" in failure
            assert "no-such-package==1.0" in failure
            assert failure.endswith(f"log: {repository}/.venv/install.log")
    finally:
        requirements.write_text("")
    repaired = run(repository)
    assert "Installing" in repaired.stderr
    seen(repaired)
    assert run(repository).stderr == ""


def test_broken_environment_is_made_again(repository):
    (repository / ".venv/bin/python").unlink()
    result = run(repository)
    assert "Installing" in result.stderr
    seen(result)
