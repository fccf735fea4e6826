"""Comparisons at equal compute, counted in training images, as studies."""

from noisy_student.ablate.claims.arms import (
    CONTINUED,
    DOUBLE_STEPS,
    EQUAL_COMPUTE,
    LONG_TEACHER,
    ROBUSTNESS_BENCHMARKS,
    STUDENT_2,
    TEACHER,
    TOTAL_COMPUTE,
    WARM_ROUND,
    WARM_STUDENT_2,
    beats,
    more_robust,
)
from noisy_student.ablate.spec import Arm, Comparison, Study

COMPUTE = Study(
    "compute",
    "The gain is not due to longer training: the last student beats the same network trained only "
    "on labeled images, on as many images as the student saw and on as many as its whole chain "
    "saw. Students also beat a teacher trained twice as long.",
    "not in the paper, whose claims depend on it",
    (
        TEACHER,
        Arm("student 1"),
        STUDENT_2,
        EQUAL_COMPUTE,
        TOTAL_COMPUTE,
        LONG_TEACHER,
        Arm("student of that teacher", teacher=DOUBLE_STEPS),
    ),
    (
        *beats(STUDENT_2, TOTAL_COMPUTE, EQUAL_COMPUTE, LONG_TEACHER, TEACHER),
        Comparison("student of that teacher", LONG_TEACHER.name),
    ),
    shares_baselines=True,
)

WARM_START = Study(
    "warm_start",
    "In short trainings, students initialized with their teacher's weights beat students trained "
    "from scratch. The gain is not due to longer training: they also beat a teacher trained twice "
    "as long, and the same network trained only on labeled images, on as many images as the last "
    "student or the whole chain saw, from scratch or from the teacher's weights.",
    "not in the paper, which calls this initialization sometimes worse (finding 8)",
    (
        TEACHER,
        Arm("student 2, from scratch", STUDENT_2.rounds),
        Arm("student 1, warm start", (WARM_ROUND,)),
        WARM_STUDENT_2,
        EQUAL_COMPUTE,
        TOTAL_COMPUTE,
        CONTINUED,
        LONG_TEACHER,
    ),
    beats(
        WARM_STUDENT_2,
        *(CONTINUED, TOTAL_COMPUTE, EQUAL_COMPUTE, LONG_TEACHER, TEACHER),
        "student 2, from scratch",
    ),
)

WARM_ROBUSTNESS = Study(
    "warm_robustness",
    "Students initialized with their teacher's weights are more robust than the first teacher, and"
    " than this teacher trained equally long only on labeled images.",
    "not in the paper, whose students are trained from scratch",
    (TEACHER, WARM_STUDENT_2, CONTINUED),
    more_robust(WARM_STUDENT_2, TEACHER, CONTINUED),
    benchmarks=ROBUSTNESS_BENCHMARKS,
)

GRADIENT_FREE = Study(
    "gradient_free",
    "The robustness to FGSM and PGD is not gradient masking: the last student also resists the "
    "Square attack, which uses no gradients, better than its teacher and than the same network "
    "trained equally long only on labeled images.",
    "not in the paper, which attacks by gradients only (section 3.4)",
    (TEACHER, STUDENT_2, TOTAL_COMPUTE),
    tuple(
        Comparison(STUDENT_2.name, other.name, f"square.top1.{epsilon}")
        for epsilon in (4, 16)
        for other in (TEACHER, TOTAL_COMPUTE)
    ),
    benchmarks=("pgd", "square"),
    shown=("clean.top1", "fgsm.top1.4", "pgd.top1.4"),
)
