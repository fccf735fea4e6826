"""The directory of compiled programs, its flags and size."""

import os
import time
from importlib import metadata
from pathlib import Path

import pytest

from noisy_student import _compile_cache

VERSION = metadata.version("tensorflow")


@pytest.fixture
def driver(monkeypatch, tmp_path) -> Path:
    """Writes the driver's file of one card; the directory depends on nothing else of it."""
    folder = tmp_path / "gpus"
    add_card(folder, "NVIDIA L4")
    monkeypatch.setattr(_compile_cache, "DRIVER", folder)
    monkeypatch.setattr(_compile_cache, "DEVICES", (folder,))
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    return folder


def add_card(folder: Path, model: str) -> None:
    card = folder / model
    card.mkdir(parents=True)
    (card / "information").write_text(f"Model: \t\t {model}\nIRQ: 5\n")


def flags() -> list[str]:
    return os.environ["TF_XLA_FLAGS"].split()


def test_each_card_and_version_has_a_folder_in_the_users_cache(driver, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = _compile_cache.enable(None)
    assert folder == tmp_path / "noisy-student/xla" / f"tensorflow-{VERSION}-NVIDIA-L4"
    assert folder.is_dir()
    assert flags() == [
        f"--tf_xla_persistent_cache_directory={folder}",
        "--tf_xla_persistent_cache_device_types=GPU,XLA_GPU_JIT",
    ]
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _compile_cache.default_directory() == Path.home() / ".cache/noisy-student/xla"


def test_other_flags_of_xla_have_another_folder(driver, monkeypatch, tmp_path):
    """They change programs, and TensorFlow would take those of other flags."""
    folders = []
    for given in ("", "--a=1 --b", " --b --a=1", "--a=2 --b"):
        monkeypatch.setenv("TF_XLA_FLAGS", "")
        monkeypatch.setenv("XLA_FLAGS", given)
        folders.append(_compile_cache.enable(str(tmp_path)))
    assert folders[1] == folders[2] and len(set(folders)) == 3


def test_a_full_disk_keeps_nothing(driver, monkeypatch, tmp_path):
    monkeypatch.setattr(_compile_cache, "_LEAST_FREE_BYTES", 2**60)
    with pytest.raises(ValueError, match=f"--compile_cache={tmp_path}: full"):
        _compile_cache.enable(str(tmp_path))


def test_machines_with_several_models_keep_the_visible_ones_apart(driver, monkeypatch, tmp_path):
    add_card(driver, "NVIDIA H200")
    folders = set()
    for visible in ("0", "1"):
        monkeypatch.setenv("TF_XLA_FLAGS", "")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        folders.add(_compile_cache.enable(str(tmp_path)).name)
    assert len(folders) == 2 and all("NVIDIA-H200+NVIDIA-L4" in name for name in folders)


def test_flags_of_the_user_stay_and_win(driver, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_clustering_debug")
    _compile_cache.enable(str(tmp_path))
    assert flags()[0] == "--tf_xla_clustering_debug" and len(flags()) == 3
    theirs = "--tf_xla_persistent_cache_directory=/theirs"
    monkeypatch.setenv("TF_XLA_FLAGS", theirs)
    assert _compile_cache.enable(str(tmp_path)) is None
    assert flags() == [theirs]


def test_nothing_is_kept_when_off_or_without_a_gpu(driver, monkeypatch, tmp_path):
    assert _compile_cache.enable("off") is None
    monkeypatch.setattr(_compile_cache, "DEVICES", (tmp_path / "nothing",))
    assert _compile_cache.enable(str(tmp_path / "new")) is None
    assert flags() == [] and not (tmp_path / "new").exists()


def test_a_directory_that_cannot_be_used_is_refused_if_it_was_given(driver, monkeypatch, tmp_path):
    """The user's default directory is left out instead, with a warning."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"--compile_cache={tmp_path}/file: .* or off"):
        _compile_cache.enable(str(tmp_path / "file"))
    with pytest.raises(ValueError, match="--compile_cache=.*/a b: "):
        _compile_cache.enable(str(tmp_path / "a b"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert _compile_cache.enable(None) is None
    assert flags() == []


def test_the_oldest_programs_make_room(tmp_path):
    now = time.time()
    for name, hours in (("old", 5), ("older", 9), ("recent", 2), ("new", 0)):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (now - 3600 * hours,) * 2)
    _compile_cache.prune(tmp_path, max_bytes=400)
    assert len(list(tmp_path.iterdir())) == 4
    _compile_cache.prune(tmp_path, max_bytes=250)
    assert {path.name for path in tmp_path.iterdir()} == {"recent", "new"}
    _compile_cache.prune(tmp_path, max_bytes=10)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]  # may be in the making
