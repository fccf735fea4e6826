"""Command lines and shared code of the benchmarks, and what they compute besides times."""

import gzip
import inspect
import pathlib
import runpy
import sys

import numpy as np
import PIL.Image
import pytest

from benchmarks import fashion_folders, harness, package_constants
from data import corruptions
from data.corruptions import levels

FOLDER = pathlib.Path(harness.__file__).parent
LIBRARIES = {"gpu_arms", "harness", "package_constants"}
BENCHMARKS = sorted({path.stem for path in FOLDER.glob("[!_]*.py")} - LIBRARIES)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_says_how_to_run_the_benchmark(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)  # of another test
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert not stop.value.code
    assert f"python -m benchmarks.{name}" in capsys.readouterr().out


def test_options_have_the_type_of_their_default():
    parser = harness.parser("", size=(3, ""), sizes=([1, 2], ""), path=(None, ""), model=(str, ""))
    options = vars(parser.parse_args(["--model=a", "--sizes=5,6"]))
    assert options == {"size": 3, "sizes": [5, 6], "path": None, "model": "a"}
    with pytest.raises(SystemExit):
        parser.parse_args(["--size=3"])  # without the required --model
    with pytest.raises(SystemExit):
        parser.parse_args(["--model=a", "--size=big"])


def test_arms_take_turns():
    calls = []
    arms = {name: lambda name=name: calls.append(name) or np.array([1.0, 2.0]) for name in "ab"}
    results = harness.take_turns(arms, repeats=3)
    assert calls == ["a", "b"] * 3
    assert results["a"].shape == (3, 2)


def test_child_processes_answer_in_json_or_show_their_error(tmp_path):
    assert harness.run_python("-c", "print('x')") == "x\n"
    with pytest.raises(RuntimeError, match="no_such_name"):
        harness.run_python("-c", "no_such_name")


def sample(severity=1):
    """Assigns like the functions of the package."""
    amount = [250 * 0.05, 250 * 0.065][severity - 1]
    scale = 2
    scale *= 1.1
    other = 0
    other *= 3
    return amount, scale


def test_assigned_values_are_replaced_and_the_rest_stays():
    changed = package_constants.reassigned(sample, {"amount =": "OLD + severity", "scale *=": "1"})
    assert changed(1) == (13.5, 2) and changed(2) == (18.25, 2)
    assert sample(1) == (12.5, 2.2)


@pytest.mark.parametrize("missing", ["amounts =", "amount *="])
def test_what_is_not_assigned_is_named(missing):
    with pytest.raises(ValueError, match=f"'{missing[:7]}.*': 0"):
        package_constants.reassigned(sample, {"scale *=": "1", missing: "2"})


def test_the_constants_are_ours():
    ours = [levels.parameters("elastic_transform", s, 224) for s in range(1, 6)]
    np.testing.assert_allclose(package_constants.ELASTIC, ours)


@pytest.mark.parametrize("name", ["frost", "elastic_transform"])
def test_the_package_with_published_constants_changes_images_as_much(name):
    """Mean change of gray levels over 30 images, where the package is installed."""
    package = pytest.importorskip("imagecorruptions")
    module = inspect.getmodule(package.corruption_dict[name])
    before = dict(package.corruption_dict)
    package_constants.set_published(package)
    assert getattr(module, name) is before[name]  # only what `corrupt` looks up is replaced
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    image = image.repeat(8, axis=0).repeat(8, axis=1)
    for severity in (1, 3):
        changes = []
        for seed in range(30):
            np.random.seed(seed)
            pair = (
                package.corrupt(image, severity=severity, corruption_name=name),
                corruptions.corrupt(image, name, severity, seed),
            )
            changes.append([np.abs(changed.astype(int) - image).mean() for changed in pair])
        theirs, ours = np.transpose(changes)
        error = np.hypot(theirs.std(), ours.std()) / np.sqrt(len(changes))
        assert abs(theirs.mean() - ours.mean()) < 3 * error
    package.corruption_dict.update(before)


@pytest.mark.slow
def test_the_gpu_benchmark_makes_its_tables_without_a_gpu(tmp_path):
    """Tiny sizes; an arm that cannot run says so in its row, and the others are measured."""
    output = tmp_path / "gpu.md"
    options = ["--parts=rates", "--models=b0:32:2", "--arms=ours-plain,timm", "--turns=1"]
    options += ["--seconds=0.1", f"--output={output}"]
    done = harness.run_python("-m", "benchmarks.gpu", *options)
    assert done == output.read_text()
    machine, *table = filter(None, done.splitlines())
    assert machine.startswith("no GPU; ") and "TensorFlow 2." in machine
    cells = {row.split(" | ")[1]: row.strip("| ").split(" | ") for row in table[2:]}
    assert set(cells) == {"ours, no XLA", "timm, eager, channels last"}
    network, _, train, ready, memory, predict = cells["ours, no XLA"]
    assert network == "b0, 32, 2" and float(ready) > 0 and float(memory) > 0.1
    assert 0 < float(train.replace(",", "")) < float(predict.replace(",", ""))


def test_folders_of_fashion_mnist_share_no_training_image(tmp_path):
    """Each image has its number in its first pixels, and its label in the next."""
    for name, count in (("train", 7300), ("t10k", 1100)):
        images, labels = np.zeros((count, 28, 28), np.uint8), np.arange(count) % 10
        images[:, 0, 0], images[:, 0, 1] = divmod(np.arange(count), 256)
        images[:, 0, 2] = labels
        for kind, header, content in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
            data = bytes(header) + content.astype(np.uint8).tobytes()
            (tmp_path / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(data, 1))
    found = {}
    for output, seed in (("first", 1), ("again", 1), ("other", 2)):
        fashion_folders.write_folders(tmp_path, tmp_path / output, seed)
        for file in sorted((tmp_path / output).rglob("*.png")):
            high, low, label = np.array(PIL.Image.open(file))[0, :3].tolist()
            kind, *rest = file.relative_to(tmp_path / output).parts
            assert kind == "unlabeled" or rest[0] == fashion_folders.CLASSES[label]
            found.setdefault((output, kind), []).append(256 * high + low)
    sizes = {"labeled": 200, "dev": 4000, "unlabeled": 3000, "test": 1000, "test_all": 1100}
    assert {kind: len(found["first", kind]) for kind in sizes} == sizes
    training = sum((found["first", kind] for kind in ("labeled", "dev", "unlabeled")), [])
    assert len(set(training)) == 7200
    for kind in sizes:
        assert len(set(found["first", kind])) == sizes[kind]
        assert found["again", kind] == found["first", kind]
    assert found["other", "labeled"] != found["first", "labeled"]
