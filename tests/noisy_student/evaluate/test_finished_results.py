"""Results that an earlier version wrote: recognized, and of the same content today."""

import numpy as np
import pytest

from noisy_student.artifacts import files, model_file, stage
from tests.helpers import every_benchmark

ADDED = ("by_class",)  # fields of results that newer versions write


@pytest.fixture
def folder(tmp_path):
    every_benchmark.write_data(tmp_path)
    return tmp_path


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}


def test_finished_benchmarks_are_recognized(folder, monkeypatch):
    golden = every_benchmark.write_golden_results(folder, folder / "out")
    before = written(folder / "out")

    def refuse(path):
        raise AssertionError("a finished benchmark was measured again")

    monkeypatch.setattr(model_file, "load_model", refuse)
    results = every_benchmark.evaluate(folder, folder / "out")
    for model, benchmarks in every_benchmark.BENCHMARKS.items():
        assert list(results[model]) == list(benchmarks)
        for benchmark in benchmarks:
            assert results[model][benchmark] == golden[f"{model}/{benchmark}.json"]
    assert written(folder / "out") == before


def test_finished_parts_of_a_benchmark_are_recognized(folder):
    """Each result, put together from its parts, is the one that the earlier version wrote."""
    golden = every_benchmark.write_golden_results(folder, folder / "out")
    parts = {path for path in folder.glob("out/*/*/*.json")}
    for path in folder.glob("out/*/*.json"):
        if path.with_suffix("").is_dir():
            path.unlink()
    before = written(folder / "out")
    results = every_benchmark.evaluate(folder, folder / "out")
    assert before.items() <= written(folder / "out").items()
    measured = {path.parent.name for path in parts}
    assert measured == {"cifar10_c", "cifar10_p", "imagenet_c", "imagenet_p"} | {
        *("corruptions", "perturbations", "pgd")
    }
    for model, benchmarks in every_benchmark.BENCHMARKS.items():
        for benchmark in measured.intersection(benchmarks):
            found, expected = results[model][benchmark], golden[f"{model}/{benchmark}.json"]
            assert found == expected | {
                name: found[name] for name in ("seconds", "clean_error") if name in found
            }


def shape(content):
    """The content with each number and record of images replaced by its type."""
    if isinstance(content, dict):
        return {key: "counts" if key == "counts" else shape(v) for key, v in content.items()}
    if isinstance(content, list):
        return [shape(value) for value in content]
    return content if isinstance(content, str | bool | None) else type(content).__name__


def test_measured_again_the_files_and_requests_are_the_same(folder):
    every_benchmark.evaluate(folder, folder / "out")
    found = every_benchmark.read_results(folder, folder / "out")
    golden = files.read_json(every_benchmark.GOLDEN)
    assert sorted(found) == sorted(golden)
    for path, content in golden.items():
        request = found[path].get("request", {})
        kept = {name: value for name, value in request.items() if name not in stage.LATER}
        assert kept == content.get("request", {})
        results = {**found[path], **({"request": kept} if request else {})}
        kept = {name: value for name, value in results.items() if name not in ADDED}
        assert shape(kept) == shape(content), path
        if "num_examples" in content:
            assert found[path]["num_examples"] == content["num_examples"]
    for name in ("clean", "fgsm", "pgd"):
        path = f"wnids/{name}.json"
        np.testing.assert_allclose(found[path]["top1"], golden[path]["top1"], atol=100 / 6 + 1)
