"""The command ``python -m noisy_student.evaluate``."""

from noisy_student.evaluate import benchmark

__doc__ = benchmark.__doc__
benchmark.command()
