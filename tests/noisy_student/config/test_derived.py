"""Warnings on images of which models see little."""

import dataclasses

import numpy as np
import pytest

from data import sources
from noisy_student import config
from noisy_student.config import derived


def images(height: int, width: int) -> sources.DecodedExamples:
    pixels = np.zeros((1, height, width, 3), np.uint8)
    return sources.DecodedExamples(
        np.array(["a/1.png"], object), np.zeros(1, np.int32), ("a",), pixels
    )


@pytest.mark.parametrize(
    ("flags", "size", "words"),
    [
        (["--image_size=64"], (32, 32), ["44%", "--crop_padding=32", "--image_size=64"]),
        (["--image_size=64", "--crop_padding=0"], (32, 32), []),
        (["--image_size=64", "--crop_padding=16"], (32, 32), []),
        (["--image_size=224"], (500, 300), []),
        (["--small_image", "--image_size=64"], (32, 32), ["75%", "32x32", "a/1.png"]),
        (["--small_image", "--image_size=64"], (32, 16), ["88%", "16x32", "--enlarge_small_image"]),
        (["--small_image", "--image_size=64", "--enlarge_small_image"], (32, 32), []),
        (["--small_image", "--image_size=64"], (65, 20), []),
        (["--small_image"], (28, 28), []),
    ],
)
def test_a_warning_says_how_much_is_seen(monkeypatch, flags, size, words):
    lines: list[str] = []
    monkeypatch.setattr(derived.logging, "warning", lines.append)
    settings = config.parse(flags)
    derived.warn_of_framing(settings.trainings(), images(*size))
    assert len(lines) == bool(words)
    for word in words:
        assert word in lines[0]


def test_a_network_is_the_same_for_any_framing():
    model = config.parse(
        ["--image_size=64", "--crop_padding=0", "--enlarge_small_image"]
    ).teacher.model
    plain = config.parse([]).teacher.model
    assert derived.network(model) == derived.network(plain)
    assert (
        derived.preprocess_spec(model).crop_padding == 0 and derived.preprocess_spec(model).enlarge
    )
    assert derived.preprocess_spec(dataclasses.replace(plain, image_size=9)).crop_padding == 32
