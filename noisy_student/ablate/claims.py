"""The paper's claims as tables: arms to train, and the comparisons that decide each claim.

`noisy_student.ablate` runs them on any recipe. An arm is a chain of the usual stages with some
flags changed; what arms have in common is computed once. Adding a study is adding an entry to
`STUDIES`; nothing else knows their names.
"""

from noisy_student.ablate.spec import (
    Arm,
    ByDataset,
    Comparison,
    FineTuning,
    Flags,
    Round,
    Study,
    Supervised,
    Times,
)

BASE = Arm("as the recipe")  # most studies change something about the first student
_ROUND = Round()
_TEACHER, _STUDENT_2 = Arm("teacher", ()), Arm("student 2", 2 * (_ROUND,))
_LAST_CONTROL = Arm("control, images of student 2", _STUDENT_2.rounds, last=Supervised("student"))
_CHAIN_CONTROL = Arm("control, images of the chain", _STUDENT_2.rounds, last=Supervised("chain"))
_LIKE_TEACHER: Flags = ("--student_name=", "--student_width=", "--student_depth=")
_HALF_TEACHER: Flags = (Times("teacher_width", 0.5),)
_DOUBLE_TEACHER: Flags = (Times("teacher_width", 2),)
_HALF_WIDTH, _DOUBLE_WIDTH = Times("student_width", 0.5), Times("student_width", 2)
_NO_BALANCE = "--images_per_class=none"
_NO_NOISE: Flags = ("--augment=none", "--stochastic_depth_rate=0", "--dropout_rate=0")
_OTHER_IMAGES = ByDataset(
    "unlabeled_dataset",
    (
        ("mnist5k", "tfds:cifar10"),
        ("tfds:fashion_mnist", "tfds:cifar10"),
        ("tfds:svhn_cropped", "tfds:cifar10"),
        ("tfds:cifar10", "mnist5k"),
    ),
)


def _student(name: str, *flags: str | Times) -> Arm:
    """The first student with some flags changed."""
    return Arm(name, (Round(student=flags),))


def _selection(name: str, *flags: str) -> Arm:
    """The first student after another selection."""
    return Arm(name, (Round(selection=flags),))


def _better(arm: Arm, *others: str) -> tuple[Comparison, ...]:
    """An arm is more accurate than each of the others."""
    return tuple(Comparison(arm.name, other) for other in others)


NOISE = Study(
    "noise",
    "Noise matters: each of augmentation, stochastic depth and dropout taken from the student costs"
    " accuracy, and so does noise on the teacher while it labels.",
    "paper, section 4.1, table 6",
    (
        BASE,
        _student("no augmentation", "--augment=none"),
        _student("no stochastic depth", "--stochastic_depth_rate=0"),
        _student("no dropout", "--dropout_rate=0"),
        _student("no noise", *_NO_NOISE),
        Arm("noised teacher", (Round(labels=("--noised_labels",)),)),
    ),
    _better(
        BASE,
        *("no augmentation", "no stochastic depth", "no dropout", "no noise", "noised teacher"),
    ),
)

_WIDER_LAST = Round(student=(Times("ratio", 2),))
ITERATIONS = Study(
    "iterations",
    "Iterating helps: every round's student is better than the one before, and a larger unlabeled"
    " batch helps in the last round.",
    "paper, section 4.2, table 7",
    (
        _TEACHER,
        Arm("round 1"),
        Arm("round 2", 2 * (_ROUND,)),
        Arm("round 3", 3 * (_ROUND,)),
        Arm("round 3, twice the ratio", (_ROUND, _ROUND, _WIDER_LAST)),
    ),
    (
        Comparison("round 1", "teacher"),
        Comparison("round 2", "round 1"),
        Comparison("round 3", "round 2"),
        Comparison("round 3, twice the ratio", "round 3"),
    ),
)

