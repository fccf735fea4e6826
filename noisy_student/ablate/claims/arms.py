"""Arms and changed flags that several studies share."""

from noisy_student.ablate.spec import Arm, Comparison, Flags, Round, Scaled, Supervised

ROBUSTNESS_BENCHMARKS = ("corruptions", "perturbations", "pgd")
DEFAULT = Arm("default")  # the recipe's first student, which most studies change
TEACHER = Arm("teacher", ())
STUDENT_2 = Arm("student 2", (Round(), Round()))
# The last student's network trained on labeled images only, for as many images as that student saw
# or as its whole chain saw.
EQUAL_COMPUTE = Arm("supervised, equal compute", STUDENT_2.rounds, last=Supervised("student"))
TOTAL_COMPUTE = Arm("supervised, equal total compute", STUDENT_2.rounds, last=Supervised("chain"))

LIKE_TEACHER: Flags = ("--student_name=", "--student_width=", "--student_depth=")
EQUAL_WIDTH = Round(student=LIKE_TEACHER)
WARM_ROUND = Round(student=LIKE_TEACHER, starts_from_teacher=True)
WARM_STUDENT_2 = Arm("student 2, warm start", (WARM_ROUND, WARM_ROUND))
# The same chain without pseudo labels: equal numbers of images, weights handed on, schedules.
CONTINUED = Arm("supervised, warm start", WARM_STUDENT_2.rounds, last=Supervised("rounds"))

DOUBLE_STEPS: Flags = (Scaled("teacher_steps", 2),)
LONG_TEACHER = Arm("teacher, twice the steps", (), teacher=DOUBLE_STEPS)


def beats(first: Arm, *others: Arm | str) -> tuple[Comparison, ...]:
    """Claims that `first` is more accurate than each other arm, given as such or by name."""
    names = [other if isinstance(other, str) else other.name for other in others]
    return tuple(Comparison(first.name, name) for name in names)


def more_robust(student: Arm, *others: Arm) -> tuple[Comparison, ...]:
    """Claims that `student` is more robust and more accurate than each other arm."""
    return tuple(
        Comparison(student.name, other.name, metric, sign)
        for other in others
        for metric, sign in (
            ("corruptions.mean_error", -1),
            ("perturbations.mean_flip_probability", -1),
            ("fgsm.top1.4", 1),
            ("pgd.top1.4", 1),
            ("clean.top1", 1),
        )
    )
