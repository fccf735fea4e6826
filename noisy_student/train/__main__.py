"""The command ``python -m noisy_student.train``."""

from noisy_student.train import command

__doc__ = command.__doc__
command.command()
