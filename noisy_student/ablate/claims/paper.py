"""The paper's findings (Xie et al., CVPR 2020), each as a study.

Sections, tables and figures are those of arXiv v4. Sections 4.1 to 4.3 and table 6 are from memory.
"""

from noisy_student.ablate.claims.arms import (
    DEFAULT,
    EQUAL_WIDTH,
    LIKE_TEACHER,
    ROBUSTNESS_BENCHMARKS,
    STUDENT_2,
    TEACHER,
    TOTAL_COMPUTE,
    WARM_ROUND,
    beats,
    more_robust,
)
from noisy_student.ablate.spec import (
    Arm,
    ByDataset,
    Comparison,
    FineTuning,
    Flags,
    Round,
    Scaled,
    Study,
    Supervised,
)

_HALF_TEACHER: Flags = (Scaled("teacher_width", 0.5),)
_DOUBLE_TEACHER: Flags = (Scaled("teacher_width", 2),)
_HALF_WIDTH, _DOUBLE_WIDTH = Scaled("student_width", 0.5), Scaled("student_width", 2)
_UNBALANCED = "--images_per_class=none"
_NO_NOISE: Flags = ("--augment=none", "--stochastic_depth_rate=0", "--dropout_rate=0")
# Table 6: RandAugment, then stochastic depth and dropout too, removed from unlabeled images alone.
_UNLABELED_CROP = "--unlabeled_augment=crop"
_UNLABELED_PLAIN = ("--nounlabeled_stochastic_depth", "--nounlabeled_dropout")
_OUT_OF_DOMAIN = ByDataset(
    "unlabeled_dataset",
    (
        ("mnist5k", "tfds:cifar10"),
        ("tfds:fashion_mnist", "tfds:cifar10"),
        ("tfds:svhn_cropped", "tfds:cifar10"),
        ("tfds:cifar10", "mnist5k"),
    ),
)


def _student(name: str, *flags: str | Scaled | ByDataset) -> Arm:
    """Returns the first student, trained with changed flags."""
    return Arm(name, (Round(student=flags),))


def _selection(name: str, *flags: str) -> Arm:
    """Returns the first student, trained on another selection of pseudo labels."""
    return Arm(name, (Round(selection=flags),))


NOISE = Study(
    "noise",
    "Noise is essential: accuracy drops if augmentation, stochastic depth or dropout is removed "
    "from the student, or only from its unlabeled images (as in the paper), and if the teacher "
    "labels under noise.",
    "paper, section 4.1, table 6",
    (
        DEFAULT,
        _student("no augmentation", "--augment=none"),
        _student("no stochastic depth", "--stochastic_depth_rate=0"),
        _student("no dropout", "--dropout_rate=0"),
        _student("no noise", *_NO_NOISE),
        _student("unlabeled images without augmentation", _UNLABELED_CROP),
        _student("unlabeled images without noise", _UNLABELED_CROP, *_UNLABELED_PLAIN),
        Arm("noised teacher", (Round(labels=("--noised_labels",)),)),
    ),
    beats(
        DEFAULT,
        *("no noise", "no augmentation", "no stochastic depth", "no dropout", "noised teacher"),
        *("unlabeled images without noise", "unlabeled images without augmentation"),
    ),
)

ITERATIONS = Study(
    "iterations",
    "Iterative training helps: each student beats the one before, with the widths of the recipe "
    "and with equal widths, and a larger unlabeled batch helps in the last round.",
    "paper, section 4.2, table 7",
    (
        TEACHER,
        Arm("round 1"),
        Arm("round 2", STUDENT_2.rounds),
        Arm("round 3", (*STUDENT_2.rounds, Round())),
        Arm("round 3, twice the ratio", (*STUDENT_2.rounds, Round(student=(Scaled("ratio", 2),)))),
        *(Arm(f"round {n}, equal width", (EQUAL_WIDTH,) * n) for n in (1, 2, 3)),
    ),
    (
        Comparison("round 2", "round 1"),
        Comparison("round 1", "teacher"),
        Comparison("round 3", "round 2"),
        Comparison("round 3, twice the ratio", "round 3"),
        Comparison("round 1, equal width", "teacher"),
        Comparison("round 2, equal width", "round 1, equal width"),
        Comparison("round 3, equal width", "round 2, equal width"),
    ),
)

