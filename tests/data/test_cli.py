"""The commands of `data`: bad input is one line that names it."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data import cli
from tests.helpers.marks import slow_param

ROOT = Path(__file__).resolve().parents[2]


def test_pictures_are_rgb_and_scaled_down_only(tmp_path):
    gray = np.arange(60 * 40, dtype=np.uint8).reshape(40, 60)
    PIL.Image.fromarray(gray).save(tmp_path / "gray.png")
    whole = cli.read_picture(tmp_path / "gray.png")
    np.testing.assert_array_equal(whole, np.stack([gray] * 3, axis=-1))
    assert cli.read_picture(tmp_path / "gray.png", 30).shape == (20, 30, 3)
    assert cli.read_picture(tmp_path / "gray.png", 90).shape == (40, 60, 3)


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "nowhere.png", "."):
        with pytest.raises(ValueError, match=f"{tmp_path / name} cannot be read as an image"):
            cli.read_picture(tmp_path / name)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "gs://bucket/x", ["a", "file:///x"]], ids=str
)
def test_numbers_are_finite_and_paths_local(value):
    with pytest.raises(ValueError, match="--some="):
        cli.check({"some": value})
    cli.check({"some": [1.5, "a:b//c", None], "other": 3})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        slow_param(("data.randaugment", "--image=nowhere.jpg"), "nowhere.jpg cannot be read"),
        (("data.randaugment", "--image=x.jpg", "--magnitudes=5,x"), "--magnitudes=5,x: must be"),
        slow_param(("data.corruptions", "--image=nowhere.jpg"), "nowhere.jpg cannot be read"),
        slow_param(("data.perturbations", "cat.jpg", "--image=x.jpg"), "unknown argument cat.jpg"),
        slow_param(
            ("data.leakage", "--output_dir=out", "--dataset=mnist6k"), "Unknown dataset 'mnist6k'"
        ),
        slow_param(("data.leakage", "--output_dir=gs://a/b"), "--output_dir=gs://a/b: "),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, named):
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert named in line
    assert not list(tmp_path.iterdir())
