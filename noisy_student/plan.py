r"""Estimates the cost of a run: model sizes, memory, steps and time on a device. Trains nothing.

    python -m noisy_student.plan --flagfile=recipes/imagenet_l2_round1.flags \
        --device=tpu-v3-core --num_devices=2048
    python -m noisy_student.plan --flagfile=recipes/mnist5k.flags --device=l4
    python -m noisy_student.plan --device=help

No images are read if ``--num_labeled`` and ``--num_classes`` are given; ``--num_unlabeled`` and
``--num_selected`` then give the numbers of images to label and to relabel. All estimates are
computed from the network and the device's data sheet. The time is that of the convolutions at a
fraction of the peak rate, without input pipeline and validation; on this machine
(``--device=local``) it uses speeds measured in a few seconds (`runtime.speed`). Fine-tuning is
counted as if no block were frozen. An online teacher (``--teacher_mode=online``) adds its weights
and its forward pass over the unlabeled images. Given models are not read: ``--teacher_model`` is
counted as the student's network at its last resolution, ``--selection_model`` as EfficientNet-B0.
"""

import dataclasses
from dataclasses import dataclass

from efficientnet.cost import Cost
from noisy_student import config
from noisy_student.batch_layout import Layout
from noisy_student.config import derived, schema
from noisy_student.metrics.formatting import duration
from noisy_student.runtime import data_sheets
from noisy_student.runtime import devices as devices_lib
from noisy_student.runtime.data_sheets import DEVICES, GIBI, LOCAL, Device
from noisy_student.runtime.speed import TRAINING, Speed, measure