TEACHER_SIZE = Study(
    "teacher_size",
    "A larger, more accurate teacher produces a better student.",
    "paper, section 4.3, finding 1",
    (
        Arm("half-width teacher", (), teacher=_HALF_TEACHER),
        Arm("student of half-width teacher", teacher=_HALF_TEACHER),
        TEACHER,
        DEFAULT,
        Arm("double-width teacher", (), teacher=_DOUBLE_TEACHER),
        Arm("student of double-width teacher", teacher=_DOUBLE_TEACHER),
    ),
    (
        Comparison("student of double-width teacher", DEFAULT.name),
        Comparison(DEFAULT.name, "student of half-width teacher"),
        Comparison("double-width teacher", TEACHER.name),
        Comparison(TEACHER.name, "half-width teacher"),
    ),
)

STUDENT_SIZE = Study(
    "student_size",
    "A larger student is more accurate.",
    "paper, section 4.3, finding 4",
    (
        _student("half-width student", _HALF_WIDTH),
        DEFAULT,
        _student("double-width student", _DOUBLE_WIDTH),
    ),
    (
        Comparison(DEFAULT.name, "half-width student"),
        Comparison("double-width student", DEFAULT.name),
    ),
)

UNLABELED_AMOUNT = Study(
    "unlabeled_amount",
    "A large amount of unlabeled images is necessary.",
    "paper, section 4.3, finding 2",
    (
        *(
            Arm(f"1/{n} of the unlabeled images", data=(f"--unlabeled_fraction={1 / n}",))
            for n in (128, 64, 32, 16, 8, 4, 2)
        ),
        DEFAULT,
    ),
    beats(DEFAULT, *(f"1/{n} of the unlabeled images" for n in (16, 8, 4, 2, 32, 64, 128))),
)

_KINDS = {"soft": "--temperature=1", "hard": "--hard_labels"}
# Smallest and largest confidence. The paper's intervals are a tenth, of many more images.
_CONFIDENCES = {
    "mostly out of domain": (0, 1),
    "mostly out of domain, confidence 0 to 0.4": (0, 0.4),
    "mostly out of domain, confidence 0.4 to 0.7": (0.4, 0.7),
    "mostly out of domain, confidence 0.7 to 1": (0.7, 1),
}


def _within(low: float, high: float) -> Flags:
    """Returns the selection that keeps each image of an interval of confidence once."""
    return (f"--min_confidence={low}", f"--max_confidence={high}", _UNBALANCED)


SOFT_VS_HARD = Study(
    "soft_vs_hard",
    "Soft and hard pseudo labels work equally well on in-domain images; soft ones work better if "
    "most unlabeled images are out of domain, especially at low confidence.",
    "paper, section 4.3, finding 3",
    (
        DEFAULT,
        *(_student(f"{kind} labels", flag) for kind, flag in _KINDS.items()),
        *(
            Arm(
                f"{kind} labels, {name}",
                (Round(selection=_within(*bounds), student=(flag,)),),
                data=(_OUT_OF_DOMAIN,),
            )
            for name, bounds in _CONFIDENCES.items()
            for kind, flag in _KINDS.items()
        ),
    ),
    (
        Comparison("soft labels", "hard labels", sign=0),
        *(Comparison(f"soft labels, {name}", f"hard labels, {name}") for name in _CONFIDENCES),
    ),
)

_SKEW: Flags = ("--unlabeled_skew=10",)
BALANCING = Study(
    "balancing",
    "Balancing the classes of the pseudo labels helps, especially for small students. (Here, the "
    "unlabeled images contain ten times as many of the first class as of the last.)",
    "paper, section 4.3, finding 5",
    tuple(
        Arm(f"{size}, {name}", (Round(selection=selection, student=width),), data=_SKEW)
        for size, width in (("half width", (_HALF_WIDTH,)), ("full width", ()))
        for name, selection in (("balanced", ()), ("unbalanced", (_UNBALANCED,)))
    ),
    tuple(
        Comparison(f"{size} width, balanced", f"{size} width, unbalanced")
        for size in ("half", "full")
    ),
)

_THRESHOLDS = ("0.3", "0.6", "0.9")
FILTERING = Study(
    "filtering",
    "Dropping pseudo labels with low confidence helps (compared without class balancing).",
    "paper, section 3.1",
    (
        DEFAULT,
        _selection("no threshold", "--min_confidence=0", _UNBALANCED),
        *(
            _selection(f"threshold {value}", f"--min_confidence={value}", _UNBALANCED)
            for value in _THRESHOLDS
        ),
    ),
    tuple(Comparison(f"threshold {value}", "no threshold") for value in _THRESHOLDS),
)

