"""The interface of a benchmark, and the registry of all benchmarks.

A benchmark is one module of this package. It implements `Benchmark` and calls `register`; the
runner imports all modules, runs the benchmarks that ``--benchmarks`` names and stores their
results. Benchmarks that read published images, such as ImageNet-C, are in `stored`.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from data.examples import Examples
from noisy_student import config
from noisy_student.evaluate.evaluated_model import EvaluatedModel

Result = dict[str, Any]  # content of a benchmark's JSON file


@dataclass(frozen=True)
class Task:
    """One benchmark to run for one model."""

    name: str  # name of the benchmark
    settings: config.EvaluationConfig  # options of the evaluation
    request: Mapping[str, Any]  # everything that the result depends on, JSON-like
    folder: Path  # receives files of the benchmark's own, such as results of its parts
    examples: Examples  # labeled test images; empty for a benchmark with images of its own


class Benchmark(Protocol):
    """A measurement of a model.

    Attributes:
        name: value of ``--benchmarks``, and stem of the result file.
        packages: optional packages that it needs, of `data.optional.EXTRAS`.
        needs_test_images: whether it uses the test images of the data set, not its own images.
    """

    name: str
    packages: tuple[str, ...] = ()
    needs_test_images: bool = True

    def select(self, test_images: Examples, settings: config.EvaluationConfig) -> Examples:
        """Returns the test images to measure on: all, unless the benchmark overrides this."""
        return test_images

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns what the result depends on, besides weights, resolution and test images.

        A finished result is reused for an equal request.

        Args:
            settings: options of the evaluation.
            image_size: resolution of the model's images, in pixels.

        Raises:
            ValueError: an option is missing or invalid; the message names it.
        """
        ...

    def check_images(self, settings: config.EvaluationConfig, class_names: Sequence[str]) -> None:
        """Refuses images of the benchmark's own that `measure` would refuse.

        Args:
            settings: options of the evaluation.
            class_names: classes of the model.

        Raises:
            ValueError: an image or a class is invalid; the message names it.
        """
        return None

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Measures the model; returns metrics, JSON-like, with ``num_examples`` among them."""
        ...

    def complete(self, result: Result, output_dir: Path) -> Result:
        """Returns the result with metrics that need results of other benchmarks in `output_dir`.

        Called after all benchmarks have run, also for a result that was finished before.
        """
        return result

    def describe(self, result: Result) -> str:
        """Returns the main metrics as one line for the terminal."""
        ...


REGISTRY: dict[str, Benchmark] = {}  # filled by `register` as modules are imported


def register(benchmark: Benchmark) -> None:
    """Adds a benchmark to the registry.

    Raises:
        ValueError: another benchmark has the same name.
    """
    if benchmark.name in REGISTRY:
        raise ValueError(f"A benchmark named {benchmark.name} already exists.")
    REGISTRY[benchmark.name] = benchmark


def get(name: str) -> Benchmark:
    """Returns a registered benchmark.

    Raises:
        ValueError: the name is unknown; the message lists all names.
    """
    if name not in REGISTRY and name not in names():
        raise ValueError(f"--benchmarks={name}: must be one of {', '.join(names())}.")
    return REGISTRY[name]


def names() -> list[str]:
    """Returns the names of all benchmarks, after importing every module of this package."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name != "__main__":
            importlib.import_module(f"noisy_student.evaluate.{module.name}")
    return list(REGISTRY)


def select_names(
    flag: str, selected: Sequence[str], known: Sequence[str], default: Sequence[str]
) -> list[str]:
    """Resolves a list option such as ``--corruptions``.

    Args:
        flag: name of the option.
        selected: its value: ("all",) or names.
        known: all valid names.
        default: names that "all" means.

    Returns:
        Names without repetitions.

    Raises:
        ValueError: a name is unknown, or there is none.
    """
    if tuple(selected) == ("all",):
        return list(default)
    unknown = [name for name in selected if name not in known]
    if unknown or not selected:
        raise ValueError(
            f"--{flag}={','.join(unknown)}: must be all or some of {', '.join(known)}."
        )
    return list(dict.fromkeys(selected))
