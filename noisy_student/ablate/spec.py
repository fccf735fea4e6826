"""What a study is made of: arms, chains of stages with some flags changed, and comparisons.

Nothing here computes; `graph` turns arms into jobs, `tables` comparisons into verdicts.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """A flag at a multiple of the recipe's value, every entry of a list; steps, sizes stay whole.

    Where the recipe leaves a width or size unset, the one that then holds is multiplied; steps of a
    recipe in epochs by way of ``--train_ratio``.
    """

    flag: str
    factor: float


@dataclass(frozen=True)
class ByDataset:
    """A flag whose value depends on the recipe's ``--dataset``."""

    flag: str
    values: tuple[tuple[str, str], ...]


GIVEN = "every stage: "  # before the flags given beside the recipe, where flags are recorded
Flags = tuple[str | Times | ByDataset, ...]  # a string is a flag as on a command line


@dataclass(frozen=True)
class Round:
    """Pseudo labels, selection and student of one round, each with the flags changed there."""

    labels: Flags = ()
    selection: Flags = ()
    student: Flags = ()
    starts_from_teacher: bool = False


@dataclass(frozen=True)
class Supervised:
    """A training on labeled images alone, of the last student's network with its noise.

    Attributes:
        images: how many it sees: as many as the last "student", as the "labeled" ones of the last
            student, or as all trainings of the "chain" before it. Or "rounds": one training for
            every student, with its network and as many images, that starts from the one before,
            the first from the teacher.
        starts_from_student: fine-tunes that student; else it is a control.
        flags: changed.
    """

    images: str
    starts_from_student: bool = False
    flags: Flags = ()

    def __post_init__(self) -> None:
        if self.images not in ("student", "labeled", "chain", "rounds"):
            raise ValueError(
                f"images = {self.images!r}: must be student, labeled, chain or rounds."
            )


@dataclass(frozen=True)
class FineTuning:
    """FixRes of the last student (paper, section 3.1)."""

    flags: Flags


@dataclass(frozen=True)
class Arm:
    """One chain of trainings; its last model is evaluated.

    Attributes:
        name: unique in its study.
        rounds: students one after the other; none: the teacher is evaluated.
        data: flags changed for all that deals with unlabeled images, but not for the teacher.
        teacher: flags changed for the first teacher.
        last: a training after the last round, or None.
        test: flags changed for the evaluation.
    """

    name: str
    rounds: tuple[Round, ...] = (Round(),)
    data: Flags = ()
    teacher: Flags = ()
    last: Supervised | FineTuning | None = None
    test: Flags = ()

    @property
    def is_control(self) -> bool:
        """Whether the evaluated model never saw a pseudo label."""
        return isinstance(self.last, Supervised) and not self.last.starts_from_student

    def flags(self) -> Flags:
        """All flags that it changes anywhere."""
        rounds = [r.labels + r.selection + r.student for r in self.rounds]
        last = self.last.flags if self.last else ()
        return self.data + self.teacher + sum(rounds, ()) + last + self.test


@dataclass(frozen=True)
class Comparison:
    """``first`` minus ``second`` in ``metric`` is above (sign 1) or below (-1) 0: the claim.

    Sign 0: the claim is that there is no difference.
    """

    first: str
    second: str
    metric: str = "clean.top1"
    sign: int = 1


@dataclass(frozen=True)
class Study:
    """A claim and how it is measured.

    Attributes:
        name: of the command line.
        claim: in one sentence.
        source: where it is made.
        arms: in the order of the table.
        comparisons: which decide.
        benchmarks: of the evaluation, beside "clean" and "fgsm".
        shown: metrics in the table, beside those of the comparisons.

    Raises:
        ValueError: two arms of one name, or a comparison of an arm that is not there.
    """

    name: str
    claim: str
    source: str
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    benchmarks: tuple[str, ...] = ()
    shown: tuple[str, ...] = ("clean.top1", "fgsm.top1.4")

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"study {self.name}: two arms have one name, of {', '.join(names)}.")
        for comparison in self.comparisons:
            for name in (comparison.first, comparison.second):
                if name not in names:
                    raise ValueError(
                        f"study {self.name} compares {name!r}, which is none of its arms: "
                        f"{', '.join(names)}."
                    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Of the table, each once."""
        return tuple(dict.fromkeys((*self.shown, *(c.metric for c in self.comparisons))))
