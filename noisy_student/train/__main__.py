"""The command ``python -m noisy_student.train``."""

from noisy_student.train import command

command.command()
