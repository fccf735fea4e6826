"""How long jobs take: from the like of them that are done, else from a rule.

The rule: a training takes `STARTUP` and its operations (three times those of a forward pass, for
all images) at `RATE`, both of one thread of the machine that docs/RESULTS.md names; a stage of
another kind takes `OTHERS`. Finished trainings replace the rate, other finished jobs the time of
their kind.
"""

from collections import defaultdict

from efficientnet.cost import cost
from noisy_student import session
from noisy_student.study.graph import Job

STARTUP = 20.0  # seconds: imports, data, tracing, validation
RATE = 5e9  # operations per second, a multiply-add counted as two
OTHERS = {"pseudo_label": 15.0, "selection": 10.0, "test": 25.0, "more_tests": 150.0}
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
        self._operations = self._seconds = 0.0
        self._done: defaultdict[str, list[float]] = defaultdict(list)

    def learn(self, job: Job, seconds: float) -> None:
        """Takes account of a job that is done."""
        operations = self._cost(job)
        if operations is not None and seconds > STARTUP:
            self._operations += operations
            self._seconds += seconds - STARTUP
        self._done[_kind(job)].append(seconds)

    def seconds(self, job: Job) -> float | None:
        """Of a job, on one thread; None: not known."""
        if job.training is None:
            done = self._done.get(_kind(job))
            return sum(done) / len(done) if done else OTHERS[_kind(job)]
        operations = self._cost(job)
        if operations is None:
            return None
        rate = self._operations / self._seconds if self._seconds else RATE
        return STARTUP + operations / rate

    def _cost(self, job: Job) -> float | None:
        """Operations of a training; None: not known, or no training."""
        images = self._images(job)
        if images is None:
            return None
        model = job.training.model
        size = session.preprocess_spec(model).image_size
        forward = cost(
            model.name, size, _CLASSES, width=model.width, depth=model.depth,
            strides=model.strides, small_image=model.small_image,
        )  # fmt: skip
        return 6.0 * forward.multiply_adds * images

    def _images(self, job: Job) -> int | None:
        """That a training sees, all or, of a control's count, labeled ones."""
        if job.training is None:
            return None
        if job.counts == "labeled":
            steps = self._steps(job.counted[0])
            images = steps and steps * job.counted[0].training.batch_size
        elif job.counted:
            seen = [self._images(other) for other in job.counted]
            images = None if None in seen else sum(seen)
        else:
            steps = self._steps(job)
            images = steps and steps * session.images_per_step(job.training)
        most = job.training.max_steps
        if images and most:
            images = min(images, most * session.images_per_step(job.training))
        return images

    def _steps(self, job: Job) -> int | None:
        training = job.training
        if not self._num_labeled and (training.steps is None or training.role == "fixres"):
            return None
        steps = session.num_steps(training, self._num_labeled)
        return min(steps, training.max_steps or steps)


def _kind(job: Job) -> str:
    """Jobs of one kind take about the same time, but for trainings."""
    return job.label if job.stage == "evaluate" else job.stage


def wall_seconds(seconds: list[float | None], slots: int) -> float | None:
    """Of jobs side by side, without waiting for one another; None where one is not known."""
    return None if None in seconds else sum(seconds) / slots
