"""Locks of a directory: of this process, of others, of dead ones and of other hosts."""

import json
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from noisy_student.artifacts import lock as locks
from noisy_student.artifacts.lock import LOCK, lock

HOLDER = """
import sys, time
from noisy_student.artifacts.lock import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def write(directory, **changes):
    content = {**locks._this_process(), "since": "yesterday"} | changes
    (directory / LOCK).write_text(json.dumps(content))


def test_a_lock_of_this_process_is_held_once_and_released(tmp_path):
    with lock(tmp_path / "new"), lock(tmp_path / "new"):
        content = json.loads((tmp_path / "new" / LOCK).read_text())
        assert (content["host"], content["process"]) == (platform.node(), os.getpid())
        assert os.listdir(tmp_path / "new") == [LOCK]
    with lock(tmp_path / "new", wanted=False):
        assert not os.listdir(tmp_path / "new")


def test_another_process_is_named_and_its_death_noticed(tmp_path, holder):
    message = f"{tmp_path} is in use by process {holder.pid} on {platform.node()} .*{LOCK}"
    with pytest.raises(ValueError, match=message), lock(tmp_path):
        pass
    holder.kill()  # its lock stays behind
    holder.wait()
    assert (tmp_path / LOCK).exists()
    with lock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not os.listdir(tmp_path)


def test_a_process_id_that_was_given_again_does_not_hold_the_lock(tmp_path):
    write(tmp_path, process=os.getppid(), began="1")
    with lock(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"space": "of a container"}])
def test_the_lock_of_another_host_lives_as_long_as_it_is_touched(tmp_path, monkeypatch, change):
    monkeypatch.setattr(locks, "_STALE_SECONDS", 1.0)
    write(tmp_path, process=1, **change)
    ended = threading.Event()
    monkeypatch.setattr(locks, "_TOUCH_SECONDS", 0.1)
    thread = threading.Thread(target=locks._touch, args=(tmp_path / LOCK, ended))
    thread.start()
    with pytest.raises(ValueError, match="in use by process 1"), lock(tmp_path):
        pass
    ended.set()
    thread.join()
    started = time.monotonic()
    with lock(tmp_path):
        assert time.monotonic() - started >= 1


def test_a_holder_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_TOUCH_SECONDS", 0.05)
    with lock(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        end = time.monotonic() + 20
        while not (tmp_path / LOCK).stat().st_mtime and time.monotonic() < end:
            time.sleep(0.01)
        assert (tmp_path / LOCK).stat().st_mtime > 0


@pytest.mark.parametrize("text", ["", "[]", '{"host": "x"}'])
def test_a_damaged_lock_is_named(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with (
        pytest.raises(ValueError, match=f"{tmp_path}/{LOCK} is damaged: delete it"),
        lock(tmp_path),
    ):
        pass
