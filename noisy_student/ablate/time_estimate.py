"""Estimates run times from finished jobs of the same kind, or from a cost model.

The cost model was fitted to mnist5k with one job at a time, on the machine that docs/RESULTS.md
names. A training takes `STARTUP` and, per image, `PER_PIXEL` for each pixel and the operations of a
forward pass three times at `RATE`. Other stages take `OTHERS`. Finished jobs correct the model:
trainings by the ratio of their time to its estimate, other stages by their mean.
"""

from collections import defaultdict
from collections.abc import Sequence

from noisy_student import config
from noisy_student.ablate.jobs import Job
from noisy_student.config import derived

STARTUP = 8.0  # seconds: imports, data, tracing
PER_PIXEL = 5e-7  # seconds: augmentation, elementwise operations
RATE = 1.3e11  # operations per second; a multiply-add counts as two
OTHERS = {"pseudo_label": 8.0, "selection": 6.0, "test": 12.0, "more_tests": 150.0}
_CLASSES = 10  # the classifier is a small part of any network


class Estimator:
    """Expected seconds of jobs."""

    def __init__(self, num_labeled: int):
        """Starts from the cost model.

        Args:
            num_labeled: labeled images, which determine the length of epochs. 0 if unknown: then
                trainings whose length is given in epochs have no estimate.
        """
        self._num_labeled = num_labeled
        self._expected = self._measured = 0.0  # seconds of finished trainings without startup
        self._others: defaultdict[str, list[float]] = defaultdict(list)

    def learn(self, job: Job, seconds: float) -> None:
        """Learns from a finished job."""
        if job.training is None:
            self._others[_kind(job)].append(seconds)
        elif (expected := self._modeled(job, job.training)) is not None:
            self._expected += expected
            self._measured += max(0.0, seconds - STARTUP)

    def seconds(self, job: Job) -> float | None:
        """Returns the expected seconds of a job; None if unknown."""
        if job.training is None:
            done = self._others.get(_kind(job))
            return sum(done) / len(done) if done else OTHERS[_kind(job)]
        expected = self._modeled(job, job.training)
        if expected is None:
            return None
        return STARTUP + expected * (self._measured / self._expected if self._measured else 1.0)

    def _modeled(self, job: Job, training: config.TrainConfig) -> float | None:
        """Returns the seconds of a training by the cost model, without startup; None: unknown."""
        images = self._images(job)
        if images is None:
            return None
        model = training.model
        size = derived.preprocess_spec(model).image_size
        forward = derived.model_cost(model, _CLASSES)
        return images * (PER_PIXEL * size**2 + 6 * forward.multiply_adds / RATE)

    def _images(self, job: Job) -> int | None:
        """Returns the number of images that a training sees; None if unknown."""
        training = job.training
        assert training is not None
        if job.budget is None:
            steps = self._steps(training)
            images = None if steps is None else steps * training.images_per_step
        elif job.budget.kind == "labeled":
            student = job.budget.trainings[-1].training
            steps = self._steps(student) if student else None
            images = None if steps is None or not student else steps * student.batch_size
        else:
            seen = [self._images(other) for other in job.budget.trainings]
            images = None if None in seen else sum(filter(None, seen))
        if images and training.max_steps:
            images = min(images, training.max_steps * training.images_per_step)
        return images

    def _steps(self, training: config.TrainConfig) -> int | None:
        """Returns the number of steps of a training without a budget; None if unknown."""
        if not self._num_labeled and (training.steps is None or training.role == "fixres"):
            return None
        return training.last_step(self._num_labeled)


def wall_seconds(seconds: Sequence[float | None], slots: int) -> float | None:
    """Returns the time of jobs that never wait for one another; None if one is unknown."""
    known = [value for value in seconds if value is not None]
    return None if len(known) < len(seconds) else sum(known) / slots


def _kind(job: Job) -> str:
    """Returns a name that jobs of similar duration share, trainings apart."""
    return job.label if job.stage == "evaluate" else job.stage
