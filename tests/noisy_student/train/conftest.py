import pytest

from noisy_student.runtime.devices import make_devices


@pytest.fixture(scope="module")
def devices():
    return make_devices(precision="float32")
