"""Given weights by name, URL and path, from a server and caches of this machine."""

import functools
import hashlib
import http.server
import importlib.util
import threading
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import efficientnet
from efficientnet import archive, hub, pretrained, weight_names
from tests.efficientnet.test_convert import randomized, timm_file
from tests.helpers.toy_checkpoints import hub_snapshot, tf1_arrays, write_tf1

NAME = "efficientnet-lite0"
HUB = "timm/tf_efficientnet_lite0.in1k"


@pytest.fixture(scope="module")
def model():
    return randomized(NAME, 1000)


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """A folder, its address, and the paths asked for."""
    folder = tmp_path_factory.mktemp("served")
    timm_file(folder / "lite0.safetensors", model)
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def check_kernels(path, model):
    loaded = keras.saving.load_model(path)
    for ours, theirs in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_url_is_downloaded_and_converted_once(served, caches, model):
    folder, address, asked = served
    found = pretrained.find(f"{address}lite0.safetensors", NAME)
    assert found.is_relative_to(caches / "cache" / "noisy-student")
    check_kernels(found, model)
    card = archive.read_card(found)
    assert len(card["class_names"]) == 1000 and card["source"]["format"] == "timm"
    count, when = len(asked), found.stat().st_mtime_ns
    assert pretrained.find(f"{address}lite0.safetensors", NAME) == found
    assert (len(asked), found.stat().st_mtime_ns) == (count, when)
    # The same content by its path; a file with a card is taken as it is.
    assert pretrained.find(str(folder / "lite0.safetensors"), NAME) == found
    assert pretrained.find(str(found), NAME) == found
    assert [file.name for file in found.parent.iterdir()] == [found.name]


def test_a_tf1_checkpoint_is_converted(model, tmp_path):
    (tmp_path / "tf1").mkdir()
    arrays = tf1_arrays(model, NAME)
    write_tf1(
        tmp_path / "tf1" / "model.ckpt",
        {f"{name}/ExponentialMovingAverage": array for name, array in arrays.items()},
    )
    for path in (tmp_path / "tf1", tmp_path / "tf1" / "model.ckpt"):
        check_kernels(pretrained.find(str(path), NAME), model)


def test_imagenet_is_the_file_of_keras_applications(served, monkeypatch):
    folder, address, asked = served
    model = randomized("efficientnet-b0", 1000)
    names = weight_names.keras_applications(model)
    with h5py.File(folder / "efficientnetb0.h5", "w") as file:
        layers: dict[str, dict] = {}
        for variable in model.variables:
            layer, name = names[variable.path].rsplit("/", 1)
            array = np.asarray(variable)
            layers.setdefault(layer, {})[f"{layer}/{name}:0"] = array
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array
    digest = hashlib.md5((folder / "efficientnetb0.h5").read_bytes()).hexdigest()
    hashes = {"b0": (digest, ""), "b1": (digest, "")}
    monkeypatch.setattr(pretrained.keras_efficientnet, "BASE_WEIGHTS_PATH", address)
    monkeypatch.setattr(pretrained.keras_efficientnet, "WEIGHTS_HASHES", hashes)
    check_kernels(pretrained.find("imagenet", "efficientnet-b0"), model)
    assert "/efficientnetb0.h5" in asked[-1]


@pytest.mark.parametrize(
    ("name", "network", "words"),
    [
        ("imagenet", "efficientnet-b1", ["efficientnetb1.h5", "keras/models/efficientnetb1.h5"]),
        ("imagenet", "efficientnet-l2", ["efficientnet-l2", "B0-B7"]),
        ("{address}none.h5", NAME, ["none.h5", "404", "keras/noisy_student/"]),
        ("timm/efficientnet_b0.ra_in1k", "efficientnet-b0", ["timm/tf_efficientnet_b0"]),
        ("timm/tf_efficientnet_b4.ap_in1k", NAME, ["efficientnet-b4", NAME]),
        ("nowhere.h5", NAME, ["no such file", "imagenet"]),
        ("nowhere.keras", NAME, ["nowhere.keras"]),
        ("gs://bucket/b0.h5", NAME, ["no such file"]),
    ],
)
def test_what_cannot_be_had_is_explained(served, monkeypatch, name, network, words):
    address = served[1]
    monkeypatch.setattr(pretrained.keras_efficientnet, "BASE_WEIGHTS_PATH", address)
    with pytest.raises(ValueError) as refused:
        pretrained.find(name.format(address=address), network)
    message = str(refused.value)
    assert all(word in message for word in words) and "\n" not in message, message


@pytest.mark.parametrize("name", [HUB, "imagenet"])
def test_a_name_of_the_hub_is_found_in_its_cache_or_explained(caches, model, monkeypatch, name):
    """Without the package, and with it without a network; the cache is as the package lays it."""
    url = f"https://huggingface.co/{HUB}/resolve/main/model.safetensors"
    if importlib.util.find_spec("huggingface_hub"):
        constants = importlib.import_module("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(caches / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError) as refused:
        pretrained.find(name, NAME)
    assert url in str(refused.value) and "\n" not in str(refused.value)
    pytest.importorskip("huggingface_hub")
    timm_file(hub_snapshot(caches / "hub", HUB) / "model.safetensors", model)
    check_kernels(pretrained.find(name, NAME), model)


def test_advprop_has_its_own_pixels(monkeypatch, tmp_path):
    file = timm_file(tmp_path / "b0.safetensors", randomized("efficientnet-b0", 1000))
    monkeypatch.setattr(hub, "download", lambda repository, name: Path(file))
    means = [
        keras.saving.load_model(
            pretrained.find(f"timm/tf_efficientnet_b0.{tag}", "efficientnet-b0")
        )
        .get_layer("normalize")
        .mean[0]
        for tag in ("ap_in1k", "ns_jft_in1k")
    ]
    assert means == [127.5, pytest.approx(0.485 * 255)]
    assert hub.network_of("timm/tf_efficientnet_b4.ap_in1k", NAME) == "efficientnet-b4"
    assert hub.network_of("imagenet", NAME) == NAME
    assert efficientnet.CONFIGS[hub.network_of("timm/tf_efficientnet_l2.ns_jft_in1k", NAME)]
