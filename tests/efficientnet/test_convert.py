import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import efficientnet
from efficientnet import archive, convert, weight_names
from tests.helpers.toy_checkpoints import tf1_arrays, write_tf1

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


def randomized(name, classes, seed=0, **arguments):
    model = efficientnet.build_model(name, classes, **arguments)
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(1, 0.1, variable.shape))
    return model


def timm_file(path, model):
    """A state dict on disk, its axes in PyTorch's order."""
    state, names = {}, weight_names.timm(model)
    for variable in model.variables:
        array = np.asarray(variable)
        if array.ndim == 4:
            array = array.transpose((2, 3, 0, 1) if "depthwise" in variable.path else (3, 2, 0, 1))
        array = array.T if array.ndim == 2 else array
        state[names[variable.path]] = np.ascontiguousarray(array)
    save_file(state, path)
    return str(path)


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    """Lite0 for three classes, as timm would hold it."""
    model = randomized("efficientnet-lite0", 3)
    return timm_file(tmp_path_factory.mktemp("lite0") / "lite0.safetensors", model), model


def test_a_converted_file_has_weights_and_card(lite0, tmp_path):
    source, model = lite0
    output = tmp_path / "new" / "lite0.keras"
    convert.convert(
        "efficientnet-lite0",
        convert.Source(source, "timm"),
        output,
        class_names=["a", "b", "c"],
        image_size=64,
        trained_on="three letters",
    )
    loaded = keras.saving.load_model(output)
    for ours, theirs in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.get_layer("normalize").mean == (127.5, 127.5, 127.5)
    card = archive.read_card(output)
    assert card["class_names"] == ["a", "b", "c"]
    assert card["trained_on"] == "three letters"
    assert card["preprocess"] == {
        "image_size": 64,
        "small_image": False,
        "crop_padding": 32,
        "interpolation": "bicubic",
    }
    assert card["source"]["name"] == "lite0.safetensors"
    assert len(card["source"]["sha256"]) == 64


def test_a_dropped_classifier_is_zero(lite0, tmp_path):
    source = convert.Source(lite0[0], "timm", drop_head=True)
    model = convert.convert(
        "efficientnet-lite0", source, tmp_path / "m.keras", class_names=["a", "b"]
    )
    assert all(not np.any(variable) for variable in model.get_layer("head_dense").variables)


def test_converting_twice_gives_the_same_bytes(lite0, tmp_path):
    for name in ("one", "two"):
        convert.convert(
            "efficientnet-lite0",
            convert.Source(lite0[0], "timm"),
            tmp_path / f"{name}.keras",
            class_names=["a", "b", "c"],
        )
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_a_tf1_folder_of_imagenet_is_converted(tmp_path):
    model = randomized("efficientnet-lite0", 1000)
    arrays = tf1_arrays(model, "efficientnet-lite0")
    averages = {f"{name}/ExponentialMovingAverage": array for name, array in arrays.items()}
    (tmp_path / "lite0").mkdir()
    write_tf1(tmp_path / "lite0" / "model.ckpt", averages)
    output = tmp_path / "lite0.keras"
    source = convert.Source(str(tmp_path / "lite0"), "tf1")
    convert.convert("efficientnet-lite0", source, output)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    loaded = keras.saving.load_model(output)
    np.testing.assert_array_equal(loaded(images), model(images))
    card = archive.read_card(output)
    assert (card["class_names"], card["class_titles"]) == convert.imagenet_classes()
    assert card["preprocess"] == {
        "image_size": 224,
        "small_image": False,
        "crop_padding": 32,
        "interpolation": "bicubic_tf1",
    }


def test_imagenet_classes_are_sorted_wordnet_ids():
    ids, titles = convert.imagenet_classes()
    assert len(set(ids)) == len(titles) == 1000
    assert ids == sorted(ids)
    assert dict(zip(ids, titles, strict=True))["n07753592"] == "banana"
    assert (ids.index("n02085620"), titles[151]) == (151, "Chihuahua")


def run_convert(*arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, "-m", "efficientnet.convert", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_command_line(lite0, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    shared = ["--name=efficientnet-lite0", f"--source={lite0[0]}", "--source_format=timm"]
    done = run_convert(
        *shared,
        f"--output={tmp_path}/x.keras",
        f"--class_names={tmp_path}/names.txt",
        "--metrics=top1=12.5",
    )
    assert done.returncode == 0, done.stderr
    assert "3 classes" in done.stdout
    assert archive.read_card(tmp_path / "x.keras")["metrics"] == {"top1": 12.5}
    refused = run_convert(*shared, f"--output={tmp_path}/y.keras")  # the source has no 1000 classes
    assert refused.returncode == 2
    assert refused.stderr.strip().splitlines()[-1].startswith("error: the state dict ")
    assert "drop_head" in refused.stderr
    assert not (tmp_path / "y.keras").exists()


def test_class_names_are_checked(tmp_path):
    path = tmp_path / "names.txt"
    for text, message in (("", "empty"), ("a\nb\na\n", "twice: a"), (None, "cannot be read")):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        with pytest.raises(ValueError, match=message):
            convert.read_class_names(path)


@pytest.mark.skipif(not SHARED.exists(), reason="no real weights beside the project")
def test_real_lite0_knows_real_images(tmp_path):
    """Every published number of the checkpoint depends on all weights, names and constants."""
    from data import preprocess, sources

    source = convert.Source(str(SHARED / "lite0_imagenet"), "tf1")
    model = convert.convert("efficientnet-lite0", source, tmp_path / "lite0.keras")
    card = archive.read_card(tmp_path / "lite0.keras")
    spec = preprocess.PreprocessSpec.from_dict(card["preprocess"])
    ids, _ = convert.imagenet_classes()
    examples = sources.load_examples(sources.Folder(str(SHARED / "imagenet_sample")), ids).take(
        range(0, 1000, 25)
    )
    images = np.stack(
        [
            preprocess.eval_image(preprocess.decode_image(examples.encoded(i)), spec)
            for i in range(len(examples))
        ]
    )
    right = np.mean(np.argmax(model(images), -1) == examples.labels)
    assert right >= 0.8
    assert json.dumps(card)
