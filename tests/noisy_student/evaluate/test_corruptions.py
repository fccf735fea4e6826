"""Generated corruptions, beside plain loops over single images."""

import dataclasses
import hashlib

import numpy as np
import pytest

from data import corruptions
from noisy_student.metrics import per_image
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.tiny_evaluation import count_calls

NAMES, SEVERITIES = ("fog", "gaussian_noise", "contrast"), (2, 5)


def seed_of(seed, name):
    """Returns the seed of an image's corruptions: a hash of the run's seed and the id."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def corrupted_settings(**other):
    return tiny.settings("corruptions", corruptions=NAMES, severities=SEVERITIES, **other)


def test_corruptions(model, examples, tmp_path):
    result = tiny.run(model, examples, tmp_path, corrupted_settings(seed=3))["corruptions"]
    means = []
    for name in NAMES:
        for severity in SEVERITIES:
            images = [
                corruptions.corrupt(image, name, severity, seed_of(3, id), 32)
                for image, id in zip(examples.images, examples.ids, strict=True)
            ]
            wrong = tiny.guesses_one_by_one(np.stack(images)) != examples.labels
            assert result["errors"][name][str(severity)] == np.mean(wrong)
            found = per_image.shares(result["by_image"][f"{name} {severity}"])
            np.testing.assert_array_equal(found, wrong)
            means.append(np.mean(wrong))
    assert result["mean_error"] == pytest.approx(100 * np.mean(means))
    clean = np.mean(tiny.guesses_one_by_one(examples.images) != examples.labels)
    assert result["clean_error"] == pytest.approx(clean)
    assert "mce" not in result and "made from clean images" in result["provenance"]
    assert len(set(means)) > 1


def test_another_seed_draws_other_noise(model, examples, tmp_path):
    for seed in (0, 1):
        chosen = tiny.settings("corruptions", corruptions=("gaussian_noise",), severities=(5,))
        chosen = dataclasses.replace(chosen, seed=seed)
        tiny.run(model, examples, tmp_path / str(seed), chosen)
    confidences = [
        np.load(tmp_path / f"{seed}/corruptions/gaussian_noise-5.npz")["confidences"]
        for seed in (0, 1)
    ]
    assert not np.array_equal(*confidences)


def test_every_image_is_corrupted_once(model, examples, tmp_path, monkeypatch):
    calls = count_calls(monkeypatch, corruptions, "corrupt")
    tiny.run(model, examples, tmp_path, corrupted_settings())
    expected = {
        (name, severity, seed_of(0, id), 32)
        for name in NAMES
        for severity in SEVERITIES
        for id in examples.ids
    }
    assert calls == dict.fromkeys(expected, 1)


def test_the_same_question_is_not_answered_again_and_another_is(
    model, examples, tmp_path, monkeypatch
):
    tiny.run(model, examples, tmp_path, corrupted_settings())
    calls = count_calls(monkeypatch, corruptions, "corrupt")
    tiny.run(model, examples, tmp_path, corrupted_settings(batch_size=7))
    assert not calls
    more = tiny.settings("corruptions", corruptions=(*NAMES, "frost"), severities=(5, 2))
    result = tiny.run(model, examples, tmp_path, more)["corruptions"]
    assert {arguments[0] for arguments in calls} == {"frost"} and len(calls) == 20
    assert list(result["errors"]) == [*NAMES, "frost"]
    tiny.run(model, examples, tmp_path, corrupted_settings(examples=5))
    assert len(calls) == 20 + 6 * 5


@pytest.mark.parametrize(("names", "wrong"), [(("fog", "fig"), "=fig:"), ((), "=:")])
def test_unknown_corruptions_are_refused_before_anything_is_measured(
    model, examples, tmp_path, names, wrong
):
    settings = tiny.settings("clean", "corruptions", corruptions=names)
    with pytest.raises(ValueError, match=f"--corruptions{wrong} .*gaussian_noise"):
        tiny.run(model, examples, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
