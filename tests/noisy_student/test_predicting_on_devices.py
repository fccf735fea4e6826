"""Pseudo labels and evaluation on two replicas: the same figures, each replica doing its part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from noisy_student import predictions

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("predicting_on_devices.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Name of the strategy -> its directory, and the rows that a replica took at a time."""
    found = {}
    for name in ("one", "mirrored"):
        folder = tmp_path_factory.mktemp(name)
        done = subprocess.run(
            [sys.executable, str(SCRIPT), name, str(folder)], capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        found[name] = folder, json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_replica_computes_its_part(results):
    assert results["one"][1] == [5]
    assert results["mirrored"][1] == [3, 3]


def test_pseudo_labels_are_the_same(results):
    columns = ["id", "label", "confidence", "probabilities"]
    one, two = (
        list(predictions.read(predictions.shard_files(folder / "labels"), columns))
        for folder, _ in results.values()
    )
    assert sum(len(piece["id"]) for piece in one) == 11
    for ours, theirs in zip(two, one, strict=True):
        np.testing.assert_array_equal(ours["id"], theirs["id"])
        np.testing.assert_array_equal(ours["label"], theirs["label"])
        np.testing.assert_allclose(ours["confidence"], theirs["confidence"], rtol=1e-4)
        np.testing.assert_allclose(ours["probabilities"], theirs["probabilities"], atol=1e-3)


def test_evaluations_are_the_same(results):
    for name, keys in (
        ("clean", ("num_examples", "top1", "top5")),
        ("corruptions", ("num_examples", "clean_error", "errors")),
        ("fgsm", ("num_examples", "epsilons", "top1")),
    ):
        one, two = (
            json.loads((folder / "evaluation" / f"{name}.json").read_text())
            for folder, _ in results.values()
        )
        assert {key: two[key] for key in keys} == {key: one[key] for key in keys}
    assert one["num_examples"] == 11
