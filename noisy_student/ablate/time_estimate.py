"""How long jobs take: from the like of them that are done, else from a rule.

The rule, measured on mnist5k with one job at a time on the machine that docs/RESULTS.md names: a
training takes `STARTUP`, and each image `PER_PIXEL` for all its pixels and, at `RATE`, three times
the operations of a forward pass. Other stages take `OTHERS`. What is done corrects it: trainings by
their time over the rule's, other stages by their mean.
"""

from collections import defaultdict
from collections.abc import Sequence

from efficientnet.cost import cost
from noisy_student.ablate.jobs import Job
from noisy_student.config import derived

STARTUP = 8.0  # seconds: imports, data, tracing
PER_PIXEL = 5e-7  # seconds: augmentation, elementwise operations
RATE = 1.3e11  # operations per second, a multiply-add counted as two
OTHERS = {"pseudo_label": 8.0, "selection": 6.0, "test": 12.0, "more_tests": 150.0}
_CLASSES = 10  # the classifier is a small part of any network


class Estimator:
    """Expected seconds of jobs."""

    def __init__(self, num_labeled: int):
        """Starts from the rule.

        Args:
            num_labeled: labeled images, on which epochs are counted; 0: not known, and trainings
                whose length is given in epochs cannot be estimated.
        """
        self._num_labeled = num_labeled
        self._expected = self._taken = 0.0  # seconds of finished trainings without startup
        self._done: defaultdict[str, list[float]] = defaultdict(list)

    def learn(self, job: Job, seconds: float) -> None:
        """Takes account of a job that is done."""
        if job.training is None:
            self._done[_kind(job)].append(seconds)
        elif (expected := self._by_rule(job)) is not None:
            self._expected += expected
            self._taken += max(0.0, seconds - STARTUP)

    def seconds(self, job: Job) -> float | None:
        """Of a job; None: not known."""
        if job.training is None:
            done = self._done.get(_kind(job))
            return sum(done) / len(done) if done else OTHERS[_kind(job)]
        expected = self._by_rule(job)
        if expected is None:
            return None
        return STARTUP + expected * (self._taken / self._expected if self._taken else 1.0)

    def _by_rule(self, job: Job) -> float | None:
        """Seconds of a training by the rule, without its startup; None: not known."""
        images = self._images(job)
        if images is None:
            return None
        model = job.training.model
        size = derived.preprocess_spec(model).image_size
        forward = cost(
            model.name,
            size,
            _CLASSES,
            width=model.width,
            depth=model.depth,
            strides=model.strides,
            small_image=model.small_image,
        )
        return images * (PER_PIXEL * size**2 + 6 * forward.multiply_adds / RATE)

    def _images(self, job: Job) -> int | None:
        """That a training sees; None: not known."""
        if job.counts == "labeled":
            steps = self._steps(job.counted[0])
            images = steps and steps * job.counted[0].training.batch_size
        elif job.counted:
            seen = [self._images(other) for other in job.counted]
            images = None if None in seen else sum(seen)
        else:
            steps = self._steps(job)
            images = steps and steps * job.training.images_per_step
        most = job.training.max_steps
        if images and most:
            images = min(images, most * job.training.images_per_step)
        return images

    def _steps(self, job: Job) -> int | None:
        training = job.training
        if not self._num_labeled and (training.steps is None or training.role == "fixres"):
            return None
        steps = training.num_steps(self._num_labeled)
        return min(steps, training.max_steps or steps)


def _kind(job: Job) -> str:
    """Jobs of one kind take about the same time, but for trainings."""
    return job.label if job.stage == "evaluate" else job.stage


def wall_seconds(seconds: Sequence[float | None], slots: int) -> float | None:
    """Of jobs side by side, without waiting for one another; None where one is not known."""
    return None if None in seconds else sum(seconds) / slots
