"""The commands people use, on real digits and as small as it gets, for tests that run them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "--teacher_width=0.1",
    "--teacher_depth=0.1",
    "--student_width=0.1,0.2",
    "--student_depth=0.1",
    "--teacher_steps=24",
    "--student_steps=24",
    "--teacher_batch_size=32",
    "--batch_size=8",
    "--ratio=3",
    "--warmup_steps=2",
    "--rounds=2",
    "--log_every=4",
    "--validate_every=12",
    "--checkpoint_every=8",
    "--benchmarks=clean,fgsm",
    "--fgsm_examples=100",
    "--epsilons=2,8",
    "--min_confidence=0",
    "--num_shards=2",
)
ROBUSTNESS = (  # in place of the benchmarks above
    "--benchmarks=clean,fgsm,corruptions,perturbations,pgd",
    "--robustness_examples=8",
    "--corruptions=fog,contrast",
    "--severities=3",
    "--perturbations=translate",
    "--pgd_examples=8",
    "--pgd_epsilons=4",
    "--attack_steps=2",
)


def command(module: str, *flags: str) -> list[str]:
    """A command of the package as a list of arguments."""
    return [sys.executable, "-m", f"noisy_student.{module}", *flags]


def tiny_iterate(workdir: Path, *flags: str) -> list[str]:
    """The whole method, tiny."""
    recipe = f"--flagfile={ROOT}/recipes/mnist5k.flags"
    return command("iterate", recipe, *TINY, f"--workdir={workdir}", *flags)


def start(arguments: list[str]) -> subprocess.Popen:
    """A process that says nothing."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(arguments, cwd=ROOT, env=_environment(), **quiet)


def run(arguments: list[str], fails: bool = False, cwd: Path = ROOT) -> str:
    """What a command prints that ends well, or `fails`."""
    result = subprocess.run(
        arguments, cwd=cwd, env=_environment(), capture_output=True, text=True, timeout=600
    )
    assert (result.returncode != 0) == fails, result.stdout + result.stderr
    return result.stdout + result.stderr


def iterate(workdir: Path, *flags: str, fails: bool = False) -> str:
    """What `tiny_iterate` prints."""
    return run(tiny_iterate(workdir, *flags), fails)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
