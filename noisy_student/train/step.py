"""The training step of Noisy Student, and the functions that compile and distribute it."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

import efficientnet
from data import pipeline
from noisy_student import losses, networks
from noisy_student.artifacts import model_file
from noisy_student.config import derived
from noisy_student.runtime.stable_names import stable_names
from noisy_student.train.learner import Learner

Batch = dict[str, tf.Tensor]


def metric_names(learner: Learner) -> tuple[str, ...]:
    """Returns the names of the metrics of a step, in order."""
    kinds = ("labeled", "unlabeled") if learner.layout.unlabeled else ("labeled",)
    accuracies = [f"{kind}_{name}" for kind in kinds for name in ("accuracy", "confidence")]
    return ("loss", "labeled_loss", "unlabeled_loss", "l2_loss", *accuracies)


def apply_gradients(learner: Learner, gradients: list[tf.Tensor]) -> None:
    """Updates the weights and their averages; the optimizer sums gradients over replicas."""
    variables = learner.model.trainable_variables
    learner.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    learner.average.update(tf.convert_to_tensor(learner.optimizer.iterations))


def train_step(
    learner: Learner,
    batch: Batch,
    micro_batch: tf.Tensor | int = 0,
    update: Callable[[Learner, list[tf.Tensor]], None] = apply_gradients,
) -> tf.Tensor:
    """Takes one step on one replica (Xie et al., CVPR 2020, algorithm 1).

    Args:
        learner: the network in training, with its optimizer and teacher.
        batch: this replica's rows of a micro-batch: "images" uint8 [b, S, S, 3] and "labels" int32
            [b]; for students also "unlabeled_images" uint8 [u, S, S, 3] and their stored
            "probabilities" float32 [u, C], or "unlabeled_clean_images" uint8 [u, T, T, 3] for an
            online teacher. Images are already augmented, or are augmented here if there are
            "seeds" int32 [b, 2] and "unlabeled_seeds" int32 [u, 2].
        micro_batch: index of the micro-batch, if gradients are accumulated.
        update: called with the gradients of this share of the loss.

    Returns:
        Metrics in the order of `metric_names`, float32 [metrics]; shares that sum to the metrics of
        the step.
    """
    layout, model = learner.layout, learner.model
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    share = layout.share(replica, micro_batch)

    batch = _noised(learner, batch) if learner.augments else batch
    images, targets = batch["images"], None
    if layout.unlabeled:
        images = tf.concat([images, batch["unlabeled_images"]], axis=0)
        targets = _pseudo_labels(learner, batch)

    # One forward pass over all images, with dropout and stochastic depth.
    numbers = (learner.seed, learner.optimizer.iterations)
    seed = tf.stack([tf.cast(number, tf.int32) for number in numbers])
    noise = efficientnet.noise_scope(
        seed, share.numbers, layout.total, layout.runs, learner.noised_rows
    )
    foreign_noise = networks.seed_scope(seed, replica, micro_batch)
    # Watch only the weights in training, so that gradients stop at frozen blocks.
    weights = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        with noise, foreign_noise:
            logits = model(images, training=True)
        labeled, unlabeled = logits[: layout.labeled_rows], logits[layout.labeled_rows :]

        # One loss over true labels and pseudo labels.
        loss, metrics = losses.student_loss(
            labeled,
            batch["labels"],
            unlabeled if layout.unlabeled else None,
            targets,
            decayed_variables=learner.decayed_variables,
            config=learner.loss,
            share=share,
        )

    # One update of the weights and their averages.
    update(learner, _head_first(learner, tape.gradient(loss, weights)))
    return tf.stack(list(metrics.values()))


def _noised(learner: Learner, batch: Batch) -> Batch:
    """Augments the batch, if the input pipeline left this to the step."""
    settings, noised = learner.settings, dict(batch)
    spec = derived.preprocess_spec(settings.model)
    kinds = ("", "unlabeled_") if learner.layout.unlabeled else ("",)
    for kind, noise in zip(kinds, learner.noises, strict=False):
        apply = pipeline.batch_noise(spec, noise, settings.seed)
        noised[f"{kind}images"] = apply(batch[f"{kind}images"], batch[f"{kind}seeds"])
    return noised


def _pseudo_labels(learner: Learner, batch: Batch) -> tf.Tensor:
    """Returns the targets of the unlabeled images, float32 [u, C]; the teacher has no noise."""
    settings = learner.settings
    if learner.teacher is None:
        probabilities = batch["probabilities"]
    else:
        logits = learner.teacher(batch["unlabeled_clean_images"], training=False)
        probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))
    return losses.unlabeled_targets(
        probabilities,
        hard=settings.hard_labels,
        label_smoothing=settings.label_smoothing,
        temperature=settings.temperature,
    )


def _head_first(learner: Learner, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the gradients, set to zero except for the classifier in the first ``head_steps``.

    As long as all gradients are zero, optimizers change no weights and accumulate no momentum.
    """
    head_steps, variables = learner.settings.head_steps, learner.model.trainable_variables
    if not head_steps:
        return gradients
    head = model_file.head_path(learner.model)
    is_past = learner.optimizer.iterations.value >= head_steps
    return [
        gradient if variable.path.startswith(head) else tf.where(is_past, gradient, 0.0)
        for gradient, variable in zip(gradients, variables, strict=True)
    ]


