"""Without an optional package: what needs it names the package and its extra, before it starts."""

import dataclasses
import subprocess
import sys

import pytest

from data import sources
from efficientnet import checkpoint_files, hub
from noisy_student import config, evaluate, export
from noisy_student.runtime.devices import make_devices
from noisy_student.train import build
from tests.helpers import small_export, small_runs
from tests.helpers.small_learner import CLASSES, STUDENT


def benchmarks(*names):
    """Asks which benchmarks cannot run, as `iterate` does before the first training."""

    def use(folder):
        del folder
        reasons = evaluate.missing_packages(config.Config(benchmarks=names).evaluation)
        assert set(reasons) == set(names)
        raise ValueError(*set(reasons.values()))

    return use


def export_onnx(folder):
    export.run(small_export.save_model(folder), folder / "model.onnx", "onnx")


def read_safetensors(folder):
    (folder / "model.safetensors").write_bytes(b"")
    checkpoint_files.read_timm(folder / "model.safetensors")


def train_with_keras_cv(folder):
    del folder
    settings = dataclasses.replace(
        STUDENT, noise=config.NoiseConfig("keras_cv", 2, 5.0, False, False)
    )
    build.outline(settings, make_devices(), CLASSES, 8)


def load_tfds(folder):
    sources.load_splits(sources.Tfds("cifar10", data_dir=str(folder)), sources.Draw(num_labeled=10))


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("av", "robustness", benchmarks("imagenet_p")),
        ("cv2", "robustness", benchmarks("corruptions", "perturbations")),
        ("torch_uncertainty_assets", "robustness", benchmarks("corruptions")),
        ("huggingface_hub", "convert", lambda _: hub.download("timm/some", "model.safetensors")),
        ("safetensors", "convert", read_safetensors),
        ("keras_cv", "keras-cv", train_with_keras_cv),
        ("onnxruntime", "onnx", export_onnx),
        ("tf2onnx", "onnx", export_onnx),
        ("tensorflow_datasets", "tfds", load_tfds),
    ],
)
def test_what_needs_a_package_names_it_and_its_extra(monkeypatch, tmp_path, package, extra, use):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ValueError, match=rf"{package} is not installed.*noisy-student\[{extra}\]"):
        use(tmp_path)


_IMPORTED_FOR_BEAM = """
import sys, types
from importlib.metadata import packages_distributions

class Stub(types.ModuleType):
    __path__ = []
    def __getattr__(self, name):
        return type(name, (), {})

for name in ("", ".options", ".options.pipeline_options"):
    sys.modules["apache_beam" + name] = Stub("apache_beam" + name)
import noisy_student.selection.beam
found = packages_distributions()
print(*{each for name in sys.modules for each in found.get(name.partition(".")[0], ())})
"""


def test_the_requirements_for_beam_are_what_it_imports():
    command = [sys.executable, "-c", _IMPORTED_FOR_BEAM]
    done = subprocess.run(command, cwd=small_runs.ROOT, capture_output=True, text=True, check=True)
    lines = (small_runs.ROOT / "requirements-beam.txt").read_text().splitlines()
    listed = {line.partition("==")[0] for line in lines if "==" in line}
    # pyarrow imports cloudpickle where it is installed.
    imported = set(done.stdout.split()) - {"noisy-student", "setuptools", "cloudpickle"}
    assert imported | {"apache-beam"} == listed


_WITHOUT_BEAM = """
import runpy, sys
sys.modules["apache_beam"] = None
runpy.run_module("noisy_student.selection.beam", run_name="__main__")
"""


def test_the_command_for_beam_names_its_environment():
    command = [sys.executable, "-c", _WITHOUT_BEAM]
    refused = subprocess.run(command, cwd=small_runs.ROOT, capture_output=True, text=True)
    assert refused.returncode == 1 and "requirements-beam.txt" in refused.stderr
    assert "Traceback" not in refused.stderr
