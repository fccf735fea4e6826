"""Commands on weights by name, from a cache of huggingface_hub as its package lays it out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from noisy_student.artifacts import model_file
from tests.efficientnet.test_convert import randomized, timm_file
from tests.helpers.toy_checkpoints import hub_snapshot
from tests.helpers.toy_folders import write_classes

NAME = "timm/tf_efficientnet_lite0.in1k"
CLASSES = ("n01440764", "n01443537")  # the first two of ImageNet


@pytest.mark.slow
def test_evaluation_of_weights_by_name(tmp_path):
    """The model and the baseline may be names; results carry the name."""
    pytest.importorskip("huggingface_hub")
    file = hub_snapshot(tmp_path / "hub", NAME) / "model.safetensors"
    timm_file(file, randomized("efficientnet-lite0", 1000))
    images = write_classes(tmp_path / "images", dict.fromkeys(CLASSES, 3))
    caches = {"HF_HUB_CACHE": "hub", "XDG_CACHE_HOME": "cache", "KERAS_HOME": "keras"}
    environment = {name: str(tmp_path / folder) for name, folder in caches.items()}
    command = [sys.executable, "-m", "noisy_student.evaluate", f"--model={NAME}"]
    command += [f"--baseline_model={NAME}", "--dataset=folder", f"--test_dir={images}"]
    command += ["--benchmarks=clean", "--image_size=32", f"--output_dir={tmp_path / 'out'}"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | environment | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(Path(tmp_path / "out" / "clean.json").read_text())
    assert result["model"] == NAME and result["num_examples"] == 6
    baseline = json.loads(Path(tmp_path / "out" / "baseline" / "clean.json").read_text())
    assert (baseline["model"], baseline["top1"]) == (NAME, result["top1"])
    (converted,) = (tmp_path / "cache" / "noisy-student").iterdir()
    assert len(model_file.read_card(converted)["class_names"]) == 1000


def test_other_names_are_refused_and_files_kept():
    assert model_file.find("model", "runs/model.keras") == "runs/model.keras"
    with pytest.raises(ValueError, match="--model=timm/resnet50.a1_in1k"):
        model_file.find("model", "timm/resnet50.a1_in1k")
