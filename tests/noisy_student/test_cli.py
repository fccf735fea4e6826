"""The console command, and what an installation contains."""

import ast
import collections
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from noisy_student import cli, config
from noisy_student.config import schema
from tests.helpers.marks import slow_param

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    # As the installed script: the folder one stands in is not on the path.
    command = [sys.executable, "-P", "-c", "from noisy_student.cli import main; main()", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)


def test_lists_its_commands_without_tensorflow():
    listed = run()
    assert listed.returncode == 0
    assert re.findall(r"^  (\w+)", listed.stdout, re.MULTILINE) == list(cli.COMMANDS)
    assert "tensorflow" not in listed.stderr.lower()


@pytest.mark.parametrize(
    "arguments", [["help"], slow_param(["ablate", "--helpfull"]), slow_param(["ablate", "--list"])]
)
def test_a_reader_that_leaves_sees_no_traceback(arguments):
    command = [sys.executable, "-P", "-c", "from noisy_student.cli import main; main()", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
    started.stdout.close()  # before anything is written
    error = started.stderr.read().decode()
    started.stderr.close()
    assert started.wait() == 1 and error == ""


@pytest.mark.parametrize(
    ("redirection", "encoding", "shown", "code"),
    [
        ("", "ascii", "caf\\xe9\n", 0),
        (">/dev/full", "utf-8", "error: standard output: No space left on device\n", 2),
        (">&-", "utf-8", "", 0),
    ],
)
def test_an_output_that_lacks_letters_space_or_itself(redirection, encoding, shown, code):
    program = "from noisy_student import _output\nwith _output.lenient_output():\n    print('café')"
    command = f'{sys.executable} -c "$PROGRAM" {redirection}'
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "PROGRAM": program}
    found = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    assert (found.stdout + found.stderr, found.returncode) == (shown, code)


def test_every_command_is_a_module_that_runs():
    for module, _ in cli.COMMANDS.values():
        found = find_spec(module)
        assert found.submodule_search_locations is None or find_spec(f"{module}.__main__")


def test_unknown_commands_and_recipes_name_the_nearest(tmp_path):
    for arguments, word in ((["evalute"], "evaluate"), (["run", "mnist5"], "mnist5k")):
        refused = run(*arguments, cwd=tmp_path)
        assert refused.returncode == 1 and word in refused.stderr and not refused.stdout


def test_a_users_own_data_module_is_not_imported(tmp_path):
    (tmp_path / "data.py").write_text("raise SystemExit('imported')")
    planned = run("plan", "--flagfile", str(ROOT / "recipes" / "imagenet_b0.flags"), cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "efficientnet-b0" in planned.stdout


@pytest.mark.parametrize("requirement", ["requirements.txt"])
def test_the_pinned_versions_are_allowed_by_the_package(requirement):
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    allowed = {
        each.name.replace("_", "-"): each.specifier
        for each in map(Requirement, [*project["dependencies"], *extras])
    }
    for line in (ROOT / requirement).read_text().splitlines():
        if pinned := re.match(r"([\w.-]+)==([\w.]+)", line):
            assert pinned[2] in allowed[pinned[1].replace("_", "-")], line


def examples() -> dict[str, list[list[str]]]:
    """Returns module -> the arguments of each example in the docstrings of the packages."""
    found = collections.defaultdict(list)
    for package in ("data", "efficientnet", "noisy_student"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            for line in map(str.strip, text.replace("\\\n", " ").splitlines()):
                if line.startswith("python -m "):
                    _, _, module, *arguments = shlex.split(line)
                    found[module].append(arguments)
    return found


def test_the_help_of_every_command_has_three_examples_that_parse(monkeypatch):
    monkeypatch.chdir(ROOT)
    listed = examples()
    for module, _ in cli.COMMANDS.values():
        assert len(listed[module]) >= 3, module
        if module.startswith("noisy_student"):
            for arguments in listed[module]:
                given = [argument for argument in arguments if argument.startswith("--")]
                assert config.parse(given, schema.TOOLS).given.keys()
