"""Model, averages, optimizer, teacher and schedule of one training, in the strategy's scope."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable

import keras
import tensorflow as tf

from data import optional
from data.preprocess import PreprocessSpec
from efficientnet import synced_norm
from noisy_student import config, ema, networks, optimizer, schedule
from noisy_student.artifacts import model_file
from noisy_student.batch_layout import Layout
from noisy_student.config import derived
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices
from noisy_student.train.learner import Learner, name_of

StrPath = str | os.PathLike[str]
_WINDOWS = 50  # smallest number of windows of moving statistics in a training


def build(
    settings: config.TrainConfig,
    devices: Devices,
    num_classes: int,
    num_labeled: int,
    teacher_model: StrPath | None = None,
    augments: bool = False,
) -> Learner:
    """Builds everything in the strategy's scope.

    Args:
        settings: options of the training.
        devices: devices to build on.
        num_classes: classes of the classifier.
        num_labeled: labeled images of an epoch.
        teacher_model: saved model of an online teacher; None: pseudo labels are stored.
        augments: whether the step augments whole batches.

    Raises:
        ValueError: the batch size cannot be split evenly over replicas and accumulated steps.
    """
    momentum = batch_norm_momentum(settings, num_labeled)
    network = dataclasses.replace(settings.model, batch_norm_momentum=momentum)
    settings = dataclasses.replace(settings, model=network)
    o = settings.optimizer
    layout = Layout(
        settings.batch_size,
        settings.unlabeled_batch_size,
        devices.num_replicas,
        settings.accumulate_steps,
    )
    devices = _compiling(settings, devices, num_classes, num_labeled)
    keras.utils.set_random_seed(settings.seed)  # initial weights
    with devices.strategy.scope():
        model = derived.build(settings.model, num_classes)
        _freeze(model, settings.frozen_blocks)
        average_model = derived.build(settings.model, num_classes)
        average = ema.WeightAverage(model, average_model, settings.ema_decay)
        average.reset()
        teacher, teacher_spec = _load_teacher(teacher_model)
        learning_rate = make_schedule(settings, num_labeled)
        weight_optimizer = optimizer.build(o.name, learning_rate, o.adam_beta2)
        weight_optimizer.build(model.trainable_variables)
        seed = tf.Variable(settings.seed, trainable=False, dtype=tf.int64)
    return Learner(
        settings=settings,
        devices=devices,
        layout=layout,
        model=model,
        average_model=average_model,
        average=average,
        learning_rate=learning_rate,
        optimizer=weight_optimizer,
        seed=seed,
        teacher=teacher,
        teacher_spec=teacher_spec,
        augments=augments,
    )


def outline(
    settings: config.TrainConfig, devices: Devices, num_classes: int, num_labeled: int
) -> keras.Model:
    """Resolves all settings of a training before any is run; see `build` for the arguments.

    Returns:
        The network. The variables of an EfficientNet have shapes but no values and take no memory.

    Raises:
        ValueError: `build` or a later step would refuse the settings; the message names them.
    """
    try:
        if "keras_cv" in (settings.noise.kind, settings.unlabeled_noise.kind):
            optional.check("keras_cv")
        derived.preprocess_spec(settings.model)  # knows the names of networks
        Layout(
            settings.batch_size,
            settings.unlabeled_batch_size,
            devices.num_replicas,
            settings.accumulate_steps,
        )
        batch_norm_groups(settings.model, devices.num_replicas)
        make_schedule(settings, num_labeled)
        if settings.head_steps >= (steps := settings.num_steps(num_labeled)):
            raise ValueError(
                f"--head_steps={settings.head_steps}: must be below the {steps} training steps."
            )
        scope: contextlib.AbstractContextManager = contextlib.nullcontext()
        if networks.get(settings.model.name).is_foreign:
            _check_foreign(settings)
        else:
            scope = keras.StatelessScope(initialize_variables=False)
        with scope:
            network = derived.build(settings.model, num_classes)
            _freeze(network, settings.frozen_blocks)
    except ValueError as error:
        raise ValueError(f"{name_of(settings)}: {error}") from None
    return network


def disk_bytes(network: keras.Model) -> tuple[int, int]:
    """Returns the bytes of the models that a training writes, and of its temporary checkpoints."""
    weights = 4 * sum(math.prod(variable.shape) for variable in network.variables)
    # model.keras and best.keras; two checkpoints of model, average and up to two slots.
    return 2 * weights, 2 * (2 * weights + 2 * 4 * count_parameters(network))


def start_from(learner: Learner, path: StrPath, class_names: tuple[str, ...]) -> str:
    """Copies the weights of a saved model into the model and its averages.

    Returns:
        Description of what was copied, see `model_file.start_from`.
    """
    spec = derived.preprocess_spec(learner.settings.model)
    description = model_file.start_from(learner.model, path, class_names, spec)
    model_file.copy_normalization(learner.model, learner.average_model)
    learner.average.reset()
    return description


def predict_step(learner: Learner) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the compiled prediction of the averaged model: images -> probabilities [B, C]."""
    devices = learner.devices
    predict = inference.predict_step(learner.average_model, devices.jit_compile)
    if batch_norm_groups(learner.settings.model, devices.num_replicas) == 1:
        return devices.spread(predict)
    # Replicas have their own moving statistics, whose mean is saved.
    return predict


