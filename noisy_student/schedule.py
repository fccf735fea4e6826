"""Learning-rate schedules: the paper's staircase, and cosine for short runs."""

import math
from typing import Any

import keras
import tensorflow as tf

KINDS = ("staircase", "cosine", "constant")

# Published training code; Xie et al., arXiv v4, section 3.1.
DECAY_RATE = 0.97
DECAY_EPOCHS = 2.4
WARMUP_EPOCHS = 5.0


@keras.saving.register_keras_serializable("noisy_student")
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate as a function of the number of finished steps.

    All kinds first rise linearly, `base * step / warmup_steps` (0 at step 0, as published). Then
    - "staircase": `base * decay_rate^floor(step / decay_steps)`. Steps count from 0, so the rate
      drops when the warm-up ends (published code);
    - "cosine": half a cosine from base to 0 at total_steps, and 0 afterwards;
    - "constant": base.
    """

    def __init__(
        self,
        kind: str,
        base: float,
        *,
        warmup_steps: int = 0,
        decay_steps: float | None = None,
        decay_rate: float = DECAY_RATE,
        total_steps: int | None = None,
        first_step: int = 0,
    ):
        """Creates the schedule.

        Args:
            kind: one of KINDS.
            base: rate at the end of the warm-up, before any decay.
            warmup_steps: length of the linear rise; 0: no warm-up.
            decay_steps: for a staircase, the steps from one decay to the next; may be fractional.
            decay_rate: for a staircase, the factor of each decay.
            total_steps: for cosine, the step at which the rate is 0.
            first_step: step at which the schedule starts: the last step of an earlier training.

        Raises:
            ValueError: the kind is unknown, or a length that it needs is missing or too short.
        """
        if kind not in KINDS:
            raise ValueError(f"kind = {kind!r}; valid: {', '.join(KINDS)}")
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps = {warmup_steps}; it must be 0 or more")
        if kind == "staircase" and not (decay_steps and decay_steps > 0):
            raise ValueError(f"decay_steps = {decay_steps}; a staircase needs one above 0")
        if kind == "cosine" and not (total_steps and total_steps > warmup_steps):
            raise ValueError(
                f"total_steps = {total_steps}; cosine needs more than warmup_steps = {warmup_steps}"
            )
        self.kind = kind
        self.base = base
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.total_steps = total_steps
        self.first_step = first_step

    @classmethod
    def paper(
        cls,
        base: float,
        steps_per_epoch: float,
        *,
        train_ratio: float = 1.0,
        final: float | None = None,
        total_steps: int | None = None,
        warmup_epochs: float = WARMUP_EPOCHS,
        warmup_steps: int | None = None,
    ) -> "LearningRate":
        """Returns the published staircase: x0.97 every 2.4 labeled epochs, 5 epochs of warm-up.

        Args:
            base: 0.016 per 256 labeled images of a batch; 0.128 in the paper.
            steps_per_epoch: labeled images / labeled batch size, not rounded.
            train_ratio: factor of the decay interval, not of the warm-up (2 for the paper's B0-B4).
            final: rate of the last step. The decay interval then is
                `(total_epochs - warmup_epochs) / log_0.97(final / base)` epochs.
            total_steps: length of the training, needed with `final` only.
            warmup_epochs: length of the warm-up; 5 in the paper.
            warmup_steps: replaces warmup_epochs.

        Raises:
            ValueError: `final` is not below `base`, or leaves no steps after the warm-up.
        """
        decay_epochs = DECAY_EPOCHS * train_ratio
        if warmup_steps is None:
            warmup_steps = int(warmup_epochs * steps_per_epoch)
        else:
            warmup_epochs = warmup_steps / steps_per_epoch
        if final is not None:
            if not 0 < final < base:
                raise ValueError(f"final = {final}; it must be above 0 and below base = {base}")
            epochs = (total_steps or 0) / steps_per_epoch - warmup_epochs
            if epochs <= 0:
                raise ValueError(
                    f"total_steps = {total_steps}; a final rate needs more than the "
                    f"{warmup_epochs * steps_per_epoch:g} steps of the warm-up"
                )
            decay_epochs = epochs / math.log(final / base, DECAY_RATE)
        return cls(
            "staircase", base, warmup_steps=warmup_steps, decay_steps=decay_epochs * steps_per_epoch
        )

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the rate of the step after `step` finished ones: float32 scalar."""
        step = tf.cast(step, tf.float32) + self.first_step
        if self.kind == "staircase":
            rate = self.base * self.decay_rate ** tf.floor(step / self.decay_steps)
        elif self.kind == "cosine" and self.total_steps:
            progress = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
            rate = self.base * 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(progress, 1.0)))
        else:
            rate = self.base * tf.ones_like(step)
        warming = self.base * step / max(self.warmup_steps, 1)
        return tf.where(step < self.warmup_steps, warming, rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            "kind": self.kind,
            "base": self.base,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "total_steps": self.total_steps,
            "first_step": self.first_step,
        }
