"""The registry, and a benchmark of one's own."""

import re

import numpy as np
import pytest

from noisy_student.artifacts.files import read_json
from noisy_student.config import option, schema
from noisy_student.evaluate import benchmark
from noisy_student.metrics import benchmarks as reported
from tests.helpers import tiny_evaluation as tiny


class MirroredImages(benchmark.Benchmark):
    """How often the prediction stays the same when the image is mirrored."""

    name = "mirrored"

    def __init__(self):
        self.calls = 0

    def select(self, test_images, settings):
        return test_images.take(range(6))

    def request(self, settings, image_size):
        return {"seed": settings.seed}

    def measure(self, model, task):
        self.calls += 1
        images = task.examples.images
        predicted = [
            model.probabilities(each, len(each)).argmax(1) for each in (images, images[:, :, ::-1])
        ]
        return {"num_examples": len(images), "same": float(np.mean(predicted[0] == predicted[1]))}

    def describe(self, result):
        return f"{100 * result['same']:.0f}% the same"


@pytest.fixture
def mirrored():
    added = MirroredImages()
    benchmark.register(added)
    yield added
    del benchmark.REGISTRY["mirrored"]


def test_a_registered_benchmark_runs_like_the_others(model, examples, tmp_path, mirrored):
    settings = tiny.settings("clean", "mirrored")
    results = tiny.run(model, examples, tmp_path, settings)
    images = examples.images[:6]
    same = tiny.guesses_one_by_one(images) == tiny.guesses_one_by_one(images[:, :, ::-1])
    result = results["mirrored"]
    assert result["same"] == np.mean(same)
    assert result == read_json(tmp_path / "mirrored.json")
    assert result["request"]["examples"] == examples.take(range(6)).fingerprint()
    assert result["model"] == "tiny" and result["num_examples"] == 6
    assert tiny.describe(result) == f"{100 * np.mean(same):.0f}% the same"

    assert tiny.run(model, examples, tmp_path, settings) == results and mirrored.calls == 1
    tiny.run(model, examples, tmp_path, tiny.settings("mirrored", seed=1))
    assert mirrored.calls == 2


def test_a_result_is_completed_from_the_others(model, examples, tmp_path, mirrored):
    def complete(result, output_dir):
        return result | {"clean": read_json(output_dir / "clean.json")["top1"]}

    mirrored.complete = complete
    results = tiny.run(model, examples, tmp_path, tiny.settings("mirrored", "clean"))
    assert results["mirrored"]["clean"] == results["clean"]["top1"]
    assert read_json(tmp_path / "mirrored.json") == results["mirrored"]


def test_a_name_is_registered_once(mirrored):
    with pytest.raises(ValueError, match="mirrored"):
        benchmark.register(MirroredImages())


def test_help_and_report_know_all_benchmarks():
    names = benchmark.names()
    assert sorted(names) == sorted(["clean", *reported.BENCHMARKS])
    help_text = option.named([schema.EvaluationConfig])["benchmarks"].help
    assert set(re.findall(r"\w+", help_text)) >= set(names)
    for name in names:
        assert benchmark.get(name).name == name


def test_an_unknown_benchmark_is_refused(model, examples, tmp_path):
    with pytest.raises(ValueError, match="--benchmarks=clear: .*clean"):
        tiny.run(model, examples, tmp_path / "out", tiny.settings("clean", "clear"))
    assert not (tmp_path / "out").exists()


def test_test_images_are_required(model, tmp_path):
    with pytest.raises(ValueError, match="--benchmarks=clean needs"):
        tiny.run(model, None, tmp_path / "out", tiny.settings("clean"))
