"""The command ``python -m noisy_student.ablate``."""

from noisy_student.ablate import command

__doc__ = command.__doc__
command.command()
