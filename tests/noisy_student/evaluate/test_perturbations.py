"""Generated perturbation sequences, beside plain loops over single frames."""

import hashlib

import numpy as np
import pytest

from data import perturbations
from noisy_student.metrics import per_image
from tests.helpers import tiny_evaluation as tiny

SEQUENCES = ("shot_noise", "translate", "spatter")


def test_perturbations(model, examples, tmp_path):
    chosen = tiny.settings("perturbations", perturbations=SEQUENCES, seed=3, batch_size=70)
    examples = examples.take(range(5))
    result = tiny.run(model, examples, tmp_path, chosen)["perturbations"]
    distances = []
    for name in SEQUENCES:
        changes = []
        for image, id in zip(examples.images, examples.ids, strict=True):
            digest = hashlib.blake2b(id.encode(), digest_size=8).digest()
            seed = (3, int.from_bytes(digest, "little"))
            frames = perturbations.sequence(image, name, seed, 32)
            guesses = tiny.guesses_one_by_one(frames)
            against = guesses[:1] if name == "shot_noise" else guesses[:-1]
            changes.append(sum(guesses[1:] != against) / (len(guesses) - 1))
            distances.append(tiny.top5_distance_one_by_one(frames, name == "shot_noise"))
        assert result["flip_probability"][name] == pytest.approx(np.mean(changes))
        np.testing.assert_allclose(per_image.shares(result["by_image"][name]), changes)
        assert np.mean(changes) > 0
    assert result["mean_top5_distance"] == pytest.approx(np.mean(distances))
    assert "mfr" not in result


def test_unknown_perturbations_are_refused_before_anything_is_measured(model, examples, tmp_path):
    """At 32 pixels spatter takes the place of snow."""
    settings = tiny.settings("clean", "perturbations", perturbations=("snow",))
    with pytest.raises(ValueError, match="--perturbations=snow: .*spatter"):
        tiny.run(model, examples, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
