"""Weights of the hub by name, from a server of this machine that answers as the hub does."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from efficientnet import archive, convert, hub, pretrained
from tests.efficientnet.test_convert import randomized, timm_file

NAME = "timm/tf_efficientnet_lite0.in1k"
OTHER = "someone/photos"
CLASSES = 3
constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture(scope="module")
def model():
    return randomized("efficientnet-lite0", CLASSES)


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    """The address of a hub with two repositories, whose file is the same."""
    path = timm_file(tmp_path_factory.mktemp("hub") / "model.safetensors", model)
    content = Path(path).read_bytes()
    files = {f"/{NAME}/resolve/main/model.safetensors", f"/{OTHER}/resolve/main/ema.safetensors"}

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            found = self.path in files
            self.send_response(200 if found else 404)
            self.send_header("X-Repo-Commit", "1" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content) if found else 0))
            if not found:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            return found

        def do_GET(self):
            if self.do_HEAD():
                self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def online(address, tmp_path, monkeypatch):
    """Leads huggingface_hub of this process there, with an empty cache."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def check_weights(path, model):
    for ours, theirs in zip(keras.saving.load_model(path).variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_convert_takes_a_repository_by_name(address, model, tmp_path, monkeypatch):
    """The command in a process of its own; later, without a network, the file is in the cache."""
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    command = [sys.executable, "-m", "efficientnet.convert", f"--source=hf:{NAME}"]
    command += [f"--class_names={tmp_path / 'classes.txt'}", f"--output={tmp_path / 'lite0.keras'}"]
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub")}
    environment = {k: v for k, v in environment.items() if k != "HF_HUB_OFFLINE"}
    online = environment | {"HF_ENDPOINT": address}
    done = subprocess.run(command, env=online, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "efficientnet-lite0" in done.stdout and "3 classes" in done.stdout
    check_weights(tmp_path / "lite0.keras", model)
    card = archive.read_card(tmp_path / "lite0.keras")
    assert (card["source"]["format"], card["source"]["name"]) == ("timm", f"hf:{NAME}")
    assert card["preprocess"]["interpolation"] == "bicubic"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = hub.find(NAME)
    assert found.path.is_relative_to(tmp_path / "hub") and found.network == "efficientnet-lite0"


def test_a_repository_of_others_needs_file_and_network(online, model, tmp_path):
    found = hub.find(f"{OTHER}/ema.safetensors", "efficientnet-lite0")
    assert found.path.is_relative_to(tmp_path / "hub")
    assert (found.network, found.normalization) == ("efficientnet-lite0", None)
    convert.convert(
        found.network,
        convert.Source(str(found.path), convert.format_of(found.path)),
        tmp_path / "x.keras",
        class_names=["a", "b", "c"],
    )
    check_weights(tmp_path / "x.keras", model)
    with pytest.raises(ValueError, match="convert --source=hf:.* --name=NETWORK"):
        hub.find(f"{OTHER}/ema.safetensors")


@pytest.mark.parametrize(
    ("name", "network", "words"),
    [
        ("someone", None, ["hf:OWNER/NAME"]),
        ("timm/resnet50.a1_in1k", None, ["timm/tf_efficientnet_b0"]),
        ("timm/tf_efficientnet_b4.ap_in1k", "efficientnet-b0", ["efficientnet-b4"]),
        (OTHER, "efficientnet-b0", [f"{OTHER}/resolve/main/model.safetensors", "404"]),
        ("no/one", "efficientnet-b0", ["no/one/resolve/main", "404"]),
    ],
)
def test_what_cannot_be_had_is_explained(online, name, network, words):
    with pytest.raises(ValueError) as refused:
        hub.find(name, network)
    message = str(refused.value)
    assert all(word in message for word in words) and "\n" not in message, message


def test_init_model_takes_the_same_names(online):
    with pytest.raises(ValueError, match="no/one/resolve/main"):
        pretrained.find("hf:no/one", "efficientnet-b0")


def test_formats_follow_from_the_ending():
    names = ("b0.h5", "b0.weights.h5", "m.safetensors", "m.pth", "x.tar.gz", "folder", "m.ckpt")
    formats = ["keras", "keras", "timm", "timm", "tf1", "tf1", "tf1"]
    assert [convert.format_of(name) for name in names] == formats
