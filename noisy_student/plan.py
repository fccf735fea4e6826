r"""Estimates what a run costs: sizes, memory, steps and time on a given device. Trains nothing.

    python -m noisy_student.plan --flagfile=recipes/imagenet_l2_round1.flags \
        --device=tpu-v3-core --num_devices=2048
    python -m noisy_student.plan --flagfile=recipes/folder.flags --num_labeled=5000 \
        --num_classes=10 --device=a100-40gb

No images are read if ``--num_labeled`` and ``--num_classes`` are given. All numbers follow from the
network and the device's data sheet. The time is that of the convolutions at a fraction of the peak
rate, without input, validation or stored pseudo labels. Fine-tuning counts as if no block were
frozen. An online teacher (``--teacher_mode=online``) adds its weights and its forward pass over the
unlabeled images; one given by ``--teacher_model`` is not read and counts as the student's network.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from efficientnet.cost import Cost
from noisy_student import config
from noisy_student.batch_layout import Layout
from noisy_student.config import derived, schema

TERA, GIBI = 1e12, 2**30
_BACKWARD = 2  # times the forward pass: gradients of inputs and of kernels
_SLOTS = {"rmsprop": 2, "adamw": 2, "sgd": 1}


@dataclass(frozen=True)
class Device:
    """A device, by its vendor's data sheet.

    Attributes:
        peak: Peak rate in bfloat16 operations per second; a multiply-add counts as two.
        memory: Memory in bytes.
        utilization: Fraction of the peak rate that training an EfficientNet is assumed to reach;
            depthwise convolutions leave matrix units idle. Published: B0 in 23 hours on 8 TPU v2
            cores is 0.07, assuming 350 epochs (Wongpanich et al. 2020).
    """

    peak: float
    memory: float
    utilization: float = 0.1


DEVICES = {
    "tpu-v2-core": Device(22.5 * TERA, 8 * GIBI),
    "tpu-v3-core": Device(61.5 * TERA, 16 * GIBI),
    "tpu-v4-chip": Device(275 * TERA, 32 * GIBI),
    "v100-16gb": Device(125 * TERA, 16 * GIBI),
    "a100-40gb": Device(312 * TERA, 40 * GIBI),
    "a100-80gb": Device(312 * TERA, 80 * GIBI),
    "h100-80gb": Device(989 * TERA, 80 * GIBI),
}


@dataclass(frozen=True)
class Plan:
    """Cost of one training; bytes are per device.

    Attributes:
        image: Cost of one image.
        steps: Training steps.
        images: Images seen in all steps.
        operations: Operations of all steps; a multiply-add counts as two.
        weights: Bytes of weights, their averages and batch norm's statistics, and of an online
            teacher's weights.
        slots: Bytes of the optimizer's slots and of gradients.
        activations: Largest number of bytes kept for the backward pass; compilers recompute some.
        seconds: Training time.
    """

    image: Cost
    steps: int
    images: int
    operations: float
    weights: float
    slots: float
    activations: float
    seconds: float

    @property
    def memory(self) -> float:
        """Bytes per device."""
        return self.weights + self.slots + self.activations


def plan(
    settings: config.TrainConfig,
    num_labeled: int,
    num_classes: int,
    device: Device,
    num_devices: int = 1,
    precision: str = "mixed_bfloat16",
    online_teacher: config.ModelConfig | None = None,
) -> Plan:
    """Estimates the cost of one training.

    Args:
        settings: The training.
        num_labeled: Labeled images, in which epochs are counted.
        num_classes: Classes of the classifier.
        device: One of `DEVICES`, or another.
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
    operations = 2.0 * (1 + _BACKWARD) * image.multiply_adds * steps * layout.total
    weights = 4.0 * 2 * (image.parameters + image.statistics)
    if online_teacher is not None:
        teacher = derived.model_cost(online_teacher, num_classes)
        operations += 2.0 * teacher.multiply_adds * steps * settings.unlabeled_batch_size
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
        seconds=operations / (device.peak * device.utilization * num_devices),
    )


def describe(settings: config.TrainConfig, plan: Plan, device: Device, num_devices: int) -> str:
    """Returns a plan as text, with a warning if memory may not hold the training."""
    image, spec = plan.image, derived.preprocess_spec(settings.model)
    count = "1 device" if num_devices == 1 else f"{num_devices} devices"
    lines = [
        f"{settings.role} {settings.round}: {settings.model.name} at {spec.image_size} pixels, "
        f"batch {settings.batch_size} labeled + {settings.unlabeled_batch_size} unlabeled",
        f"  {image.parameters / 1e6:.2f} M parameters; {image.multiply_adds / 1e9:.3g} G "
        f"multiply-adds an image forward, {3 * image.multiply_adds / 1e9:.3g} G in training",
        f"  {plan.steps:,} steps, {plan.images:,} images, {plan.operations:.3g} operations",
        f"  per device: weights and averages {plan.weights / GIBI:.2f} GiB, gradients and slots "
        f"{plan.slots / GIBI:.2f} GiB, activations up to {plan.activations / GIBI:.2f} GiB",
        f"  {duration(plan.seconds)} on {count} at {device.utilization:.0%} of "
        f"{device.peak / TERA:g} T operations per second each (assumed)",
    ]
    if plan.memory > device.memory:
        lines.append(
            f"  WARNING: {plan.memory / GIBI:.1f} GiB may not fit into {device.memory / GIBI:.0f} "
            "GiB: more devices, a smaller --batch_size or --accumulate_steps"
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Returns seconds as text, in the largest unit of which there is at least one."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def online_teachers(planned: Sequence[config.TrainConfig]) -> list[config.ModelConfig | None]:
    """Returns for each training the network that labels within its step, if any."""
    before = [training.model for training in (*planned[:1], *planned[:-1])]
    return [
        model if training.teacher_mode == "online" else None
        for training, model in zip(planned, before, strict=True)
    ]


def command(settings: config.Config) -> None:
    """Prints the plan of all trainings of a run."""
    given = settings.group(schema.PlanCommandConfig)
    if given.device not in DEVICES:
        raise ValueError(f"--device={given.device}: must be one of {', '.join(DEVICES)}.")
    device = DEVICES[given.device]
    if given.utilization:
        device = dataclasses.replace(device, utilization=given.utilization)
    num_labeled, num_classes = settings.data.num_labeled, given.num_classes
    if not num_labeled or not num_classes:
        splits = derived.load_splits(settings.data)
        num_labeled, num_classes = len(splits.labeled), len(splits.class_names)
    precision = "float32" if settings.device.precision == "float32" else "mixed_bfloat16"
    planned = settings.trainings()
    plans = [
        plan(training, num_labeled, num_classes, device, given.num_devices, precision, teacher)
        for training, teacher in zip(planned, online_teachers(planned), strict=True)
    ]
    for training, each in zip(planned, plans, strict=True):
        print(describe(training, each, device, given.num_devices))
    print(f"all trainings: {duration(sum(each.seconds for each in plans))}")


if __name__ == "__main__":
    config.run(
        command, schema.PlanCommandConfig, schema.DataConfig, *schema.TRAINING, schema.DeviceConfig
    )
