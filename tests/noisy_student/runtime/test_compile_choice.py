"""The rule of `--jit_compile=auto`, against the measurements that it was made from."""

import dataclasses

import pytest
import tensorflow as tf

from noisy_student.runtime import compile_choice
from noisy_student.runtime.devices import Devices


def test_the_measured_step_pays_as_soon_as_it_has_saved_its_compilation():
    """160 s, at 256 images a step: 1596 images/s not compiled, 7698 compiled."""
    steps = compile_choice.break_even(compile_choice.LARGE_STEP)
    without, compiled = steps * 256 / 1596, 160 + steps * 256 / 7698
    assert compiled <= without < compiled + 0.2


def test_larger_steps_pay_sooner_and_small_ones_at_one_limit():
    large = compile_choice.LARGE_STEP
    assert compile_choice.break_even(2 * large) == pytest.approx(
        compile_choice.break_even(large) / 2, abs=1
    )
    assert compile_choice.break_even() == compile_choice.break_even(large / 100) == 2845


def test_auto_decides_by_the_steps_and_says_why(capsys):
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False, may_compile=True)
    assert not devices.for_steps("teacher", 1500).jit_compile
    assert devices.for_steps("student 1", 20_000).jit_compile
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("teacher: not compiled with XLA: 1,500 steps")
    assert lines[1].startswith("student 1: compiled with XLA: 20,000 steps")
    assert all("2,845 steps" in line for line in lines)


@pytest.mark.parametrize("given", [True, False])
def test_what_is_asked_for_is_not_decided_again(capsys, given):
    devices = Devices(tf.distribute.get_strategy(), jit_compile=given)
    assert devices.for_steps("teacher", 10**9) is devices
    assert dataclasses.replace(devices, may_compile=True).for_steps("x", 1).jit_compile is False
    assert capsys.readouterr().out.count("\n") == 1