def compile_steps(learner: Learner) -> Callable[[Iterator[Batch], int], tf.Tensor]:
    """Compiles and distributes `train_step`.

    Returns:
        A function that takes an iterator over per-replica batches and a number of steps, and runs
        these steps in one device call. It returns the metrics of each step, float32 [steps,
        metrics].
    """
    size, one_step = len(metric_names(learner)), _one_step(learner)

    @functools.partial(tf.function, autograph=False, reduce_retracing=True)
    def steps(batches: Iterator[Batch], count: tf.Tensor) -> tf.Tensor:
        def body(step: tf.Tensor, table: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return step + 1, table.write(step, one_step(batches))

        table = tf.TensorArray(tf.float32, count, element_shape=[size])
        start = tf.constant(0), table
        return tf.while_loop(lambda step, _: step < count, body, start)[1].stack()

    def run(batches: Iterator[Batch], count: int) -> tf.Tensor:
        with stable_names(learner.devices.jit_compile):
            return steps(batches, tf.constant(count))

    return run


def _one_step(learner: Learner) -> Callable[[Iterator[Batch]], tf.Tensor]:
    """Returns a step over all micro-batches that sums their metrics and gradients.

    Keras' `gradient_accumulation_steps` cannot be used: it updates within a `tf.cond`, where a
    strategy cannot sum over replicas, and it divides the sum by the number of micro-batches.
    """
    strategy, num_micro_batches = learner.devices.strategy, learner.layout.micro_batches
    if num_micro_batches == 1:
        whole_step = _on_replicas(learner, functools.partial(train_step, learner))

        def step(batches: Iterator[Batch]) -> tf.Tensor:
            return whole_step(next(batches))

        return step

    with strategy.scope():
        sums = [
            tf.Variable(
                tf.zeros(variable.shape),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
            for variable in learner.model.trainable_variables
        ]

    def add_up(_: Learner, gradients: list[tf.Tensor]) -> None:
        for total, gradient in zip(sums, gradients, strict=True):
            total.assign_add(gradient)

    def apply_sums() -> None:
        apply_gradients(learner, [tf.convert_to_tensor(total) for total in sums])
        for total in sums:
            total.assign(tf.zeros_like(total))

    @functools.partial(tf.function, autograph=False, jit_compile=learner.devices.jit_compile)
    def update() -> None:
        strategy.run(apply_sums)

    micro_step = _on_replicas(learner, functools.partial(train_step, learner, update=add_up))

    def accumulated_step(batches: Iterator[Batch]) -> tf.Tensor:
        def body(micro_batch: tf.Tensor, metrics: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return micro_batch + 1, metrics + micro_step(next(batches), micro_batch)

        start = tf.constant(0), tf.zeros([len(metric_names(learner))])
        metrics = tf.while_loop(lambda number, _: number < num_micro_batches, body, start)[1]
        update()
        return metrics

    return accumulated_step


def _on_replicas(learner: Learner, function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Returns `function`, compiled and run on every replica, with its results summed."""
    strategy = learner.devices.strategy

    @functools.partial(tf.function, autograph=False, jit_compile=learner.devices.jit_compile)
    def run(*arguments: Any) -> tf.Tensor:
        return strategy.reduce("SUM", strategy.run(function, arguments), axis=None)

    return run
