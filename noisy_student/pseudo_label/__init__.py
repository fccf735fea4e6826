"""Labels unlabeled images with a teacher.

As a function, ``ns.pseudo_label(model, images)`` is `noisy_student.api.pseudo_label`.
"""

from noisy_student import _called
from noisy_student.pseudo_label.label import run
from noisy_student.pseudo_label.relabel import reassign
from noisy_student.pseudo_label.teacher import Teacher

__all__ = ["Teacher", "reassign", "run"]

_called.make_callable(__name__)
