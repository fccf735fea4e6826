"""Predictions and attacks on two replicas: the same figures, each replica doing its part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from noisy_student.artifacts import predictions

pytestmark = pytest.mark.slow  # two processes that compile everything
ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "tests" / "helpers" / "predicting_on_devices.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Name of the strategy -> its directory, and the rows that a replica took at a time."""
    found = {}
    for name in ("one", "mirrored"):
        folder = tmp_path_factory.mktemp(name)
        done = subprocess.run(
            [sys.executable, str(SCRIPT), name, str(folder)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found[name] = folder, json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_replica_computes_its_part(results):
    assert results["one"][1] == {"spread": [5], "attacks": [5]}
    assert results["mirrored"][1] == {"spread": [3, 3], "attacks": [3]}


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
        ("fgsm", ("num_examples", "epsilons", "top1", "by_image")),
        ("pgd", ("num_examples", "epsilons", "top1", "by_image")),
    ):
        one, two = (
            json.loads((folder / "evaluation" / f"{name}.json").read_text())
            for folder, _ in results.values()
        )
        assert {key: two[key] for key in keys} == {key: one[key] for key in keys}
    assert one["num_examples"] == 11


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_adversarial_images_are_the_same(results, attack):
    """Those that are kept, of a batch of five that two replicas share three and two."""
    one, two = (folder / "evaluation" / attack for folder, _ in results.values())
    names = sorted(path.relative_to(one) for path in one.rglob("*.png"))
    assert len(names) == {"fgsm": 3, "pgd": 2}[attack] * 5
    assert names == sorted(path.relative_to(two) for path in two.rglob("*.png"))
    before = {}
    for name in names:
        ours, theirs = (
            tf.io.decode_png((folder / name).read_bytes()).numpy().astype(int)
            for folder in (two, one)
        )
        # Where a gradient is next to nothing, rounding may decide its sign.
        assert np.mean(ours != theirs) < 1e-3, name
        before.setdefault(name.name, theirs)
        clean = name.parent.name == "epsilon_0"
        assert np.array_equal(theirs, before[name.name]) == clean


def test_validation_within_a_training_is_the_same(results):
    """Also where replicas have statistics of their own, of which the mean is saved."""
    one, two = (np.load(folder / "validations.npz") for folder, _ in results.values())
    for name in ("all", "none"):
        assert one[name].shape == (11, 3) and np.ptp(one[name]) > 0.01
        np.testing.assert_allclose(two[name], one[name], atol=1e-5)


def test_both_replicas_validate(results):
    """The second one alone, whose statistics were disturbed, has the last five of eleven."""
    one, two = (np.load(folder / "validations.npz")["apart"] for folder, _ in results.values())
    np.testing.assert_allclose(two[:6], one[:6], atol=1e-5)
    assert np.abs(two[6:] - one[6:]).max(axis=1).min() > 1e-4
