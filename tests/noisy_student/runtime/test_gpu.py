"""GPUs by name; TensorFlow's list of them stands in for cards, which the tests do not need."""

import os

import pytest
import tensorflow as tf

from noisy_student.runtime import gpu


@pytest.fixture
def two_cards(monkeypatch):
    cards = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(2)]
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: cards if kind == "GPU" else []
    )
    return cards


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, ["0", "1"]),
        ("", ["0", "1"]),
        ("3, 5", ["3", "5"]),
        ("GPU-a,GPU-b,9", ["GPU-a", "GPU-b"]),
    ],
)
def test_visible_gpus_have_the_names_that_children_understand(two_cards, monkeypatch, given, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert gpu.visible() == names


def test_the_gpu_with_the_fewest_users_is_next():
    assert gpu.least_used(["a", "b", "c"], []) == "a"
    assert gpu.least_used(["a", "b", "c"], ["a", "c", "a", "b"]) == "b"


def test_memory_grows_unless_all_or_a_limit_is_asked_for(two_cards, monkeypatch):
    limits = {}

    def limit(card, configuration):
        limits[card.name] = [each.memory_limit for each in configuration]

    monkeypatch.setattr(tf.config, "set_logical_device_configuration", limit)
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    gpu.set_memory("grow")
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true" and limits == {}
    gpu.set_memory(6)
    assert limits == {"/physical_device:GPU:0": [6144], "/physical_device:GPU:1": [6144]}
    gpu.set_memory("all")
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
