"""The command ``python -m noisy_student.ablate``."""

from noisy_student.ablate import command

command.command()
