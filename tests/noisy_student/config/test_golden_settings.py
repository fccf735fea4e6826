"""Settings that recipes come to, against a file written by an earlier version of the code.

Finished work is recognized by these values (``stage.json``), so they may not change. To record an
intended change: ``python -m tests.noisy_student.config.test_golden_settings``.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from noisy_student import config

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).with_name("golden_settings.json")
RECIPES = {path.stem: [f"--flagfile={path}"] for path in sorted((ROOT / "recipes").glob("*.flags"))}
OPTIONS = [
    *("--rounds=3", "--ratio=14,28", "--student_width=0.5,0.75", "--student_steps=5,6"),
    *("--student_name=efficientnet-b1,efficientnet-b2", "--teacher_width=0.5", "--batch_size=10"),
    *("--teacher_batch_size=20", "--noised_labels", "--seed=4", "--fixres_image_size=300"),
    *("--frozen_blocks=4", "--learning_rate=0.5", "--final_learning_rate_per_256=0.0002"),
    *("--labeled_weight=0", "--images_per_class=none", "--profile_steps=3,7", "--noflip"),
    *("--controls=student,chain", "--severities=1,3", "--corruptions=fog,snow", "--max_copies=3"),
    *("--teacher_mode=stored", "--unlabeled_records=a,b", "--store_top_k=5", "--epsilons=0.5,1"),
    *("--imagenet_a_dir=/a", "--warmup_steps=3", "--strides=1,2,2,2,1,2,1"),
]
CASES = RECIPES | {"options": OPTIONS}


def resolved(arguments: list[str]) -> dict[str, Any]:
    """All settings of a run as {"path.of.field": value}."""
    settings = config.parse(arguments)
    parts: dict[str, Any] = {
        name: dataclasses.asdict(getattr(settings, name))
        for name in ("data", "teacher", "labels", "selection", "evaluation", "device", "log")
    }
    for name in ("students", "tuned"):
        trainings = getattr(settings, name)
        parts[name] = {str(n): dataclasses.asdict(each) for n, each in enumerate(trainings, 1)}
    parts["student 3"] = dataclasses.asdict(settings.student(3))
    parts["control"] = dataclasses.asdict(settings.control(1000))
    parts["flags"] = settings.to_json()
    return json.loads(json.dumps(_flat(parts)))


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        flat |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return flat


def differences(arguments: list[str], defaults: dict[str, Any]) -> dict[str, Any]:
    found = resolved(arguments)
    names = {*found, *defaults}
    return {name: found.get(name) for name in names if found.get(name) != defaults.get(name)}


def test_the_defaults_stay():
    assert resolved([]) == json.loads(GOLDEN.read_text())["defaults"]


@pytest.mark.parametrize("case", CASES)
def test_a_recipe_comes_to_the_same_settings(case):
    golden = json.loads(GOLDEN.read_text())
    assert differences(CASES[case], golden["defaults"]) == golden["cases"][case]


if __name__ == "__main__":
    base = resolved([])
    cases = {name: differences(arguments, base) for name, arguments in CASES.items()}
    content = {"defaults": base, "cases": cases}
    GOLDEN.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
