"""Labels unlabeled images with a teacher."""

from noisy_student.pseudo_label.label import reassign, run

__all__ = ["reassign", "run"]
