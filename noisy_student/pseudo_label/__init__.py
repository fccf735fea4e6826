"""Labels unlabeled images with a teacher."""

from noisy_student.pseudo_label.label import run
from noisy_student.pseudo_label.relabel import reassign
from noisy_student.pseudo_label.teacher import Teacher

__all__ = ["Teacher", "reassign", "run"]
