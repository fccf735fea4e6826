import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data import contact_sheet
from tests.helpers.marks import slow_param

ROOT = Path(__file__).resolve().parents[2]


def test_images_stand_in_rows_below_their_headings():
    images = np.random.default_rng(0).integers(0, 255, (4, 20, 30, 3), np.uint8)
    rows = {"first": list(images[:2]), "second": list(images[2:])}
    sheet = np.asarray(contact_sheet.draw(rows, ["left", "right"]))
    assert sheet.shape == (14 + 2 * 24, 110 + 2 * 34, 3)
    for position, image in enumerate(images):
        top, left = 14 + position // 2 * 24, 110 + position % 2 * 34
        np.testing.assert_array_equal(sheet[top : top + 20, left : left + 30], image)
    assert (sheet[:14] < 255).any() and (sheet[14:, :110] < 255).any()
    assert contact_sheet.draw(rows).size == (110 + 2 * 34, 4 + 2 * 24)


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("randaugment", {"magnitudes"}),
        slow_param("corruptions", {"native_size", "seed"}),
        slow_param("perturbations", {"native_size", "seed", "columns"}),
    ],
)
def test_help_lists_the_flags_of_the_command(command, flags):
    done = subprocess.run(
        [sys.executable, "-m", f"data.{command}", "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("  --")}
    assert listed == {f"  --{flag}" for flag in flags | {"image", "output", "size"}}
    assert f"python -m data.{command} --image=" in done.stdout