TEACHER_SIZE = Study(
    "teacher_size",
    "A larger and better teacher makes a better student.",
    "paper, section 4.3, finding 1",
    (
        Arm("teacher half as wide", (), teacher=_HALF_TEACHER),
        Arm("student of a teacher half as wide", teacher=_HALF_TEACHER),
        _TEACHER,
        BASE,
        Arm("teacher twice as wide", (), teacher=_DOUBLE_TEACHER),
        Arm("student of a teacher twice as wide", teacher=_DOUBLE_TEACHER),
    ),
    (
        Comparison(_TEACHER.name, "teacher half as wide"),
        Comparison(BASE.name, "student of a teacher half as wide"),
        Comparison("teacher twice as wide", _TEACHER.name),
        Comparison("student of a teacher twice as wide", BASE.name),
    ),
)

STUDENT_SIZE = Study(
    "student_size",
    "A larger student is better.",
    "paper, section 4.3, finding 4",
    (
        _student("student half as wide", _HALF_WIDTH),
        BASE,
        _student("student twice as wide", _DOUBLE_WIDTH),
    ),
    (Comparison(BASE.name, "student half as wide"), Comparison("student twice as wide", BASE.name)),
)

_PARTS = {"1/16": 0.0625, "1/8": 0.125, "1/4": 0.25, "1/2": 0.5}
UNLABELED_AMOUNT = Study(
    "unlabeled_amount",
    "Many unlabeled images are needed.",
    "paper, section 4.3, finding 2",
    (
        *(
            Arm(f"{name} of the unlabeled images", data=(f"--unlabeled_fraction={part}",))
            for name, part in _PARTS.items()
        ),
        BASE,
    ),
    _better(BASE, *(f"{name} of the unlabeled images" for name in _PARTS)),
)

_ALL_ONCE: Flags = ("--min_confidence=0", _NO_BALANCE)
SOFT_VS_HARD = Study(
    "soft_vs_hard",
    "Soft and hard pseudo labels do equally well on images of the classes; soft ones are better"
    " where most unlabeled images are of something else.",
    "paper, section 4.3, finding 3",
    (
        BASE,
        _student("soft labels", "--temperature=1"),
        _student("hard labels", "--hard_labels"),
        Arm(
            "soft labels, other images too",
            (Round(selection=_ALL_ONCE, student=("--temperature=1",)),),
            data=(_OTHER_IMAGES,),
        ),
        Arm(
            "hard labels, other images too",
            (Round(selection=_ALL_ONCE, student=("--hard_labels",)),),
            data=(_OTHER_IMAGES,),
        ),
    ),
    (
        Comparison("soft labels", "hard labels", sign=0),
        Comparison("soft labels, other images too", "hard labels, other images too"),
    ),
)

_SKEW: Flags = ("--unlabeled_skew=10",)
_SMALL_NAME, _LARGE_NAME = "half as wide, ", "as wide as the recipe's, "
BALANCING = Study(
    "balancing",
    "Balancing the classes of the pseudo labels helps, small students above all (here: unlabeled"
    " images with ten times as many of the first class as of the last).",
    "paper, section 4.3, finding 5",
    tuple(
        Arm(size + name, (Round(selection=selection, student=width),), data=_SKEW)
        for size, width in ((_SMALL_NAME, (_HALF_WIDTH,)), (_LARGE_NAME, ()))
        for name, selection in (("balanced", ()), ("not balanced", (_NO_BALANCE,)))
    ),
    tuple(
        Comparison(f"{size}balanced", f"{size}not balanced") for size in (_SMALL_NAME, _LARGE_NAME)
    ),
)

