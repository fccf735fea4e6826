from pathlib import Path

import pytest
import tensorflow as tf

from noisy_student.runtime.profiler import Profiler


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: found.append(folder))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: found.append("stop"))
    return found


@pytest.mark.parametrize(
    ("steps", "taken", "expected"),
    [
        ((2, 4), range(6), ["board", "stop"]),
        ((2, 9), range(6), ["board", "stop"]),  # the training ends before the profile does
        ((2, 4), range(3, 6), ["board", "stop"]),  # resumed within the profile
        ((2, 4), range(4, 6), []),
        (None, range(6), []),
    ],
)
def test_profiled_steps(calls, steps, taken, expected):
    profiler = Profiler(Path("board"), steps)
    for step in taken:
        profiler.before(step)
    profiler.close()
    assert calls == expected


def test_the_profile_ends_before_its_end_step(calls):
    profiler = Profiler(Path("board"), (2, 4))
    profiler.before(2)
    profiler.before(3)
    assert calls == ["board"]
    profiler.before(4)
    assert calls == ["board", "stop"]
