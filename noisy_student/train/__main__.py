"""The command ``python -m noisy_student.train``."""

from noisy_student.train import loop

__doc__ = loop.__doc__
loop.command()