_PSEUDO_ONLY = Round(student=("--labeled_weight=0",))
_JOINT = Arm("joint training")
_FINE_TUNED = {
    f"fine-tuned at 1/{divisor} of the learning rate": 1 / divisor for divisor in (10, 30, 100)
}
JOINT_VS_FINETUNE = Study(
    "joint_vs_finetune",
    "Joint training on labeled and pseudo-labeled images beats pre-training on pseudo-labeled "
    "images and fine-tuning on labeled ones.",
    "paper, section 4.3, finding 6",
    (
        _JOINT,
        Arm("pre-training only", (_PSEUDO_ONLY,)),
        *(
            Arm(
                name,
                (_PSEUDO_ONLY,),
                last=Supervised("labeled", True, (Scaled("learning_rate", factor),)),
            )
            for name, factor in _FINE_TUNED.items()
        ),
    ),
    beats(_JOINT, *_FINE_TUNED, "pre-training only"),
)

RATIO = Study(
    "ratio",
    "A larger ratio of unlabeled to labeled images in the batch helps.",
    "paper, section 4.3, finding 7",
    tuple(_student(f"ratio {ratio}", f"--ratio={ratio}") for ratio in (1, 3, 7, 14)),
    tuple(Comparison(f"ratio {ratio}", "ratio 1") for ratio in (14, 7, 3)),
)

_LONGER: Flags = (*LIKE_TEACHER, Scaled("student_steps", 2))
FROM_SCRATCH = Study(
    "from_scratch_vs_init",
    "A student of its teacher's size trained from scratch beats one initialized with the teacher's"
    " weights (in the paper: sometimes), also with longer training, and longer training from "
    "scratch beats shorter training from the teacher.",
    "paper, section 4.3, finding 8",
    (
        Arm("from scratch", (EQUAL_WIDTH,)),
        Arm("from the teacher", (WARM_ROUND,)),
        Arm("from scratch, twice the steps", (Round(student=_LONGER),)),
        Arm(
            "from the teacher, twice the steps", (Round(student=_LONGER, starts_from_teacher=True),)
        ),
    ),
    (
        Comparison("from scratch", "from the teacher"),
        Comparison("from scratch, twice the steps", "from the teacher, twice the steps"),
        Comparison("from scratch, twice the steps", "from the teacher"),
    ),
)

_LOW_RESOLUTION = (Round(student=(Scaled("image_size", 0.75),)),)
# On a small labeled set the paper's 1.5 epochs are a few steps. The rate is the recipe's base rate
# divided by 10, since a cosine schedule ends at 0.
_FIXRES = FineTuning(
    (
        Scaled("fixres_image_size", 1),
        "--fixres_epochs=30",
        "--schedule=constant",
        Scaled("learning_rate", 0.1),
    )
)
FIXRES = Study(
    "fixres",
    "Training at low resolution, then fine-tuning and testing at full resolution, beats testing "
    "the same network without fine-tuning.",
    "paper, section 3.1 (FixRes: Touvron et al., 2019)",
    (
        Arm("trained and tested low", _LOW_RESOLUTION),
        Arm("trained low, tested full", _LOW_RESOLUTION, test=(Scaled("test_image_size", 1),)),
        Arm("trained low, fine-tuned full", _LOW_RESOLUTION, last=_FIXRES),
        DEFAULT,
    ),
    (
        Comparison("trained low, fine-tuned full", "trained and tested low"),
        Comparison("trained low, fine-tuned full", "trained low, tested full"),
    ),
)

ROBUSTNESS = Study(
    "robustness",
    "Although it is trained only for accuracy, the last student is more robust than its teacher: "
    "it makes fewer errors on corrupted images, its predictions flip less under perturbations, and"
    " it resists attacks better.",
    "paper, sections 3.3 and 3.4, tables 3 to 5, figure 4",
    (TEACHER, STUDENT_2, TOTAL_COMPUTE),
    more_robust(STUDENT_2, TEACHER, TOTAL_COMPUTE),
    benchmarks=ROBUSTNESS_BENCHMARKS,
)