_SLOTS = {"rmsprop": 2, "adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class Plan:
    """Cost of one training; bytes are per device."""

    image: Cost  # cost of one image
    steps: int  # training steps
    images: int  # images seen in all steps
    operations: float  # operations of all steps; a multiply-add counts as two
    # Bytes of weights, their averages and batch norm's statistics, and of an online teacher's
    # weights.
    weights: float
    slots: float  # bytes of the optimizer's slots and of gradients
    # Largest number of bytes kept for the backward pass; compilers recompute some.
    activations: float
    seconds: float  # training time

    @property
    def memory(self) -> float:
        """Bytes per device."""
        return self.weights + self.slots + self.activations


def plan(
    settings: config.TrainConfig,
    num_labeled: int,
    num_classes: int,
    device: Device | Speed,
    num_devices: int = 1,
    precision: str = "mixed_bfloat16",
    online_teacher: config.ModelConfig | None = None,
) -> Plan:
    """Estimates the cost of one training.

    Args:
        settings: The training.
        num_labeled: Labeled images, in which epochs are counted.
        num_classes: Classes of the classifier.
        device: One of `DEVICES`, another device, or a measured one.
        num_devices: Replicas.
        precision: Number format of activations: "mixed_bfloat16" or "float32".
        online_teacher: Network that labels within the step, at its own resolution.

    Raises:
        ValueError: The devices cannot share a batch evenly.
    """
    image = derived.model_cost(settings.model, num_classes)
    layout = Layout(
        settings.batch_size, settings.unlabeled_batch_size, num_devices, settings.accumulate_steps
    )
    steps = settings.last_step(num_labeled)
    operations = 2.0 * TRAINING * image.multiply_adds * steps * layout.total
    seconds = device.seconds(image, steps * layout.total, steps, TRAINING) / num_devices
    weights = 4.0 * 2 * (image.parameters + image.statistics)
    if online_teacher is not None:
        teacher = derived.model_cost(online_teacher, num_classes)
        unlabeled = steps * settings.unlabeled_batch_size
        operations += 2.0 * teacher.multiply_adds * unlabeled
        seconds += device.seconds(teacher, unlabeled, steps, 1) / num_devices
        weights += 4.0 * (teacher.parameters + teacher.statistics)
    accumulated = settings.accumulate_steps > 1
    rows = layout.labeled_rows + layout.unlabeled_rows
    return Plan(
        image=image,
        steps=steps,
        images=steps * layout.total,
        operations=operations,
        weights=weights,
        slots=4.0 * (_SLOTS[settings.optimizer.name] + 1 + accumulated) * image.parameters,
        activations=float(rows * image.activations * (2 if precision != "float32" else 4)),
        seconds=device.start(image) + seconds,
    )


@dataclass(frozen=True)
class Labeling:
    """Cost of stored pseudo labels: one forward pass over each image."""

    name: str  # "selection" or "labels" and the round
    model: config.ModelConfig  # network that labels
    images: int
    seconds: float  # time


@dataclass(frozen=True)
class RunPlan:
    """Cost of a run without its evaluation."""

    trainings: list[tuple[config.TrainConfig, Plan]]  # trainings in their order, each with its cost
    labelings: list[Labeling]  # labelings in their order; empty if the number of images is unknown

    @property
    def seconds(self) -> float:
        """Time of all stages."""
        return sum(each.seconds for _, each in self.trainings) + sum(
            each.seconds for each in self.labelings
        )


def plan_run(
    settings: config.Config,
    num_labeled: int,
    num_unlabeled: int,
    num_classes: int,
    device: Device | Speed,
    num_devices: int = 1,
) -> RunPlan:
    """Estimates the cost of a run; see `plan`. No unlabeled images: their number is unknown.

    Raises:
        ValueError: The devices cannot share a batch evenly.
    """
    precision = "float32" if settings.device.precision == "float32" else "mixed_bfloat16"
    labelers = _labelers(settings)
    trainings = []
    for training in settings.trainings():
        online = training.teacher_mode == "online"
        teacher = labelers[training.round - 1] if online else None
        cost = plan(training, num_labeled, num_classes, device, num_devices, precision, teacher)
        trainings.append((training, cost))

    def labeling(name: str, model: config.ModelConfig, images: int) -> Labeling:
        cost, batches = derived.model_cost(model, num_classes), images / batch_size
        seconds = device.seconds(cost, images, batches, 1) / num_devices
        return Labeling(name, model, images, seconds)

    batch_size = settings.log.eval_batch_size
    rounds, per_class = settings.rounds, settings.selection.images_per_class
    selected = settings.group(schema.PlanCommandConfig).num_selected or num_unlabeled
    if isinstance(per_class, int):
        selected = min(selected, per_class * num_classes)
    labelings = []
    if rounds.selection_model:
        model = dataclasses.replace(
            settings.teacher.model, name="efficientnet-b0", width=None, depth=None, image_size=None
        )
        labelings.append(labeling("selection", model, num_unlabeled))
    for number, model in enumerate(labelers, 1):
        again = rounds.selects_once or (rounds.reassign and number > 1)
        images = selected if again else num_unlabeled
        labelings.append(labeling(f"labels {number}", model, images))
    return RunPlan(trainings, labelings if num_unlabeled else [])


def _labelers(settings: config.Config) -> list[config.ModelConfig]:
    """Returns the labeling network of each student's teacher."""
    models = [training.model for training in settings.tuned or settings.students]
    given = settings.rounds.teacher_model and models
    return [models[0] if given else settings.teacher.model, *models][: len(models)]


def describe(
    settings: config.TrainConfig, plan: Plan, device: Device | Speed, num_devices: int
) -> str:
    """Returns a plan as text, with a warning if memory may not hold the training."""
    image, spec = plan.image, derived.preprocess_spec(settings.model)
    count = "1 device" if num_devices == 1 else f"{num_devices} devices"
    lines = [
        f"{settings.role} {settings.round}: {settings.model.name} at {spec.image_size} pixels, "
        f"batch {settings.batch_size} labeled + {settings.unlabeled_batch_size} unlabeled",
        f"  {image.parameters / 1e6:.2f} M parameters; {image.multiply_adds / 1e9:.3g} G "
        f"multiply-adds per image forward, {3 * image.multiply_adds / 1e9:.3g} G in training",
        f"  {plan.steps:,} steps, {plan.images:,} images, {plan.operations:.3g} operations",
        f"  per device: weights and averages {plan.weights / GIBI:.2f} GiB, gradients and slots "
        f"{plan.slots / GIBI:.2f} GiB, activations up to {plan.activations / GIBI:.2f} GiB",
        f"  {duration(plan.seconds)} on {count} {device.describe()}",
    ]
    if plan.memory > device.memory:
        lines.append(
            f"  WARNING: {plan.memory / GIBI:.1f} GiB may not fit into {device.memory / GIBI:.0f} "
            "GiB: use more devices, a smaller --batch_size or --accumulate_steps"
        )
    return "\n".join(lines)


def _device(settings: config.Config) -> Device | Speed:
    """Returns the requested device; measures this machine."""
    given = settings.group(schema.PlanCommandConfig)
    if given.device == LOCAL:
        if given.utilization:
            raise ValueError(
                f"--utilization={given.utilization}: the speed of this machine is measured; give "
                "another --device."
            )
        return measure(devices_lib.make_devices(**dataclasses.asdict(settings.device)))
    if given.device not in DEVICES:
        raise ValueError(f"--device={given.device}: must be one of {', '.join((LOCAL, *DEVICES))}.")
    device = DEVICES[given.device]
    return dataclasses.replace(device, utilization=given.utilization or device.utilization)


def command(settings: config.Config) -> None:
    """Prints the plan of a run."""
    given = settings.group(schema.PlanCommandConfig)
    if given.device == "help":
        print(data_sheets.describe())
        return
    device = _device(settings)
    counts = settings.data.num_labeled, given.num_unlabeled, given.num_classes
    if not settings.data.num_labeled or not given.num_classes:
        splits = derived.load_splits(settings.data)
        counts = len(splits.labeled), len(splits.unlabeled), len(splits.class_names)
    planned = plan_run(settings, *counts, device, given.num_devices)
    for training, each in planned.trainings:
        print(describe(training, each, device, given.num_devices))
    for job in planned.labelings:
        size = derived.preprocess_spec(job.model).image_size
        images = f"{job.images:,} images by {job.model.name} at {size} pixels"
        print(f"{job.name}: {images}, {duration(job.seconds)}")
    if settings.students and not planned.labelings:
        print("labeling: not included; give --num_unlabeled")
    print(f"total without evaluation: {duration(planned.seconds)}")


if __name__ == "__main__":
    config.run(
        command,
        schema.PlanCommandConfig,
        schema.DataConfig,
        *schema.TRAINING,
        schema.SelectionConfig,
        schema.DeviceConfig,
    )
