"""The command ``python -m noisy_student.selection``."""

from noisy_student.selection import write

write.command()
