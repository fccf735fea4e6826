"""Types of a study: arms, which are chains of stages with changed flags, and their comparisons.

Nothing here computes. `jobs` turns arms into commands, `tables` turns comparisons into verdicts.
"""

from dataclasses import dataclass
from typing import Literal, get_args


@dataclass(frozen=True)
class Scaled:
    """A flag at a multiple of the recipe's value, or of every entry of a list.

    Steps and image sizes are rounded. Where the recipe leaves a width or size unset, the value in
    effect is scaled; where it gives epochs instead of steps, ``--train_ratio`` is.
    """

    flag: str
    factor: float


@dataclass(frozen=True)
class ByDataset:
    """A flag whose value depends on the recipe's ``--dataset``: pairs of data set and value."""

    flag: str
    values: tuple[tuple[str, str], ...]


Flags = tuple[str | Scaled | ByDataset, ...]  # a string is a flag as on the command line
Budget = Literal["student", "labeled", "chain", "rounds"]
EVERY_STAGE = (
    "every stage: "  # precedes the flags given in addition to the recipe in recorded changes
)


@dataclass(frozen=True)
class Round:
    """Pseudo labels, selection and student of one round, each with its changed flags."""

    labels: Flags = ()
    selection: Flags = ()
    student: Flags = ()
    starts_from_teacher: bool = False


@dataclass(frozen=True)
class Supervised:
    """A training on labeled images only, with the network and the noise of the last student.

    Attributes:
        budget: number of training images: as many as the last "student" saw, as the "labeled"
            images that it saw, or as all trainings of the "chain" saw together. With "rounds",
            one training replaces each student, with its network and its number of images;
            each starts from the one before, the first from the teacher.
        starts_from_student: fine-tunes the last student; otherwise it is a supervised baseline.
        flags: changed flags.
    """

    budget: Budget
    starts_from_student: bool = False
    flags: Flags = ()

    def __post_init__(self) -> None:
        if self.budget not in get_args(Budget):
            raise ValueError(f"budget={self.budget!r} must be one of {', '.join(get_args(Budget))}")


@dataclass(frozen=True)
class FineTuning:
    """FixRes of the last student (Xie et al., arXiv v4, section 3.1)."""

    flags: Flags


@dataclass(frozen=True)
class Arm:
    """A chain of trainings whose last model is evaluated."""

    name: str  # unique in its study; identifies the arm in CSV files
    rounds: tuple[Round, ...] = (Round(),)  # one student each; with none, the teacher is evaluated
    data: Flags = ()  # flags changed in every stage that reads unlabeled images
    teacher: Flags = ()  # flags changed for the first teacher
    last: Supervised | FineTuning | None = None  # a training after the last round, or None
    test: Flags = ()  # flags changed for the evaluation

    @property
    def is_baseline(self) -> bool:
        """True if the evaluated model never saw a pseudo label."""
        return isinstance(self.last, Supervised) and not self.last.starts_from_student

    @property
    def flags(self) -> Flags:
        """All changed flags, stage by stage."""
        rounds = [r.labels + r.selection + r.student for r in self.rounds]
        last = self.last.flags if self.last else ()
        return self.data + self.teacher + sum(rounds, ()) + last + self.test


@dataclass(frozen=True)
class Comparison:
    """A claim about the sign of ``first - second`` in one metric."""

    first: str  # name of an arm
    second: str  # name of an arm
    metric: str = "clean.top1"  # benchmark and measure, such as ``clean.top1``
    sign: int = 1  # 1 claims a positive difference, -1 a negative one, 0 none


@dataclass(frozen=True)
class Study:
    """A claim and the arms and comparisons that test it.

    Raises:
        ValueError: two arms have the same name, or a comparison names an unknown arm.
    """

    name: str  # the value of ``--study``
    claim: str  # one or two sentences
    source: str  # where the claim is made
    arms: tuple[Arm, ...]  # in the order of the table
    # Decide the claim; the first one stands for it in the table of claims.
    comparisons: tuple[Comparison, ...]
    benchmarks: tuple[str, ...] = ()  # evaluated beside "clean" and "fgsm"
    # Metrics in the table beside those of the comparisons.
    shown: tuple[str, ...] = ("clean.top1", "fgsm.top1.4")
    # Its supervised baselines also appear in the tables of other studies.
    shares_baselines: bool = False

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(
                f"study {self.name}: two arms have the same name, among {', '.join(names)}"
            )
        for comparison in self.comparisons:
            for name in (comparison.first, comparison.second):
                if name not in names:
                    raise ValueError(
                        f"study {self.name} compares {name!r}, which must be one of its arms: "
                        f"{', '.join(names)}"
                    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of the table, each once."""
        return tuple(dict.fromkeys((*self.shown, *(c.metric for c in self.comparisons))))

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of its supervised baselines."""
        return tuple(arm.name for arm in self.arms if arm.is_baseline)
