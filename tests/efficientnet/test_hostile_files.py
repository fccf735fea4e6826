"""Weight files that are cut short, wrapped, of another library's models, or unpack to gigabytes."""

import json
import resource
import tarfile
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from efficientnet import archive, checkpoint_files, weights
from tests.efficientnet.test_timm_weights import state_dict
from tests.efficientnet.test_weights import small
from tests.helpers.random_weights import assert_same_weights, randomize
from tests.helpers.toy_checkpoints import tf1_arrays, write_tf1


def write_bomb(path, name, size):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("metadata.json", "{}")
        with content.open(name, "w", force_zip64=True) as member:
            for _ in range(size >> 20):
                member.write(b"0" * (1 << 20))
    return path


@pytest.mark.parametrize("name", ["card.json", "config.json", "model.weights.h5"])
def test_a_model_file_that_unpacks_to_far_more_is_not_unpacked(tmp_path, name):
    path = write_bomb(tmp_path / "bomb.keras", name, 400 << 20)
    assert path.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"bomb\.keras: {name} in it unpacks to 400 MiB"):
        archive.read_card(path)
    with pytest.raises(ValueError, match="unpacks to 400 MiB"):
        checkpoint_files.read_keras_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_models_stored_with_compression_are_read(tmp_path):
    archive.save(small(), tmp_path / "model.keras", {"class_names": ["a"]})
    with zipfile.ZipFile(tmp_path / "model.keras") as source:
        with zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                target.writestr(name, source.read(name))
    assert archive.read_card(tmp_path / "packed.keras") == {"class_names": ["a"]}


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tar")
    write_tf1(folder / "model.ckpt", tf1_arrays(randomize(small())))
    with tarfile.open(folder / "whole.tar.gz", "w:gz") as content:
        for file in sorted(folder.glob("model.ckpt*")):
            content.add(file, f"b0/{file.name}")
    return folder / "whole.tar.gz"


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.9, 0.999])
def test_an_archive_that_is_cut_short_is_named_in_one_line(tar, tmp_path, share):
    data = tar.read_bytes()
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"cut\.tar\.gz (cannot be unpacked|holds 0)") as error:
        checkpoint_files.read_tf1(path)
    assert "\n" not in str(error.value)
    assert checkpoint_files.read_tf1(tar)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    (tmp_path / "zeros").write_bytes(b"\0" * (3 << 20))
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as content:
        content.add(tmp_path / "zeros", "model.ckpt.index")
    monkeypatch.setattr(checkpoint_files, "_SMALL", 1 << 20)
    with pytest.raises(ValueError, match=r"bomb\.tar\.gz unpacks to over 100 times"):
        checkpoint_files.read_tf1(tmp_path / "bomb.tar.gz")


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_wrapped_modules_are_dropped(prefix):
    source, model = randomize(small()), small()
    state = {f"{prefix}{name}": array for name, array in state_dict(source).items()}
    weights.load_timm(model, state)
    assert_same_weights(model, source)


@pytest.mark.parametrize("evidence", ["file", "config", "tf_file", "tf_config", "none"])
def test_weights_of_models_with_other_padding_are_refused(tmp_path, evidence, caplog):
    name = {"file": "efficientnet_b0_ra.safetensors", "tf_file": "tf_efficientnet_b0.safetensors"}
    path = tmp_path / name.get(evidence, "model.safetensors")
    save_file({"bn1.weight": np.ones(3, np.float32)}, path)
    if evidence.endswith("config"):
        architecture = "tf_efficientnet_b0" if evidence == "tf_config" else "efficientnet_b0"
        (tmp_path / "config.json").write_text(json.dumps({"architecture": architecture}))
    if evidence in ("file", "config"):
        with pytest.raises(ValueError, match=rf"{path} has weights of timm's efficientnet_b0"):
            checkpoint_files.read_timm(path)
    else:
        assert list(checkpoint_files.read_timm(path)) == ["bn1.weight"]
    assert ("does not name its timm model" in caplog.text) == (evidence == "none")


def test_the_name_in_a_training_checkpoint_decides(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"module.bn1.weight": torch.ones(3)}
    for arch in ("efficientnet_b0", "tf_efficientnet_b0"):
        torch.save({"arch": arch, "state_dict": state}, tmp_path / f"{arch}.pth")
    assert list(checkpoint_files.read_timm(tmp_path / "tf_efficientnet_b0.pth")) == [*state]
    (tmp_path / "efficientnet_b0.pth").rename(tmp_path / "last.pth")
    with pytest.raises(ValueError, match="timm's efficientnet_b0, which uses PyTorch"):
        checkpoint_files.read_timm(tmp_path / "last.pth")
