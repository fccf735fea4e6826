"""Commands by themselves: other data, single stages, dry runs and bad flags."""

import json
import re

import PIL.Image
import pytest

from data import sources
from tests.helpers.marks import slow_param
from tests.helpers.small_runs import ROOT, TINY, command, iterate, run


@pytest.mark.slow
def test_folders_of_images(tmp_path):
    splits = sources.load_splits(
        sources.Builtin(), sources.Draw(num_labeled=100, num_validation=500)
    )
    for name, examples in (
        ("labeled", splits.labeled),
        ("labeled", splits.validation.take(range(0, 500, 10))),
        ("test", splits.test.take(range(0, 1000, 20))),
        ("unlabeled", splits.unlabeled.take(range(0, 3400, 20))),
    ):
        for index, identity in enumerate(examples.ids):
            folder = tmp_path / name
            if name != "unlabeled":
                folder /= examples.class_names[examples.labels[index]]
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / (re.sub(r"\W", "_", identity) + ".png")
            PIL.Image.fromarray(examples.images[index]).save(file)
    output = iterate(
        tmp_path / "run",
        "--dataset=folder",
        f"--labeled_dir={tmp_path}/labeled",
        f"--unlabeled_dir={tmp_path}/unlabeled",
        f"--test_dir={tmp_path}/test",
        "--max_steps=2",
        "--num_validation=50",
        "--rounds=1",
        "--benchmarks=clean",
    )
    assert "report:" in output
    sizes = json.loads((tmp_path / "run" / "config.json").read_text())["split_sizes"]
    assert sizes == {"labeled": 100, "validation": 50, "unlabeled": 170, "test": 50}


@pytest.mark.slow
def test_stages_run_alone(tmp_path):
    recipe = f"--flagfile={ROOT}/recipes/mnist5k.flags"
    output = run(
        command(
            "train",
            recipe,
            *TINY,
            "--role=control",
            "--control_images=128",
            f"--output_dir={tmp_path}/control",
        )
    )
    assert "control: validation" in output
    output = run(
        command(
            "evaluate",
            f"--model={tmp_path}/control/model.keras",
            f"--output_dir={tmp_path}/eval",
            "--benchmarks=clean",
            "--dataset=mnist5k",
        )
    )
    assert "top-1" in output and "1000 images" in output


def test_dry_run_touches_nothing(tmp_path):
    output = iterate(tmp_path / "digits", "--dry_run", "--rounds=1")
    assert "unlabeled: 3400 images" in output and "total: about" in output
    assert not (tmp_path / "digits").exists()


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--teacher_name=efficientnet-b9", "efficientnet-b0"),
        slow_param("--num_labeled=0", "no unlabeled images for the students"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, flag, named):
    output = iterate(tmp_path / "digits", flag, fails=True)
    assert "Traceback" not in output
    line = next(line for line in output.splitlines() if line.startswith("error: "))
    assert named in line
