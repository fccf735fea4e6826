import os
import subprocess
import sys
from pathlib import Path

import pytest

from noisy_student import config, plan

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def planned(capsys):
    """What the command prints for some flags, within this process."""

    def run(*flags: str) -> str:
        plan.command(config.parse(flags))
        return capsys.readouterr().out

    return run


L2 = (
    f"--flagfile={ROOT}/recipes/imagenet_l2_round1.flags",
    *("--device=tpu-v3-core", "--num_devices=2048"),
)


def student_lines(output: str) -> str:
    return output[output.index("student 1:") : output.index("total without")]


def test_l2_on_a_pod_takes_about_the_published_6_days():
    """arXiv v4, section 3.1; the utilization of 0.1 is an assumption, so within a quarter."""
    result = subprocess.run(
        [sys.executable, "-m", "noisy_student.plan", *L2],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    lines = student_lines(result.stdout)
    assert "480.31 M parameters" in lines  # arXiv v4, table 8: 480M
    # 350 epochs of 1 281 167 images in batches of 2048, each with 14 times as many unlabeled ones
    assert "218,949 steps, 6,726,113,280 images" in lines
    days = float(lines.split(" days on 2048 devices")[0].split()[-1])
    assert days == pytest.approx(6, rel=0.25)
    assert "WARNING" in lines and "may not fit into 16 GiB" in lines  # the paper: reduced batches
    assert "teacher" not in result.stdout  # it is given
    assert "fixres 1: efficientnet-l2 at 800 pixels, batch 2048 labeled + 0 unlabeled" in lines
    assert "938 steps" in lines  # 1.5 epochs


def test_a_smaller_batch_fits(planned):
    smaller = ("--batch_size=512", "--ratio=12", "--device=tpu-v4-chip")
    lines = student_lines(planned(*L2, *smaller))
    assert "WARNING" not in lines
    assert "875,798 steps" in lines


def test_figures_by_hand(planned):
    """5.288548 M parameters, 0.386 G multiply-adds: B0 at 224 pixels (also in test_cost.py)."""
    output = planned(
        "--teacher_name=efficientnet-b0",
        "--rounds=0",
        "--num_labeled=1000",
        "--num_classes=1000",
        "--batch_size=10",
        "--teacher_steps=100",
        "--device=a100-40gb",
        "--utilization=0.5",
    )
    assert "5.29 M parameters; 0.386 G multiply-adds per image forward, 1.16 G" in output
    assert "100 steps, 1,000 images" in output
    # 2 * 3 * 0.386e9 * 1000 / (0.5 * 312e12) = 0.0148 s
    assert "0 s on 1 device at 50% of 312 T" in output
    # weights and statistics twice, 4 bytes: 8 * 5.33e6; gradients and 2 slots: 12 * 5.29e6
    assert "weights and averages 0.04 GiB, gradients and slots 0.06 GiB" in output


def test_gpus_are_planned_at_the_measured_rate_of_one():
    """B0 at 224 pixels: 7698 images/s on an H200; the others by the bandwidth of their memory."""
    operations = 6 * 0.386e9  # of an image in training
    rates = {
        name: plan.DEVICES[name].peak * plan.DEVICES[name].utilization / operations
        for name in ("h200", "h100", "a100", "l4", "rtx4090")
    }
    assert rates["h200"] == pytest.approx(7698, rel=1e-6)
    assert rates["l4"] / rates["h200"] == pytest.approx(300 / 4800)
    assert rates["h100"] > rates["a100"] > rates["rtx4090"] > rates["l4"]
    assert plan.DEVICES["h200"].memory == 141 * 2**30 and plan.DEVICES["l4"].peak == 121e12


def test_an_online_teacher_costs_its_weights_and_forward_pass(planned):
    """B1 has 7.79 M parameters, 0.06 M statistics and 0.69 G multiply-adds at its 240 pixels."""
    flags = (
        "--teacher_name=efficientnet-b1",
        "--rounds=2",
        "--num_labeled=1000",
        "--num_classes=1000",
        "--student_name=efficientnet-b0",
        "--batch_size=10",
        "--ratio=4",
        "--student_steps=100",
        "--device=a100-40gb",
    )
    stored, online = (
        student_lines(planned(*flags, f"--teacher_mode={mode}")).split("student 2:")
        for mode in ("stored", "online")
    )
    # Training: 6 * 0.386e9 for each of 5000 images. Weights twice: 8 * 5.33e6 bytes.
    for lines in stored:
        assert "weights and averages 0.04 GiB" in lines
        assert "5,000 images, 1.16e+13 operations" in lines
    # The teacher labels 4000 of them: 2 * 0.69e9 each, and once 4 * 7.85e6 bytes.
    assert "weights and averages 0.07 GiB" in online[0]
    assert "5,000 images, 1.71e+13 operations" in online[0]
    # In the second round it is the first student: 2 * 0.386e9 each, 4 * 5.33e6 bytes.
    assert "weights and averages 0.06 GiB" in online[1]
    assert "5,000 images, 1.47e+13 operations" in online[1]


def test_labeling_anew_costs_four_times_as_much_as_relabeling_a_selection():
    """L2 at 800 pixels on 2048 cores: 476 G multiply-adds an image, 2048 * 6.15e12 a second."""
    settings = config.parse(L2)
    anew = settings.replace(selection_model=None, selection_dir=None)
    device = plan.DEVICES["tpu-v3-core"]
    counts = (1_281_167, 300_000_000, 1000)
    selection, again = plan.plan_run(settings, *counts, device, 2048).labelings
    (every,) = plan.plan_run(anew, *counts, device, 2048).labelings
    assert (selection.model.name, selection.images) == ("efficientnet-b0", 300_000_000)
    assert (again.model.name, again.model.image_size) == ("efficientnet-l2", 800)
    assert (again.images, every.images) == (81_000_000, 300_000_000)
    assert selection.seconds == pytest.approx(2 * 0.386e9 * 3e8 / (2048 * 6.15e12), rel=0.01)
    hours = [2 * 476e9 * images / (2048 * 6.15e12) / 3600 for images in (81e6, 300e6)]
    assert [again.seconds / 3600, every.seconds / 3600] == pytest.approx(hours, rel=0.01)


def test_rounds_that_reassign_label_the_most_that_is_selected(planned):
    output = planned(
        *("--teacher_name=efficientnet-b1", "--student_name=efficientnet-b0", "--rounds=3"),
        *("--num_labeled=1000", "--num_classes=10", "--num_unlabeled=5000", "--teacher_steps=1"),
        *("--student_steps=1", "--batch_size=10", "--images_per_class=100", "--reassign"),
        "--device=tpu-v3-core",
    )
    labels = [line.rpartition(",")[0] for line in output.splitlines() if line.startswith("labels")]
    assert labels == [
        "labels 1: 5,000 images by efficientnet-b1 at 240 pixels",
        "labels 2: 1,000 images by efficientnet-b0 at 224 pixels",
        "labels 3: 1,000 images by efficientnet-b0 at 224 pixels",
    ]


def test_fine_tuning_is_planned_too(planned):
    lines = student_lines(planned(*L2, "--fixres_image_size=800"))
    tuning = lines[lines.index("fixres 1:") :]
    assert "efficientnet-l2 at 800 pixels, batch 2048 labeled + 0 unlabeled" in tuning
    assert "938 steps, 1,921,024 images" in tuning  # 1.5 epochs of 1 281 167


def test_an_unknown_device_is_refused(planned):
    with pytest.raises(ValueError, match="--device=abacus: must be one of local, tpu-v2-core"):
        planned("--device=abacus")


def test_devices_are_listed(planned):
    lines = planned("--device=help").splitlines()
    assert [line.split()[0] for line in lines] == ["local", *plan.DEVICES]
    assert "61.5 TFLOP/s peak, 16 GiB" in lines[2]


def test_this_machine_is_the_default_and_is_measured(planned):
    """A CPU trains B0 for a minute or more; a TPU core would take 4 seconds."""
    flags = ("--teacher_name=efficientnet-b0", "--rounds=0", "--num_labeled=1000")
    output = planned(*flags, "--num_classes=10", "--batch_size=100", "--teacher_steps=100")
    assert "(measured)" in output
    assert float(output.splitlines()[-1].split(": ")[1].split()[0]) > 1
    with pytest.raises(ValueError, match="--utilization=0.5: "):
        planned(*flags, "--num_classes=10", "--utilization=0.5")