def batch_norm_groups(model: config.ModelConfig, num_replicas: int) -> int:
    """Returns the number of groups of replicas, each with its own batch-norm statistics."""
    if networks.get(model.name).is_foreign:
        return num_replicas
    return num_replicas // synced_norm.group_size(model.batch_norm_replicas, num_replicas)


def batch_norm_momentum(settings: config.TrainConfig, num_labeled: int) -> float:
    """Returns the momentum of batch norm's moving statistics.

    The statistics are means over about 1 / (1 - momentum) steps. If these are a large part of a
    training, the means include initial values and statistics of much earlier weights, which do not
    fit the network. So they cover at most 1/50 of a training, while the weight average covers about
    1/10. This changes no weight, because batch norm uses the statistics of the batch in training.
    Fine-tuning starts with statistics that fit.
    """
    momentum = settings.model.batch_norm_momentum
    if settings.role == "fixres":
        return momentum
    return max(0.0, min(momentum, 1 - _WINDOWS / settings.last_step(num_labeled)))


def count_parameters(model: keras.Model) -> int:
    """Returns the number of trainable weights."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def make_schedule(settings: config.TrainConfig, num_labeled: int) -> schedule.LearningRate:
    """Returns the learning rate of a training; epochs count labeled images.

    Raises:
        ValueError: fine-tuning after a schedule that ends at 0, or a final rate for a schedule
            that has none.
    """
    o = settings.optimizer
    if settings.role == "fixres":
        trained = dataclasses.replace(settings, role="student")
        configuration = make_schedule(trained, num_labeled).get_config()
        configuration["first_step"] = trained.num_steps(num_labeled)
        rate = schedule.LearningRate(**configuration)
        if not float(rate(0)) > 0:
            raise ValueError(
                f"--role=fixres continues at the final learning rate of --schedule={o.schedule}, "
                "which is 0: give --schedule=constant and --learning_rate."
            )
        return rate
    total = settings.num_steps(num_labeled)
    steps_per_epoch = num_labeled / settings.batch_size
    if o.schedule == "staircase":
        return schedule.LearningRate.paper(
            o.learning_rate,
            steps_per_epoch,
            train_ratio=o.train_ratio,
            final=o.final_learning_rate,
            total_steps=total,
            warmup_epochs=o.warmup_epochs,
            warmup_steps=o.warmup_steps,
        )
    if o.final_learning_rate is not None:
        raise ValueError(
            f"--final_learning_rate_per_256 needs --schedule=staircase, not {o.schedule}."
        )
    warmup = o.warmup_steps
    if warmup is None:
        warmup = int(o.warmup_epochs * steps_per_epoch)
    if o.schedule == "cosine" and total <= warmup:
        raise ValueError(
            f"{total} training steps ({num_labeled} labeled images in batches of "
            f"{settings.batch_size}) must exceed the {warmup} warm-up steps: give fewer "
            "--warmup_steps or --warmup_epochs, or more --teacher_steps, --student_steps or "
            "--epochs."
        )
    return schedule.LearningRate(
        o.schedule, o.learning_rate, warmup_steps=warmup, total_steps=total
    )


def _check_foreign(settings: config.TrainConfig) -> None:
    """Refuses options that third-party networks do not support."""
    name, noise = settings.model.name, settings.unlabeled_noise
    for flag, is_given in (
        ("frozen_blocks", settings.frozen_blocks >= 0),
        ("nounlabeled_dropout", not noise.dropout),
        ("nounlabeled_stochastic_depth", not noise.stochastic_depth),
    ):
        if is_given:
            raise ValueError(f"--{flag} only works with EfficientNets, not with {name}.")


def _compiling(
    settings: config.TrainConfig, devices: Devices, num_classes: int, num_labeled: int
) -> Devices:
    """Decides whether `--jit_compile=auto` compiles the step of one micro-batch."""
    parts, cost = settings.accumulate_steps, derived.model_cost(settings.model, num_classes)
    multiply_adds = cost.multiply_adds * settings.images_per_step / parts
    steps = settings.last_step(num_labeled) * parts
    return devices.for_steps(name_of(settings), steps, multiply_adds)


def _freeze(model: keras.Model, num_blocks: int) -> None:
    """Freezes weights, batch norm and noise of the stem and the first blocks; -1: nothing."""
    if num_blocks < 0:
        return
    blocks = [layer for layer in model.layers if layer.name.startswith("blocks_")]
    if num_blocks > len(blocks):
        raise ValueError(
            f"--frozen_blocks={num_blocks}: {model.name} has only {len(blocks)} blocks."
        )
    for layer in (model.get_layer("stem_conv"), model.get_layer("stem_bn"), *blocks[:num_blocks]):
        layer.trainable = False


def _load_teacher(path: StrPath | None) -> tuple[keras.Model | None, PreprocessSpec | None]:
    if path is None:
        return None, None
    teacher, card = model_file.load_model(path)
    teacher.trainable = False
    return teacher, card["preprocess"]
