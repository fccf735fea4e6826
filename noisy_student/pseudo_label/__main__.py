"""The command ``python -m noisy_student.pseudo_label``."""

from noisy_student.pseudo_label import label

label.command()
