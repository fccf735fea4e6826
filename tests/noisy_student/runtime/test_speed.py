import pytest

from efficientnet.config import Block
from efficientnet.cost import block_cost, cost
from noisy_student.runtime import speed
from noisy_student.runtime.devices import make_devices

RATES = speed.Speed(multiply_add=1e-10, activation=1e-9, layer=1e-4, memory=1e9)


def test_time_by_hand():
    """B0 at 224 pixels has 82 layers: a first block of 4, then 15 of 5."""
    b0 = cost("efficientnet-b0", 224, 1000)
    image = 1e-10 * b0.multiply_adds + 1e-9 * b0.activations
    assert b0.layers == 1 + 4 + 15 * 5 + 2 == 82
    assert RATES.seconds(b0, 20, 4, 1) == pytest.approx(20 * image + 4 * b0.layers * 1e-4)
    assert RATES.seconds(b0, 20, 4, 3) == pytest.approx(3 * RATES.seconds(b0, 20, 4, 1))


def test_a_block_costs_what_it_adds_to_a_network():
    """A stage of two blocks instead of one; the head has no part in it."""
    sizes = {"strides": (1,) * 7, "width": 1.0}
    short, long = (cost("efficientnet-b0", 32, 10, depth=depth, **sizes) for depth in (0.25, 0.26))
    last = block_cost(Block(5, 1, 6, 192, 192, 48, 0.0), 16)
    assert long.multiply_adds - short.multiply_adds == last.multiply_adds
    assert long.parameters - short.parameters == last.parameters
    assert long.layers - short.layers == last.layers == 5


def test_measured_rates_predict_another_block():
    """Within a factor of three, on a machine that may be busy."""
    devices, other = make_devices(), Block(5, 1, 6, 40, 40, 10, 0.0)
    rates = speed.measure(devices)
    assert min(rates.multiply_add, rates.activation, rates.layer) > 0
    expected = rates.seconds(block_cost(other, 14), 32, 1, speed.TRAINING)
    taken = speed._time(speed._step(14, 32, other, devices.jit_compile))
    assert 1 / 3 < expected / taken < 3
    assert speed.measure(devices) is rates
