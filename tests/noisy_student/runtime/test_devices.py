import pytest

from noisy_student.runtime.devices import make_devices


def test_devices_are_chosen_by_what_there_is(monkeypatch):
    assert make_devices().precision == "float32"  # on CPU
    assert not make_devices().jit_compile
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        make_devices("multi_worker")
    with pytest.raises(ValueError, match="--tpu=NAME"):
        make_devices("tpu", precision="float32")
    with pytest.raises(ValueError, match="auto, one, mirrored, multi_worker, tpu"):
        make_devices("two")
