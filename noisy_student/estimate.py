"""Estimates the time of a run on this machine, for the dry run and for sizing."""

from dataclasses import dataclass

from data import sources
from noisy_student import config, plan, preflight, train
from noisy_student.config import derived
from noisy_student.metrics.formatting import duration
from noisy_student.robustness import PERTURBATIONS
from noisy_student.runtime.devices import Devices
from noisy_student.runtime.speed import TRAINING, Speed

START = 15.0  # seconds: imports, images, checks, the report
_STAGE = 4.0  # seconds: a model is loaded and its prediction compiled
_LONG = 3600.0  # seconds after which to advise
_CORRUPTIONS, _SEQUENCES, _FRAMES = 15, len(PERTURBATIONS), 31


@dataclass(frozen=True)
class Counts:
    """Numbers of images and classes.

    Attributes:
        labeled, unlabeled, test: numbers of images.
        classes: number of classes.
    """

    labeled: int
    unlabeled: int
    test: int
    classes: int

    @classmethod
    def of(cls, splits: sources.Splits) -> "Counts":
        """Returns the numbers of a data set."""
        sizes = (len(splits.labeled), len(splits.unlabeled), len(splits.test))
        return cls(*sizes, len(splits.class_names))


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of the stages of a run."""

    # Trainings in their order, baselines last, each with its time.
    trainings: list[tuple[config.TrainConfig, float]]
    labeling: float  # time of all pseudo labels
    evaluation: float  # time of the benchmarks: forward passes and gradients

    @property
    def seconds(self) -> float:
        """Time of the whole run."""
        training = sum(seconds for _, seconds in self.trainings)
        return START + training + self.labeling + self.evaluation


def estimate(
    settings: config.Config, counts: Counts, speed: Speed, num_devices: int = 1
) -> Estimate:
    """Estimates the time of a run; images of benchmarks count as if they were at hand."""
    images = (counts.labeled, counts.unlabeled, counts.classes)
    planned = plan.plan_run(settings, *images, speed, num_devices)
    trainings = [(training, cost.seconds) for training, cost in planned.trainings]
    for _, training in preflight.baselines(settings, counts.labeled):
        cost = plan.plan(training, counts.labeled, counts.classes, speed, num_devices)
        trainings.append((training, cost.seconds))
    evaluated = sum(_evaluation(settings, each.model, counts, speed) for each, _ in trainings)
    labeling = sum(_STAGE + each.seconds for each in planned.labelings)
    return Estimate(trainings, labeling, evaluated / num_devices)


def describe(
    settings: config.Config, splits: sources.Splits, speed: Speed, devices: Devices
) -> str:
    """Returns the trainings of a run, the time of each stage, and advice if the run is long."""
    counts = Counts.of(splits)
    found = estimate(settings, counts, speed, devices.num_accelerators)
    images, classes = counts.labeled, counts.classes
    lines = [train.describe(each, images, classes, seconds) for each, seconds in found.trainings]
    passes = "once" if settings.rounds.selects_once else "per round"
    lines += [
        f"pseudo labels: {counts.unlabeled} images {passes}, about {duration(found.labeling)}",
        f"evaluation: {', '.join(settings.evaluation.benchmarks)} on {counts.test} images, about "
        f"{duration(found.evaluation)}, not counting the time to generate or decode images",
        f"total: about {duration(found.seconds)} on {devices.describe()}, {speed.describe()}",
    ]
    if found.seconds > _LONG:
        lines.append(_advice(settings))
    return "\n".join(lines)


def _evaluation(
    settings: config.Config, model: config.ModelConfig, counts: Counts, speed: Speed
) -> float:
    """Returns the time of the generated benchmarks for a model; stored ones are not counted."""
    options, cost = settings.evaluation, derived.model_cost(model, counts.classes)
    attack, robustness = options.attack, options.robustness

    def some(number: int) -> int:
        return min(number or counts.test, counts.test)

    corruptions = robustness.corruptions if "all" not in robustness.corruptions else ()
    sequences = robustness.perturbations if "all" not in robustness.perturbations else ()
    generated = some(robustness.examples)
    steps = attack.steps * attack.restarts
    forward_passes = {
        "clean": counts.test,
        "fgsm": some(attack.fgsm_examples) * (TRAINING + len(attack.fgsm_epsilons)),
        "pgd": some(attack.pgd_examples) * len(attack.pgd_epsilons) * TRAINING * steps,
        "corruptions": generated * (len(corruptions) or _CORRUPTIONS) * len(robustness.severities),
        "perturbations": generated * (len(sequences) or _SEQUENCES) * _FRAMES,
    }
    images = [forward_passes.get(name, 0) for name in options.benchmarks]
    batches = sum(images) / options.batch_size
    return len(images) * _STAGE + speed.seconds(cost, sum(images), batches, 1)


def _advice(settings: config.Config) -> str:
    """Returns advice on shortening a run, without what the settings already do."""
    spec, o = derived.preprocess_spec(settings.teacher.model), settings.teacher.optimizer
    ways = []
    if not settings.options["auto"]:
        ways.append("--auto, which chooses sizes for --minutes")
    if spec.image_size > 128:
        ways.append(f"smaller images, such as --image_size={spec.image_size // 2}")
    if o.name != "adamw" or o.schedule != "cosine":
        ways.append(
            "--optimizer=adamw --schedule=cosine with --teacher_steps and --student_steps, which "
            "reach similar accuracy in far fewer steps"
        )
    if not settings.rounds.init_model:
        ways.append("--init_model=imagenet, which needs fewer steps (docs/FAQ.md)")
    ways.append("smaller networks (--teacher_width, --teacher_depth)")
    return f"This is a long run. To shorten it: {'; '.join(ways)}."