FILTERING = Study(
    "filtering",
    "Dropping pseudo labels of low confidence helps.",
    "paper, section 3.1",
    (
        BASE,
        _selection("every image once", "--min_confidence=0", _NO_BALANCE),
        _selection("confidence 0.3, each once", "--min_confidence=0.3", _NO_BALANCE),
        _selection("confidence 0.6, each once", "--min_confidence=0.6", _NO_BALANCE),
        _selection("confidence 0.9, each once", "--min_confidence=0.9", _NO_BALANCE),
    ),
    (
        Comparison("confidence 0.3, each once", "every image once"),
        Comparison("confidence 0.6, each once", "every image once"),
        Comparison("confidence 0.9, each once", "every image once"),
    ),
)

_ALONE = Round(student=("--labeled_weight=0",))
_TOGETHER = Arm("together")
_FINE_TUNED = {
    "pseudo labels, then labels at 1/10 of the rate": 0.1,
    "pseudo labels, then labels at 1/30 of the rate": 1 / 30,
    "pseudo labels, then labels at 1/100 of the rate": 0.01,
}
JOINT_VS_FINETUNE = Study(
    "joint_vs_finetune",
    "Training on labeled and pseudo-labeled images together beats pre-training on pseudo-labeled"
    " ones and then fine-tuning on labeled ones.",
    "paper, section 4.3, finding 6",
    (
        _TOGETHER,
        Arm("pseudo labels alone", (_ALONE,)),
        *(
            Arm(name, (_ALONE,), last=Supervised("labeled", True, (Times("learning_rate", rate),)))
            for name, rate in _FINE_TUNED.items()
        ),
    ),
    _better(_TOGETHER, "pseudo labels alone", *_FINE_TUNED),
)

RATIO = Study(
    "ratio",
    "More unlabeled images per labeled one in a batch help.",
    "paper, section 4.3, finding 7",
    tuple(_student(f"ratio {ratio}", f"--ratio={ratio}") for ratio in (1, 3, 7, 14)),
    tuple(Comparison(f"ratio {ratio}", "ratio 1") for ratio in (3, 7, 14)),
)

FROM_SCRATCH = Study(
    "from_scratch_vs_init",
    "A student of its teacher's size that starts from random weights is better than one that starts"
    " from the teacher's (the paper: sometimes).",
    "paper, section 4.3, finding 8",
    (
        Arm("from scratch", (Round(student=_LIKE_TEACHER),)),
        Arm("from the teacher", (Round(student=_LIKE_TEACHER, starts_from_teacher=True),)),
    ),
    (Comparison("from scratch", "from the teacher"),),
)

_SMALL_IMAGES: Flags = (Times("image_size", 0.75),)
# A small labeled set needs more than the paper's 1.5 epochs to be more than some steps, and a rate
# where the recipe's schedule ends at 0.
_FIXRES = FineTuning(
    (
        Times("fixres_image_size", 1),
        "--fixres_epochs=30",
        "--schedule=constant",
        Times("learning_rate", 0.1),
    )
)
FIXRES = Study(
    "fixres",
    "Training on smaller images, fine-tuning at full size and testing there beats testing the same"
    " network without fine-tuning.",
    "paper, section 3.1 (FixRes: Touvron et al. 2019)",
    (
        Arm("trained and tested small", (Round(student=_SMALL_IMAGES),)),
        Arm(
            "trained small, tested at full size",
            (Round(student=_SMALL_IMAGES),),
            test=(Times("test_image_size", 1),),
        ),
        Arm(
            "trained small, fine-tuned and tested at full size",
            (Round(student=_SMALL_IMAGES),),
            last=_FIXRES,
        ),
        BASE,
    ),
    (
        Comparison("trained small, fine-tuned and tested at full size", "trained and tested small"),
        Comparison(
            "trained small, fine-tuned and tested at full size",
            "trained small, tested at full size",
        ),
    ),
)


def _more_robust(student: Arm, *others: Arm) -> tuple[Comparison, ...]:
    """A student is more accurate and more robust than each of the others."""
    return tuple(
        Comparison(student.name, other.name, metric, sign)
        for other in others
        for metric, sign in (
            ("clean.top1", 1),
            ("corruptions.mean_error", -1),
            ("perturbations.mean_flip_probability", -1),
            ("fgsm.top1.4", 1),
            ("pgd.top1.4", 1),
        )
    )


