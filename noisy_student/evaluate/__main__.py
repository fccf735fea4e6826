"""The command ``python -m noisy_student.evaluate``."""

from noisy_student.evaluate import runner

runner.command()
