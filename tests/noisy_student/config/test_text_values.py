"""Texts that would silently be taken for something else: paths as shells and editors write them."""

import os

import pytest

from noisy_student import config
from noisy_student.config import flags


@pytest.mark.parametrize("name", ["workdir", "labeled_dir", "teacher_model", "unlabeled_records"])
def test_the_home_directory_is_found(name, monkeypatch):
    """Shells leave a ~ after the = of a flag."""
    monkeypatch.setenv("HOME", "/home/me")
    found = config.parse([f"--{name}=~/photos"]).options[name]
    assert found in ("/home/me/photos", ("/home/me/photos",))
    assert config.Config(workdir="a~/b").options["workdir"] == "a~/b"


def test_an_empty_path_is_none_and_no_current_directory():
    with pytest.raises(ValueError, match="--workdir cannot be unset"):
        config.parse(["--workdir="])
    assert config.parse(["--teacher_model="]).options["teacher_model"] is None


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ('--workdir="runs/mine"', "quotes"),
        ("--labeled_dir='my photos'", "quotes"),
        ("--workdir=$HOME/runs", "$HOME is not expanded"),
        ("--unlabeled_records=${HOME}/a,b", "$HOME is not expanded"),
    ],
)
def test_what_a_shell_would_have_replaced_is_refused(argument, problem, monkeypatch):
    monkeypatch.setitem(os.environ, "HOME", "/home/me")
    with pytest.raises(ValueError) as refused:
        config.parse([argument])
    assert problem in str(refused.value) and str(refused.value).startswith(argument.split("=")[0])
    assert config.parse(["--labeled_dir=$NO_VARIABLE_1/a"]).given  # a name like others


def test_a_comment_behind_a_value_is_no_part_of_it(tmp_path):
    file = tmp_path / "my.flags"
    file.write_text("# a run\n--workdir=runs/x  # my run\n")
    with pytest.raises(ValueError, match="my.flags: '--workdir=runs/x  # my run': a comment needs"):
        flags.parse([f"--flagfile={file}"])
    assert config.parse(["--workdir=take #2"]).options["workdir"] == "take #2"


def test_an_error_names_its_flag_once():
    with pytest.raises(ValueError) as refused:
        config.parse(["--rounds=two"])
    assert str(refused.value).count("--rounds=two") == 1