ROBUSTNESS = Study(
    "robustness",
    "The last student is more robust than its teacher, though trained for accuracy alone: fewer"
    " errors on corrupted images, steadier under perturbations, better under attack.",
    "paper, sections 3.3 and 3.4, tables 3 to 5, figure 3",
    (_TEACHER, _STUDENT_2, _CHAIN_CONTROL),
    _more_robust(_STUDENT_2, _TEACHER, _CHAIN_CONTROL),
    benchmarks=("corruptions", "perturbations", "pgd"),
)

_LONGER: Flags = (Times("teacher_steps", 2),)
_LONG_TEACHER = Arm("teacher, twice the steps", (), teacher=_LONGER)
_SUPERVISED = tuple(arm.name for arm in (_TEACHER, _LAST_CONTROL, _CHAIN_CONTROL, _LONG_TEACHER))
COMPUTE = Study(
    "compute",
    "The gain is not that of more training: the last student beats its network trained on the"
    " labeled images alone, for as many images as it saw and for as many as the whole chain saw,"
    " and students also beat a teacher that was trained twice as long.",
    "not in the paper; what its claims rest on",
    (
        _TEACHER,
        Arm("student 1"),
        _STUDENT_2,
        _LAST_CONTROL,
        _CHAIN_CONTROL,
        _LONG_TEACHER,
        Arm("its student", teacher=_LONGER),
    ),
    (*_better(_STUDENT_2, *_SUPERVISED), Comparison("its student", "teacher, twice the steps")),
)

_WARM = Round(student=_LIKE_TEACHER, starts_from_teacher=True)
_WARM_LAST = Arm("student 2, each from its teacher", 2 * (_WARM,))
# That chain without pseudo labels: as many images, and weights and schedules handled likewise.
_CONTINUED = Arm("control, from the teacher on", 2 * (_WARM,), last=Supervised("rounds"))
WARM_START = Study(
    "warm_start",
    "Where trainings are short, students of their teacher's size that start from its weights are"
    " better than those that start from random ones, and their gain is not that of more training:"
    " they beat their network trained on the labeled images alone, for as many images as the last"
    " one or as the whole chain saw, or from the teacher on in as many trainings of as many images,"
    " and a teacher trained twice as long.",
    "not in the paper, which says of this start that it is sometimes worse (finding 8)",
    (
        _TEACHER,
        Arm("student 2, each from random weights", 2 * (_ROUND,)),
        Arm("student 1, from the teacher", (_WARM,)),
        _WARM_LAST,
        _LAST_CONTROL,
        _CHAIN_CONTROL,
        _CONTINUED,
        _LONG_TEACHER,
    ),
    _better(_WARM_LAST, "student 2, each from random weights", *_SUPERVISED, _CONTINUED.name),
)

WARM_ROBUSTNESS = Study(
    "warm_robustness",
    "The last of the students that start from their teachers' weights is more robust than the first"
    " teacher, and than that teacher trained on as long with labeled images alone.",
    "not in the paper, which measures students from random weights",
    (_TEACHER, _WARM_LAST, _CONTINUED),
    _more_robust(_WARM_LAST, _TEACHER, _CONTINUED),
    benchmarks=ROBUSTNESS.benchmarks,
)

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        NOISE,
        ITERATIONS,
        TEACHER_SIZE,
        STUDENT_SIZE,
        UNLABELED_AMOUNT,
        SOFT_VS_HARD,
        BALANCING,
        FILTERING,
        JOINT_VS_FINETUNE,
        RATIO,
        FROM_SCRATCH,
        FIXRES,
        ROBUSTNESS,
        COMPUTE,
        WARM_START,
        WARM_ROBUSTNESS,
    )
}
