"""Corruptions and perturbations made on the way, parts, and what a request covers."""

import dataclasses
import hashlib

import numpy as np
import pytest

from data import corruptions, perturbations
from data.robustness_sets import CIFAR10_CLASSES
from data.sources import splits
from noisy_student import evaluate, robustness
from noisy_student.metrics import per_image
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.tiny_evaluation import content, count_calls, killed_after

NAMES, SEVERITIES = ("fog", "gaussian_noise", "contrast"), (2, 5)
SEQUENCES = ("shot_noise", "translate", "spatter")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.save_models(tmp_path_factory.mktemp("models"))["cifar10"]


@pytest.fixture(scope="module")
def examples():
    made = tiny.examples(10)
    classes = CIFAR10_CLASSES
    return dataclasses.replace(made, class_names=classes)


def seed_of(seed, name):
    """As the corruptions of an image are seeded: a hash of the run's seed and the image's id."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def corrupted_settings(**other):
    return tiny.settings("corruptions", corruptions=NAMES, severities=SEVERITIES, **other)


# Against plain loops.


def test_clean(model, examples, tmp_path):
    result = tiny.run(model, examples, tmp_path, tiny.settings("clean"))["clean"]
    logits = tiny.logits_one_by_one(examples.images)
    right = [row.argmax() == label for row, label in zip(logits, examples.labels, strict=True)]
    assert result["top1"] == pytest.approx(100 * sum(right) / 10)
    ranks = [(row > row[label]).sum() for row, label in zip(logits, examples.labels, strict=True)]
    assert result["top5"] == pytest.approx(100 * np.mean(np.array(ranks) < 5))
    np.testing.assert_array_equal(per_image.shares(result["by_image"]["top1"]), ~np.array(right))


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


def test_a_part_of_the_test_images_is_of_all_classes(model, tmp_path):
    """Test images often lie class by class: the first ones would be of one class."""
    made = tiny.examples(40)
    labels = np.repeat(np.arange(10, dtype=np.int32), 4)
    made = dataclasses.replace(made, labels=labels, class_names=CIFAR10_CLASSES)
    chosen = tiny.settings(
        "corruptions",
        "perturbations",
        "fgsm",
        "pgd",
        corruptions=["fog"],
        severities=[3],
        perturbations=["translate"],
        examples=10,
    )
    attack = dataclasses.replace(chosen.attack, fgsm_examples=20, pgd_examples=30)
    results = tiny.run(model, made, tmp_path, dataclasses.replace(chosen, attack=attack))
    for benchmark, count in (("corruptions", 10), ("perturbations", 10), ("fgsm", 20), ("pgd", 30)):
        some = splits.sample(made, count)
        assert np.bincount(some.labels).tolist() == [count // 10] * 10
        assert results[benchmark]["num_examples"] == count
        assert results[benchmark]["request"]["examples"] == some.fingerprint()
        records = results[benchmark]["by_image"].values()
        assert {record["images"] for record in records} == {
            per_image.record(some.ids, np.zeros(count, int))["images"]
        }


def test_a_model_of_more_classes_and_test_images_of_fewer(tmp_path):
    path = tiny.save_models(tmp_path)["cifar10"]
    made = tiny.examples(12)
    few = ("cat", "ship", "dog")
    examples = dataclasses.replace(made, labels=made.labels % 3, class_names=few)
    result = tiny.run(path, examples, tmp_path / "out", tiny.settings("clean"))["clean"]
    columns = [CIFAR10_CLASSES.index(name) for name in few]
    guesses = tiny.logits_one_by_one(examples.images)[:, columns].argmax(1)
    assert result["top1"] == pytest.approx(100 * np.mean(guesses == examples.labels))


# Batches, seeds and requests.

ALL = ("clean", "corruptions", "perturbations", "fgsm", "pgd")


def all_settings(**other):
    return tiny.settings(
        *ALL, corruptions=("fog", "shot_noise"), severities=(4,), perturbations=("tilt",), **other
    )


def test_figures_do_not_depend_on_the_batch_size_and_repeat(model, examples, tmp_path):
    first = tiny.run(model, examples, tmp_path / "a", all_settings(batch_size=4))
    for folder, size in (("b", 4), ("c", 250)):
        second = tiny.run(model, examples, tmp_path / folder, all_settings(batch_size=size))
        for benchmark in ALL:
            for key in set(first[benchmark]) - {"seconds", "calibration_error"}:
                assert second[benchmark][key] == first[benchmark][key], (benchmark, key, size)
        errors = [result["clean"]["calibration_error"] for result in (first, second)]
        assert errors[0] == pytest.approx(errors[1], abs=1e-4)  # of rounded confidences
    assert content(tmp_path / "a") == content(tmp_path / "b")


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


# Interruptions.


@pytest.mark.parametrize(
    ("benchmark", "patched", "parts", "before"),
    [
        ("corruptions", (corruptions, "corrupt"), 6, 25),
        ("perturbations", (perturbations, "sequence"), 3, 14),
    ],
)
def test_a_killed_evaluation_goes_on_with_the_next_part(
    model, examples, tmp_path, monkeypatch, benchmark, patched, parts, before
):
    module, function = patched
    chosen = tiny.settings(
        benchmark, corruptions=NAMES, severities=SEVERITIES, perturbations=SEQUENCES
    )
    tiny.run(model, examples, tmp_path / "whole", chosen)
    with killed_after(monkeypatch, module, function, before):
        tiny.run(model, examples, tmp_path / "killed", chosen)
    folder = tmp_path / "killed" / benchmark
    finished = before // 10
    assert len(list(folder.glob("*.json"))) == finished
    assert not (tmp_path / "killed" / f"{benchmark}.json").exists()

    calls = count_calls(monkeypatch, module, function)
    tiny.run(model, examples, tmp_path / "killed", chosen)
    assert sum(calls.values()) == (parts - finished) * len(examples)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "whole" / benchmark / path.name).read_bytes()


def test_pgd_goes_on_with_the_next_epsilon(model, examples, tmp_path):
    tiny.run(model, examples, tmp_path, tiny.settings("pgd"))
    before = content(tmp_path)
    (tmp_path / "pgd.json").unlink()
    (tmp_path / "pgd/epsilon_8.json").unlink()
    kept = tmp_path / "pgd/epsilon_0.json"
    time = kept.stat().st_mtime_ns
    tiny.run(model, examples, tmp_path, tiny.settings("pgd"))
    assert content(tmp_path) == before and kept.stat().st_mtime_ns == time


# What is refused.


@pytest.mark.parametrize(
    ("benchmark", "flag", "names", "message"),
    [
        ("corruptions", "corruptions", ("fog", "fig"), "--corruptions=fig: must be .* of gauss.*"),
        ("corruptions", "corruptions", (), "--corruptions=: must be the word all, or of gauss"),
        ("perturbations", "perturbations", ("snow",), "--perturbations=snow: .*, spatter, "),
    ],
)
def test_unknown_names_are_refused_before_anything_is_measured(
    model, examples, tmp_path, benchmark, flag, names, message
):
    chosen = tiny.settings("clean", benchmark, **{flag: names})
    with pytest.raises(ValueError, match=message):
        tiny.run(model, examples, tmp_path / "out", chosen)
    assert not (tmp_path / "out").exists()


def test_relative_figures_and_differences_beside_a_baseline(model, examples, tmp_path):
    chosen = tiny.settings(
        "corruptions", "fgsm", corruptions=robustness.CORRUPTIONS[:3], severities=(5,)
    )
    results = tiny.run(model, examples, tmp_path, chosen)
    lines = list(evaluate.compared(results, results))
    assert lines[0] == (
        "corruptions: mean corruption error relative to the baseline = 100, over 3 of 15"
        " corruptions, not at all severities: 100.0"
    )
    assert lines[1].startswith("corruptions: ") and "gain +0.0 points" in lines[1]
    assert lines[2].startswith("fgsm: ") and "gain +0.0 points" in lines[2]
